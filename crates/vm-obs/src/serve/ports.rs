//! The sockets of the server, and what is served on them until the stop.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use axum::serve::ListenerExt as _;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::config::Config;

/// How long requests may still take after the signal to stop.
const GRACE: Duration = Duration::from_secs(10);

/// Bound before anything is opened, so that a port in use costs nothing.
pub(super) struct Ports {
    http: TcpListener,
    otlp_grpc: TcpListener,
    otlp_http: TcpListener,
    pub(super) addresses: Addresses,
}

/// Where the server answers; a port 0 of the configuration has become the one that was free.
#[derive(Clone, Copy, Debug)]
pub(super) struct Addresses {
    pub http: SocketAddr,
    pub otlp_grpc: SocketAddr,
    pub otlp_http: SocketAddr,
}

/// What answers on each port.
pub(super) struct Routers {
    pub http: Router,
    pub otlp_grpc: Router,
    pub otlp_http: Router,
}

impl Ports {
    pub(super) async fn bind(config: &Config) -> anyhow::Result<Self> {
        let http = bind("HTTP", config.http).await?;
        let otlp_grpc = bind("OTLP over gRPC", config.otlp_grpc).await?;
        let otlp_http = bind("OTLP over HTTP", config.otlp_http).await?;
        let addresses = Addresses {
            http: http.local_addr()?,
            otlp_grpc: otlp_grpc.local_addr()?,
            otlp_http: otlp_http.local_addr()?,
        };
        Ok(Self { http, otlp_grpc, otlp_http, addresses })
    }

    /// Answers requests until `stopped` holds true or its sender is gone.
    pub(super) fn serve(self, routers: Routers, stopped: &watch::Receiver<bool>) -> Servers {
        let places = [
            (self.http, routers.http),
            (self.otlp_grpc, routers.otlp_grpc),
            (self.otlp_http, routers.otlp_http),
        ];
        Servers(places.map(|(listener, router)| {
            let mut stopped = stopped.clone();
            tokio::spawn(async move {
                let signal = async move {
                    // An error means the sender is gone, which also means stop.
                    let _stopped = stopped.wait_for(|s| *s).await;
                };
                let service = router.into_make_service_with_connect_info::<SocketAddr>();
                // A large answer is several writes, the later of which must not wait for the reader.
                let listener = listener.tap_io(|stream| {
                    if let Err(e) = stream.set_nodelay(true) {
                        tracing::debug!(error = %e, "cannot set TCP_NODELAY");
                    }
                });
                axum::serve(listener, service).with_graceful_shutdown(signal).await
            })
        }))
    }
}

async fn bind(what: &str, address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| {
        format!(
            "cannot listen on {address} for {what}; another port can be given, 0 picks a free one"
        )
    })
}

/// The running servers.
pub(super) struct Servers([JoinHandle<io::Result<()>>; 3]);

impl Servers {
    /// After the signal to stop: waits until the open requests are answered, each server for at most
    /// [`GRACE`].
    pub(super) async fn ended(self) {
        for server in self.0 {
            match tokio::time::timeout(GRACE, server).await {
                Ok(Ok(Ok(()))) => {}
                Ok(Ok(Err(e))) => tracing::error!(error = %e, "server ended badly"),
                Ok(Err(e)) => tracing::error!(error = %e, "server ended badly"),
                Err(_slow) => tracing::warn!("requests still open after {GRACE:?} were cut off"),
            }
        }
    }
}
