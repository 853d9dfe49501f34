//! The WebSocket prober (RFC 6455): an upgrade over HTTP/1.1, then a dialogue of messages.

use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use http_body_util::Empty;
use hyper::header::{
    CONNECTION, HOST, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL,
    SEC_WEBSOCKET_VERSION, UPGRADE, USER_AGENT,
};
use hyper::{HeaderMap, Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use sha1::{Digest as _, Sha1};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};

use super::addresses;
use super::certificate::{self, Session};
use super::config::{Query, WebSocket, base64};
use super::dialogue::{BYTES, REGEX, matched};
use super::result::ProbeResult;
use crate::exchange::{AllowedHosts, Plan, Stream, client_config, connect, traceparent};

/// What the server appends to the key before it hashes it. Source: RFC 6455, section 1.3.
const ACCEPT_SUFFIX: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
const MESSAGE_BYTES_MAX: usize = 1 << 20;
/// What a server takes at most to answer that the connection ends; it is no part of the outcome.
const CLOSE_PATIENCE: Duration = Duration::from_millis(200);
const STATUS: (&str, &str) =
    ("probe_websocket_status_code", "Response HTTP status code of the upgrade");
const UPGRADED: (&str, &str) =
    ("probe_websocket_connection_upgraded", "Indicates if the connection became a WebSocket");
const SSL: (&str, &str) = ("probe_websocket_ssl", "Indicates if SSL was used");
const DURATION: (&str, &str) =
    ("probe_websocket_duration_seconds", "Duration of the WebSocket probe by phase");

type Socket = WebSocketStream<TokioIo<hyper::upgrade::Upgraded>>;

pub(super) async fn probe(
    target: &str,
    module: &WebSocket,
    allowed: &AllowedHosts,
    trace: Option<(u128, u64)>,
    result: &mut ProbeResult,
) -> bool {
    for (name, help) in [STATUS, UPGRADED, SSL, REGEX, BYTES] {
        result.register(name, help);
    }
    for phase in ["resolve", "connect", "tls", "upgrade", "dialogue"] {
        result.add_with(DURATION.0, DURATION.1, &[("phase", phase)], 0.0);
    }
    let outcome = async {
        let mut socket = opened(target, module, allowed, trace, result).await?;
        let began = Instant::now();
        let talked = talk(&mut socket, &module.dialogue, result).await;
        if !module.dialogue.is_empty() {
            took(result, "dialogue", began, began.elapsed(), talked.is_err());
        }
        let _ended = tokio::time::timeout(CLOSE_PATIENCE, socket.close(None)).await;
        talked
    };
    match outcome.await {
        Ok(()) => true,
        Err(e) => {
            result.say(format!("level=error msg=\"WebSocket probe failed\" err={e:?}"));
            false
        }
    }
}

fn took(result: &mut ProbeResult, phase: &str, began: Instant, took: Duration, failed: bool) {
    result.add_with(DURATION.0, DURATION.1, &[("phase", phase)], took.as_secs_f64());
    result.phase(phase, began, took, failed);
}

/// `ws://`, `wss://`, and `http://` and `https://` for who writes them so.
fn address(target: &str) -> Result<(Uri, bool), String> {
    let whole = if target.contains("://") { target.to_owned() } else { format!("ws://{target}") };
    let uri: Uri = whole.parse().map_err(|e| format!("cannot parse {target:?}: {e}"))?;
    let encrypted = match uri.scheme_str().map(str::to_ascii_lowercase).as_deref() {
        Some("ws" | "http") => false,
        Some("wss" | "https") => true,
        _ => return Err(format!("{target:?} is no ws:// or wss:// address")),
    };
    Ok((uri, encrypted))
}

async fn opened(
    target: &str,
    module: &WebSocket,
    allowed: &AllowedHosts,
    trace: Option<(u128, u64)>,
    result: &mut ProbeResult,
) -> Result<Socket, String> {
    let (uri, encrypted) = address(target)?;
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    let family = &module.family;
    let (ip, lookup) =
        addresses::choose(&host, &family.preferred, family.fallback, allowed, result)
            .await
            .ok_or("no address")?;
    took(result, "resolve", Instant::now() - lookup, lookup, false);
    let plan = Plan {
        host: ip.to_string(),
        port: uri.port_u16().unwrap_or(if encrypted { 443 } else { 80 }),
        tls: match encrypted {
            true => Some(client_config(&module.tls, &["http/1.1"]).map_err(|e| e.to_string())?),
            false => None,
        },
        server_name: module.tls.server_name.clone().or_else(|| Some(host.clone())),
    };
    let began = Instant::now();
    // The address was chosen for an allowed name.
    let chosen = AllowedHosts::new([ip.to_string()]);
    let connected = connect(&plan, &chosen).await.map_err(|e| e.to_string())?;
    let phases = connected.phases;
    took(result, "connect", began, phases.connect, false);
    if let Stream::Tls(stream) = &connected.stream {
        took(result, "tls", began + phases.connect, phases.tls, false);
        result.set(SSL.0, SSL.1, 1.0);
        let session = Session::of(stream.get_ref().1, !module.tls.insecure_skip_verify);
        certificate::gauges(&session, false, true, result);
    }
    let began = Instant::now();
    let socket = upgraded(connected.stream, &uri, module, trace, result).await;
    took(result, "upgrade", began, began.elapsed(), socket.is_err());
    socket
}

