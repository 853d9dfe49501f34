//! The loopback server of one process of the demo world.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::State;
use axum::http::header::{CONNECTION, CONTENT_TYPE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::serve::Listener;
use axum::{Json, Router};
use obs_wire::exposition::TEXT_CONTENT_TYPE;
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};

use super::Inner;
use super::instances::Instance;

#[derive(Clone)]
struct Process {
    world: Arc<Inner>,
    instance: Instance,
}

/// Serves until the task is aborted.
pub(super) async fn serve(listener: TcpListener, world: Arc<Inner>, instance: Instance) {
    let process = Process { world: Arc::clone(&world), instance };
    let router = Router::new()
        .route("/metrics", get(metrics))
        .route("/health", get(health))
        .route("/step", get(step).post(step))
        .layer(axum::middleware::map_response(close))
        .with_state(process);
    let listener = Reachable { listener, world, instance };
    if let Err(e) = axum::serve(listener, router).await {
        tracing::warn!(error = %e, instance = instance.name, "a process of the demo world ended");
    }
}

/// Accepts connections, and drops them unanswered while the process is not to be reached.
struct Reachable {
    listener: TcpListener,
    world: Arc<Inner>,
    instance: Instance,
}

impl Listener for Reachable {
    type Io = TcpStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (TcpStream, SocketAddr) {
        loop {
            let (stream, peer) = Listener::accept(&mut self.listener).await;
            if self.world.answers(&self.instance) {
                return (stream, peer);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A connection that stays open would be answered also after its process is lost.
async fn close(mut response: Response) -> Response {
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

async fn metrics(State(process): State<Process>) -> Response {
    let text = process.world.page(&process.instance);
    ([(CONTENT_TYPE, TEXT_CONTENT_TYPE)], text).into_response()
}

async fn health(State(process): State<Process>) -> Response {
    Json(json!({"status": "ok", "service": process.instance.service})).into_response()
}

async fn step(State(process): State<Process>) -> Response {
    match process.world.step(&process.instance) {
        Some(state) => Json(state).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}
