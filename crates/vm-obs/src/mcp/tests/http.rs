//! The transport over HTTP: who is let in, and as whom.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::routing::{get, post};
use axum::{Json, Router};
use obs_collect::registry::Registry;
use obs_wire::exposition::ExpositionFormat;
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::mcp::{Caller, McpSettings, router};

const TOKEN: &str = "0123456789abcdef";

struct Served {
    address: SocketAddr,
    registry: Arc<Registry>,
    http: reqwest::Client,
}

/// `seen_as` is the address that the server believes it has.
async fn serve(settings: &McpSettings, seen_as: Option<&str>) -> Served {
    obs_collect::install_crypto();
    let own = Router::new()
        .route("/obs/ledger", get(|| async { Json(json!({"size": 42, "root_hash": "blake3:00"})) }))
        .route(
            "/obs/alerts/{id}/ack",
            post(|Json(body): Json<Value>| async move {
                Json(json!({"by": body["by"], "receipt_seq": 43}))
            }),
        );
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let registry = Arc::new(Registry::new());
    let seen = seen_as.map_or(address, |a| a.parse().unwrap());
    let app = router(settings, seen, own, &registry);
    tokio::spawn(async move { axum::serve(listener, app).await });
    Served { address, registry, http: reqwest::Client::new() }
}

impl Served {
    async fn ask(
        &self,
        token: Option<&str>,
        headers: &[(&str, &str)],
        body: Value,
    ) -> (StatusCode, String) {
        let mut request = self
            .http
            .post(format!("http://{}/mcp", self.address))
            .header("accept", "application/json, text/event-stream")
            .json(&body);
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let reply = request.send().await.unwrap();
        (reply.status(), reply.text().await.unwrap())
    }
}

fn initialize() -> Value {
    json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
        "protocolVersion": "2025-06-18", "capabilities": {},
        "clientInfo": {"name": "t", "version": "1"}}})
}

fn callers() -> Vec<Caller> {
    Caller::read_all(&format!("night-shift {TOKEN}\n")).unwrap()
}

#[tokio::test]
async fn loopback_needs_no_token_and_other_sites_are_refused() {
    let served = serve(&McpSettings::default(), None).await;
    let (status, text) = served.ask(None, &[], initialize()).await;
    assert_eq!(status, StatusCode::OK, "{text}");
    assert!(text.contains("VaultMesh Observability Engine"), "{text}");
    for headers in [("origin", "http://evil.example"), ("host", "evil.example")] {
        let (status, text) = served.ask(None, &[headers], initialize()).await;
        assert!(status.is_client_error(), "{headers:?}: {status} {text}");
    }
}

#[tokio::test]
async fn an_address_that_others_reach_needs_a_token() {
    let open = serve(&McpSettings::default(), Some("192.0.2.1:9470")).await;
    let (status, text) = open.ask(None, &[], initialize()).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    assert!(text.contains("mcp.token_file"), "{text}");
    let settings = McpSettings { callers: callers(), ..McpSettings::default() };
    let closed = serve(&settings, Some("192.0.2.1:9470")).await;
    for token in [None, Some("wrong-but-long-enough")] {
        let (status, _) = closed.ask(token, &[], initialize()).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{token:?}");
    }
    let (status, text) = closed.ask(Some(TOKEN), &[], initialize()).await;
    assert_eq!(status, StatusCode::OK, "{text}");
}

#[tokio::test]
async fn what_is_done_is_done_in_the_callers_name_and_counted() {
    let settings = McpSettings { callers: callers(), allow_writes: true, ..McpSettings::default() };
    let served = serve(&settings, None).await;
    let reply = served
        .http
        .post(format!("http://{}/mcp", served.address))
        .header("accept", "application/json, text/event-stream")
        .bearer_auth(TOKEN)
        .json(&initialize())
        .send()
        .await
        .unwrap();
    let session = reply.headers()["mcp-session-id"].to_str().unwrap().to_owned();
    let headers = [("mcp-session-id", session.as_str()), ("mcp-protocol-version", "2025-06-18")];
    let ready = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
    let (status, _) = served.ask(Some(TOKEN), &headers, ready).await;
    assert_eq!(status, StatusCode::ACCEPTED);
    let call = json!({"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": {
        "name": "obs_alert_ack", "arguments": {"alert_id": "a1", "comment": "on it"}}});
    let (status, text) = served.ask(Some(TOKEN), &headers, call).await;
    assert_eq!(status, StatusCode::OK, "{text}");
    assert!(text.contains("did:vm:agent:night-shift"), "{text}");
    let counted = served.registry.render(ExpositionFormat::Prometheus);
    assert!(
        counted.contains("vmobs_mcp_calls_total{outcome=\"ok\",tool=\"obs_alert_ack\"} 1"),
        "{counted}"
    );
}
