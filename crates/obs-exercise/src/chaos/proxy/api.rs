//! Toxiproxy's HTTP API.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::toxic::{Toxic, ToxicForm};
use super::{Proxies, ProxyError};

/// The routes, over `proxies`.
pub fn router(proxies: Arc<Proxies>) -> Router {
    Router::new()
        .route("/version", get(|| async { Json(json!({"version": "2.9.0"})) }))
        .route("/proxies", get(list).post(create))
        .route("/populate", post(populate))
        .route("/reset", post(reset))
        .route("/proxies/{name}", get(show).post(update).patch(update).delete(delete))
        .route("/proxies/{name}/toxics", get(toxics).post(add))
        .route(
            "/proxies/{name}/toxics/{toxic}",
            get(show_toxic).post(update_toxic).patch(update_toxic).delete(remove),
        )
        .with_state(proxies)
}

impl IntoResponse for ProxyError {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::BAD_REQUEST);
        let body = json!({"error": self.message, "status": self.status});
        (status, Json(body)).into_response()
    }
}

type Answer = Result<Response, ProxyError>;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ProxyForm {
    name: String,
    listen: String,
    upstream: String,
    enabled: Option<bool>,
}

fn read<T: for<'de> Deserialize<'de>>(body: &[u8]) -> Result<T, ProxyError> {
    let body = if body.is_empty() { b"{}" } else { body };
    serde_json::from_slice(body)
        .map_err(|e| ProxyError { status: 400, message: format!("bad request body: {e}") })
}

async fn list(State(all): State<Arc<Proxies>>) -> Json<Value> {
    let map: Map<String, Value> = all.list().iter().map(|p| (p.name.clone(), p.json())).collect();
    Json(Value::Object(map))
}

async fn create(State(all): State<Arc<Proxies>>, body: axum::body::Bytes) -> Answer {
    let form: ProxyForm = read(&body)?;
    let enabled = form.enabled.unwrap_or(true);
    let proxy = all.create(&form.name, &form.listen, &form.upstream, enabled).await?;
    Ok((StatusCode::CREATED, Json(proxy.json())).into_response())
}

async fn populate(State(all): State<Arc<Proxies>>, body: axum::body::Bytes) -> Answer {
    let forms: Vec<ProxyForm> = read(&body)?;
    let mut out = Vec::new();
    for form in forms {
        if all.get(&form.name).is_ok_and(|p| p.upstream != form.upstream) {
            all.delete(&form.name)?;
        }
        let proxy = match all.get(&form.name) {
            Ok(proxy) => proxy,
            Err(_new) => {
                let enabled = form.enabled.unwrap_or(true);
                all.create(&form.name, &form.listen, &form.upstream, enabled).await?
            }
        };
        out.push(proxy.json());
    }
    Ok((StatusCode::CREATED, Json(json!({"proxies": out}))).into_response())
}

async fn reset(State(all): State<Arc<Proxies>>) -> Answer {
    all.reset().await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

async fn show(State(all): State<Arc<Proxies>>, Path(name): Path<String>) -> Answer {
    Ok(Json(all.get(&name)?.json()).into_response())
}

async fn update(
    State(all): State<Arc<Proxies>>,
    Path(name): Path<String>,
    body: axum::body::Bytes,
) -> Answer {
    let form: ProxyForm = read(&body)?;
    let mut proxy = all.get(&name)?;
    let moved = (!form.upstream.is_empty() && form.upstream != proxy.upstream)
        || (!form.listen.is_empty() && form.listen != proxy.listen.to_string());
    if moved {
        let toxics = super::lock(&proxy.toxics).clone();
        let old =
            |given: &str, there: String| if given.is_empty() { there } else { given.to_owned() };
        let listen = old(&form.listen, proxy.listen.to_string());
        let upstream = old(&form.upstream, proxy.upstream.clone());
        let enabled = form.enabled.unwrap_or(proxy.enabled());
        all.delete(&name)?;
        // The port is free once the task that listened is gone.
        tokio::task::yield_now().await;
        proxy = all.create(&name, &listen, &upstream, enabled).await?;
        *super::lock(&proxy.toxics) = toxics;
    } else if let Some(enabled) = form.enabled {
        proxy.enable(enabled).await?;
    }
    Ok(Json(proxy.json()).into_response())
}

async fn delete(State(all): State<Arc<Proxies>>, Path(name): Path<String>) -> Answer {
    all.delete(&name)?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

async fn toxics(State(all): State<Arc<Proxies>>, Path(name): Path<String>) -> Answer {
    Ok(Json(all.get(&name)?.toxics_json()).into_response())
}

async fn add(
    State(all): State<Arc<Proxies>>,
    Path(name): Path<String>,
    body: axum::body::Bytes,
) -> Answer {
    let form: ToxicForm = read(&body)?;
    let toxic = all.get(&name)?.add_toxic(form)?;
    Ok(Json(toxic.json()).into_response())
}

async fn show_toxic(
    State(all): State<Arc<Proxies>>,
    Path((name, toxic)): Path<(String, String)>,
) -> Answer {
    let proxy = all.get(&name)?;
    let found = super::lock(&proxy.toxics).iter().find(|t| t.name == toxic).map(Toxic::json);
    let missing = || ProxyError { status: 404, message: format!("toxic {toxic:?} not found") };
    Ok(Json(found.ok_or_else(missing)?).into_response())
}

async fn update_toxic(
    State(all): State<Arc<Proxies>>,
    Path((name, toxic)): Path<(String, String)>,
    body: axum::body::Bytes,
) -> Answer {
    let form: ToxicForm = read(&body)?;
    Ok(Json(all.get(&name)?.update_toxic(&toxic, &form)?.json()).into_response())
}

async fn remove(
    State(all): State<Arc<Proxies>>,
    Path((name, toxic)): Path<(String, String)>,
) -> Answer {
    all.get(&name)?.remove_toxic(&toxic)?;
    Ok(StatusCode::NO_CONTENT.into_response())
}
