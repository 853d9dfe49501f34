//! The connections of one virtual user: HTTP/1.1, kept alive, one request at a time.
//!
//! On the hot path: no logging, no lock.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Body;
use hyper::client::conn::http1::SendRequest;
use hyper::header::{HOST, HeaderValue};
use hyper::{HeaderMap, StatusCode};
use hyper_util::rt::TokioIo;

use crate::exchange::{AllowedHosts, ConnectError, Phases, Plan, Request, connect};

/// Most bytes of an answer that is looked into.
const BODY_BYTES_MAX: usize = 16 << 20;

/// An answer as a load test needs it.
#[derive(Debug)]
pub(crate) struct Sent {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    /// Empty unless it was asked for.
    pub(crate) body: Bytes,
    pub(crate) received_bytes: u64,
    pub(crate) phases: Phases,
}

/// Connections by what they lead to; nearly always one.
#[derive(Debug, Default)]
pub(crate) struct Connections {
    open: Vec<(bool, String, SendRequest<Full<Bytes>>)>,
}

#[derive(Debug)]
pub(crate) struct Setting {
    pub(crate) tls: Arc<rustls::ClientConfig>,
    pub(crate) allowed: AllowedHosts,
}

impl Connections {
    /// Sends and reads to the end; Err is a short reason, equal for equal causes.
    pub(crate) async fn send(
        &mut self,
        request: Request,
        setting: &Setting,
        timeout: Duration,
        keep_body: bool,
    ) -> Result<Sent, String> {
        let encrypted = request.uri.scheme_str() == Some("https");
        let authority = request.uri.authority().map_or("", |a| a.as_str()).to_owned();
        let work = self.exchange(request, setting, encrypted, &authority, keep_body);
        match tokio::time::timeout(timeout, work).await {
            Ok(Ok(sent)) => Ok(sent),
            Ok(Err(reason)) => {
                self.forget(encrypted, &authority);
                Err(reason)
            }
            Err(_elapsed) => {
                self.forget(encrypted, &authority);
                Err("timeout".to_owned())
            }
        }
    }

    fn forget(&mut self, encrypted: bool, authority: &str) {
        self.open.retain(|(tls, to, _)| (*tls, to.as_str()) != (encrypted, authority));
    }

    async fn exchange(
        &mut self,
        request: Request,
        setting: &Setting,
        encrypted: bool,
        authority: &str,
        keep_body: bool,
    ) -> Result<Sent, String> {
        let mut message = hyper::Request::new(Full::new(request.body));
        *message.method_mut() = request.method;
        *message.uri_mut() = match request.uri.path_and_query() {
            Some(path) => hyper::Uri::from(path.clone()),
            None => hyper::Uri::from_static("/"),
        };
        *message.headers_mut() = request.headers;
        if !message.headers().contains_key(HOST) {
            let value = HeaderValue::try_from(authority).map_err(|e| e.to_string())?;
            message.headers_mut().insert(HOST, value);
        }
        // A connection that the server closed while it was idle is not the request's failure, so
        // what was never sent goes out once more on a new one.
        let mut fresh = false;
        loop {
            let mut phases = Phases::default();
            let known = self.position(encrypted, authority);
            let at = match known {
                Some(at) => at,
                None => {
                    fresh = true;
                    phases = self.open(&request.uri, setting, encrypted, authority).await?;
                    self.open.len() - 1
                }
            };
            let Some((_, _, sender)) = self.open.get_mut(at) else {
                return Err("connection lost".to_owned());
            };
            if sender.ready().await.is_err() {
                self.forget(encrypted, authority);
                if fresh {
                    return Err("connection closed".to_owned());
                }
                continue;
            }
            let began = Instant::now();
            let answer = match sender.try_send_request(message).await {
                Ok(answer) => answer,
                Err(mut failed) => match failed.take_message() {
                    Some(back) if !fresh => {
                        message = back;
                        self.forget(encrypted, authority);
                        continue;
                    }
                    _ => return Err(short(failed.error())),
                },
            };
            phases.processing = began.elapsed();
            let (head, body) = answer.into_parts();
            let began = Instant::now();
            let (body, received_bytes) = read(body, keep_body).await?;
            phases.transfer = began.elapsed();
            return Ok(Sent {
                status: head.status,
                headers: head.headers,
                body,
                received_bytes,
                phases,
            });
        }
    }

    fn position(&mut self, encrypted: bool, authority: &str) -> Option<usize> {
        let at = self
            .open
            .iter()
            .position(|(tls, to, _)| (*tls, to.as_str()) == (encrypted, authority))?;
        if self.open.get(at).is_some_and(|(_, _, sender)| sender.is_closed()) {
            self.open.remove(at);
            return None;
        }
        Some(at)
    }

    async fn open(
        &mut self,
        uri: &hyper::Uri,
        setting: &Setting,
        encrypted: bool,
        authority: &str,
    ) -> Result<Phases, String> {
        let host = uri.host().unwrap_or_default();
        setting.allowed.check(host).map_err(|e| e.to_string())?;
        let plan = Plan {
            host: host.trim_matches(['[', ']']).to_owned(),
            port: uri.port_u16().unwrap_or(if encrypted { 443 } else { 80 }),
            tls: encrypted.then(|| Arc::clone(&setting.tls)),
            server_name: None,
        };
        let connected = connect(&plan, &setting.allowed).await.map_err(|e| match e {
            ConnectError::Connect { source, .. } => format!("connect: {}", source.kind()),
            other => other.to_string(),
        })?;
        let io = TokioIo::new(connected.stream);
        let (sender, connection) =
            hyper::client::conn::http1::handshake(io).await.map_err(|e| short(&e))?;
        // Ends with the connection; its errors reach whoever waits for an answer.
        tokio::task::spawn_local(connection);
        self.open.push((encrypted, authority.to_owned(), sender));
        Ok(connected.phases)
    }
}

async fn read(mut body: hyper::body::Incoming, keep: bool) -> Result<(Bytes, u64), String> {
    if keep {
        let whole = http_body_util::Limited::new(body, BODY_BYTES_MAX)
            .collect()
            .await
            .map_err(|_cut| "answer broke off or was above 16 MiB".to_owned())?
            .to_bytes();
        let length = whole.len() as u64;
        return Ok((whole, length));
    }
    let mut received = 0u64;
    while !body.is_end_stream() {
        match body.frame().await {
            Some(Ok(frame)) => received += frame.data_ref().map_or(0, |d| d.len() as u64),
            Some(Err(e)) => return Err(short(&e)),
            None => break,
        }
    }
    Ok((Bytes::new(), received))
}

fn short(e: &hyper::Error) -> String {
    if e.is_incomplete_message() {
        return "connection closed before the answer".to_owned();
    }
    crate::exchange::error_reason(e)
}