async fn upgraded(
    stream: Stream,
    uri: &Uri,
    module: &WebSocket,
    trace: Option<(u128, u64)>,
    result: &mut ProbeResult,
) -> Result<Socket, String> {
    let mut random = [0; 16];
    getrandom::fill(&mut random).map_err(|e| format!("no random bytes: {e}"))?;
    let key = base64(&random);
    let request = request(uri, module, trace, &key)?;
    let said = |e: hyper::Error| crate::exchange::error_reason(&e);
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(said)?;
    tokio::spawn(connection.with_upgrades());
    let response = sender.send_request(request).await.map_err(said)?;
    let status = response.status();
    result.set(STATUS.0, STATUS.1, f64::from(status.as_u16()));
    if status != StatusCode::SWITCHING_PROTOCOLS {
        return Err(format!("the server answers {status} and does not upgrade"));
    }
    let header = |headers: &HeaderMap, name| {
        headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned()
    };
    // Who answers so without knowing the key is no WebSocket server.
    if header(response.headers(), SEC_WEBSOCKET_ACCEPT) != accept(&key) {
        return Err("Sec-WebSocket-Accept does not belong to the key".to_owned());
    }
    let chosen = header(response.headers(), SEC_WEBSOCKET_PROTOCOL);
    let known = module.subprotocols.contains(&chosen);
    if !known && (!chosen.is_empty() || !module.subprotocols.is_empty()) {
        return Err(format!(
            "the server chose the subprotocol {chosen:?}, which was not asked for"
        ));
    }
    let io = hyper::upgrade::on(response).await.map_err(said)?;
    result.set(UPGRADED.0, UPGRADED.1, 1.0);
    let limits = WebSocketConfig::default()
        .max_message_size(Some(MESSAGE_BYTES_MAX))
        .max_frame_size(Some(MESSAGE_BYTES_MAX));
    Ok(WebSocketStream::from_raw_socket(TokioIo::new(io), Role::Client, Some(limits)).await)
}

fn request(
    uri: &Uri,
    module: &WebSocket,
    trace: Option<(u128, u64)>,
    key: &str,
) -> Result<Request<Empty<Bytes>>, String> {
    let path = uri.path_and_query().map_or("/", |p| p.as_str());
    let mut out = Request::builder()
        .uri(path)
        .header(CONNECTION, "Upgrade")
        .header(UPGRADE, "websocket")
        .header(SEC_WEBSOCKET_VERSION, "13")
        .header(SEC_WEBSOCKET_KEY, key);
    if !module.subprotocols.is_empty() {
        out = out.header(SEC_WEBSOCKET_PROTOCOL, module.subprotocols.join(", "));
    }
    for (name, value) in &module.headers {
        out = out.header(name, value);
    }
    let own = [
        (HOST, uri.authority().map_or("", |a| a.as_str()).to_owned()),
        (USER_AGENT, concat!("vm-obs-probe/", env!("CARGO_PKG_VERSION")).to_owned()),
    ];
    for (name, value) in own {
        if out.headers_ref().is_some_and(|h| !h.contains_key(&name)) {
            out = out.header(name, value);
        }
    }
    if let Some((trace_id, span_id)) = trace {
        out = out.header("traceparent", traceparent(trace_id, span_id));
    }
    out.body(Empty::new()).map_err(|e| e.to_string())
}

fn accept(key: &str) -> String {
    base64(&Sha1::digest(format!("{key}{ACCEPT_SUFFIX}")))
}

async fn talk(
    socket: &mut Socket,
    dialogue: &[Query],
    result: &mut ProbeResult,
) -> Result<(), String> {
    for query in dialogue {
        let mut send = query.send.clone().into_bytes();
        if let Some(expect) = &query.expect {
            loop {
                let Some(message) = next_message(socket).await? else {
                    result.set(REGEX.0, REGEX.1, 1.0);
                    return Err(format!("nothing matched {expect} before the end"));
                };
                if let Some(answer) = matched(query, expect, &message, result) {
                    send = answer;
                    break;
                }
            }
        }
        if !query.expect_bytes.is_empty() {
            let wanted = query.expect_bytes.as_bytes();
            let seen = next_message(socket).await?.unwrap_or_default();
            if seen != wanted {
                result.set(BYTES.0, BYTES.1, 1.0);
                return Err(format!("{seen:?} is not {wanted:?}"));
            }
        }
        if !send.is_empty() {
            let message = match String::from_utf8(send) {
                Ok(text) => Message::text(text),
                Err(e) => Message::binary(e.into_bytes()),
            };
            socket.send(message).await.map_err(|e| e.to_string())?;
        }
    }
    Ok(())
}

/// Of a text or binary message; `None` where the connection ended, politely or not. Pings are
/// answered on the way.
async fn next_message(socket: &mut Socket) -> Result<Option<Vec<u8>>, String> {
    while let Some(message) = socket.next().await {
        let message = match message {
            Ok(message) => message,
            Err(
                Error::ConnectionClosed
                | Error::AlreadyClosed
                | Error::Protocol(ProtocolError::ResetWithoutClosingHandshake),
            ) => return Ok(None),
            Err(e) => return Err(e.to_string()),
        };
        match message {
            Message::Text(text) => return Ok(Some(text.as_bytes().to_vec())),
            Message::Binary(bytes) => return Ok(Some(bytes.to_vec())),
            Message::Close(_) => return Ok(None),
            Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_servers_answer_to_a_key() {
        // The example of RFC 6455, section 1.3.
        assert_eq!(accept("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn addresses_of_web_sockets() {
        for (target, encrypted) in
            [("ws://a/b?c", false), ("WSS://a:1/", true), ("a:8080/x", false), ("https://a", true)]
        {
            assert_eq!(address(target).unwrap().1, encrypted, "{target}");
        }
        for wrong in ["ftp://a/", "ws://a b/"] {
            assert!(address(wrong).is_err(), "{wrong}");
        }
    }
}
