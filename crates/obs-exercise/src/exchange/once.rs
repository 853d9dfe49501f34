use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::header::HOST;
use hyper::{HeaderMap, StatusCode};
use hyper_util::rt::TokioIo;

use super::allow::AllowedHosts;
use super::connect::{Phases, Plan, connect};
use super::step::Request;

/// A whole answer.
#[derive(Clone, Debug)]
pub struct Reply {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
    pub phases: Phases,
}

/// Sends one request on a connection of its own and reads the answer; Err says what failed.
pub async fn exchange(
    request: &Request,
    tls: &Arc<rustls::ClientConfig>,
    allowed: &AllowedHosts,
    timeout: Duration,
    body_bytes_max: usize,
) -> Result<Reply, String> {
    let work = send(request, tls, allowed, body_bytes_max);
    match tokio::time::timeout(timeout, work).await {
        Ok(outcome) => outcome,
        Err(_elapsed) => Err(format!("no answer within {} s", timeout.as_secs_f64())),
    }
}

async fn send(
    request: &Request,
    tls: &Arc<rustls::ClientConfig>,
    allowed: &AllowedHosts,
    body_bytes_max: usize,
) -> Result<Reply, String> {
    let host = request.uri.host().unwrap_or_default();
    let encrypted = request.uri.scheme_str() == Some("https");
    let port = request.uri.port_u16().unwrap_or(if encrypted { 443 } else { 80 });
    allowed.check(host).map_err(|e| e.to_string())?;
    let plan = Plan {
        host: host.trim_matches(['[', ']']).to_owned(),
        port,
        tls: encrypted.then(|| Arc::clone(tls)),
        server_name: None,
    };
    let connected = connect(&plan, allowed).await.map_err(|e| e.to_string())?;
    let mut phases = connected.phases;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(connected.stream))
            .await
            .map_err(|e| e.to_string())?;
    let driver = tokio::spawn(connection);
    let began = Instant::now();
    let mut message = hyper::Request::builder()
        .method(request.method.clone())
        .uri(request.uri.path_and_query().map_or("/", |p| p.as_str()));
    if let Some(headers) = message.headers_mut() {
        headers.extend(request.headers.clone());
        if !headers.contains_key(HOST)
            && let Some(authority) = request.uri.authority()
            && let Ok(value) = authority.as_str().parse()
        {
            headers.insert(HOST, value);
        }
    }
    let message = message.body(Full::new(request.body.clone())).map_err(|e| e.to_string())?;
    let answer = sender.send_request(message).await.map_err(|e| reason(&e))?;
    phases.processing = began.elapsed();
    let began = Instant::now();
    let (head, body) = answer.into_parts();
    let body = Limited::new(body, body_bytes_max)
        .collect()
        .await
        .map_err(|e| format!("the answer broke off: {e}"))?
        .to_bytes();
    phases.transfer = began.elapsed();
    driver.abort();
    Ok(Reply { status: head.status, headers: head.headers, body, phases })
}

/// An error of the HTTP client with its cause.
pub(crate) fn reason(e: &hyper::Error) -> String {
    match std::error::Error::source(e) {
        Some(source) => format!("{e}: {source}"),
        None => e.to_string(),
    }
}
