//! The TCP and Unix probers: connect, then say and expect lines.

use std::time::Instant;

use regex::bytes::Regex;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;

use super::addresses;
use super::certificate::{self, Session};
use super::config::{Query, Tcp};
use super::http::tls;
use super::result::ProbeResult;
use crate::exchange::{AllowedHosts, TlsForm};

/// Longest line that is waited for.
const LINE_BYTES_MAX: usize = 64 * 1024;
pub(super) const REGEX: (&str, &str) =
    ("probe_failed_due_to_regex", "Indicates if probe failed due to regex");
pub(super) const BYTES: (&str, &str) =
    ("probe_failed_due_to_bytes", "Indicates if probe failed due to bytes");

trait Io: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Io for T {}

pub(super) async fn probe_tcp(
    target: &str,
    module: &Tcp,
    allowed: &AllowedHosts,
    result: &mut ProbeResult,
) -> bool {
    match tcp(target, module, allowed, result).await {
        Ok(()) => true,
        Err(e) => {
            result.say(format!("level=error msg=\"TCP probe failed\" err={e:?}"));
            false
        }
    }
}

async fn tcp(
    target: &str,
    module: &Tcp,
    allowed: &AllowedHosts,
    result: &mut ProbeResult,
) -> Result<(), String> {
    result.register(REGEX.0, REGEX.1);
    let (host, port) = addresses::split(target);
    let port = port.ok_or_else(|| format!("address {target}: missing port in address"))?;
    let family = &module.family;
    let (ip, took) = addresses::choose(&host, &family.preferred, family.fallback, allowed, result)
        .await
        .ok_or("no address")?;
    result.phase("resolve", Instant::now() - took, took, false);
    let began = Instant::now();
    let stream = TcpStream::connect((ip, port)).await.map_err(|e| e.to_string())?;
    result.phase("connect", began, began.elapsed(), false);
    let mut io: Box<dyn Io> = Box::new(stream);
    let mut session = None;
    if let Some(form) = &module.tls {
        let (encrypted, shown) = encrypt(io, form, &host, result).await?;
        (io, session) = (encrypted, Some(shown));
    }
    talk(io, &module.dialogue, session, Some((&module.upgrade, &host)), result).await
}

async fn encrypt(
    io: Box<dyn Io>,
    form: &TlsForm,
    host: &str,
    result: &mut ProbeResult,
) -> Result<(Box<dyn Io>, Session), String> {
    let name = form.server_name.clone().unwrap_or_else(|| host.to_owned());
    let server = ServerName::try_from(name).map_err(|e| e.to_string())?;
    let began = Instant::now();
    let stream = TlsConnector::from(tls(form, &[])?)
        .connect(server, io)
        .await
        .map_err(|e| format!("TLS handshake failed: {e}"))?;
    result.phase("tls", began, began.elapsed(), false);
    let session = Session::of(stream.get_ref().1, !form.insecure_skip_verify);
    Ok((Box::new(stream), session))
}

pub(super) async fn probe_unix(path: &str, dialogue: &[Query], result: &mut ProbeResult) -> bool {
    let began = Instant::now();
    let outcome = match UnixStream::connect(path).await {
        Ok(stream) => {
            result.phase("connect", began, began.elapsed(), false);
            talk(Box::new(stream), dialogue, None, None, result).await
        }
        Err(e) => Err(format!("cannot connect to {path}: {e}")),
    };
    if let Err(e) = &outcome {
        result.say(format!("level=error msg=\"Unix probe failed\" err={e:?}"));
    }
    outcome.is_ok()
}

async fn talk(
    mut io: Box<dyn Io>,
    dialogue: &[Query],
    session: Option<Session>,
    upgrade: Option<(&TlsForm, &str)>,
    result: &mut ProbeResult,
) -> Result<(), String> {
    result.register(REGEX.0, REGEX.1);
    result.register(BYTES.0, BYTES.1);
    if let Some(session) = session {
        certificate::gauges(&session, false, true, result);
    }
    let began = Instant::now();
    let mut unread = Vec::new();
    for query in dialogue {
        let mut send = query.send.clone().into_bytes();
        if let Some(expect) = &query.expect {
            loop {
                let Some(line) = next_line(&mut io, &mut unread).await? else {
                    result.set(REGEX.0, REGEX.1, 1.0);
                    return Err(format!("nothing matched {expect} before the end"));
                };
                if let Some(answer) = matched(query, expect, &line, result) {
                    send = answer;
                    break;
                }
            }
        }
        if !query.expect_bytes.is_empty() {
            let wanted = query.expect_bytes.as_bytes();
            while unread.len() < wanted.len() {
                if io.read_buf(&mut unread).await.map_err(|e| e.to_string())? == 0 {
                    return Err("the connection ended before the expected bytes".to_owned());
                }
            }
            let seen: Vec<u8> = unread.drain(..wanted.len()).collect();
            if seen != wanted {
                result.set(BYTES.0, BYTES.1, 1.0);
                return Err(format!("{seen:?} is not {wanted:?}"));
            }
            result.set(BYTES.0, BYTES.1, 0.0);
        }
        if !send.is_empty() {
            send.push(b'\n');
            io.write_all(&send).await.map_err(|e| e.to_string())?;
            io.flush().await.map_err(|e| e.to_string())?;
        }
        if query.starttls
            && let Some((form, host)) = upgrade
        {
            let (encrypted, session) = encrypt(io, form, host, result).await?;
            io = encrypted;
            unread.clear();
            certificate::gauges(&session, false, true, result);
        }
    }
    if !dialogue.is_empty() {
        result.phase("dialogue", began, began.elapsed(), false);
    }
    Ok(())
}

/// What is sent in answer to a line or message that matches, with the labels that it gives; `None`
/// where it does not match.
pub(super) fn matched(
    query: &Query,
    expect: &Regex,
    seen: &[u8],
    result: &mut ProbeResult,
) -> Option<Vec<u8>> {
    let shown = String::from_utf8_lossy(seen);
    result.say(format!("level=debug msg=\"Read line\" line={shown:?}"));
    let found = expect.captures(seen)?;
    result.set(REGEX.0, REGEX.1, 0.0);
    let mut answer = Vec::new();
    found.expand(query.send.as_bytes(), &mut answer);
    if !query.labels.is_empty() {
        let values: Vec<(String, String)> = query
            .labels
            .iter()
            .map(|(name, value)| {
                let mut out = Vec::new();
                found.expand(value.as_bytes(), &mut out);
                (name.clone(), String::from_utf8_lossy(&out).into_owned())
            })
            .collect();
        let labels: Vec<(&str, &str)> =
            values.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        result.set_with("probe_expect_info", "Explicit content matched", &labels, 1.0);
    }
    Some(answer)
}

/// Without its end; `None` where the connection ended.
async fn next_line(io: &mut Box<dyn Io>, unread: &mut Vec<u8>) -> Result<Option<Vec<u8>>, String> {
    loop {
        if let Some(end) = unread.iter().position(|b| *b == b'\n') {
            let mut line: Vec<u8> = unread.drain(..=end).collect();
            line.pop();
            if line.last() == Some(&b'\r') {
                line.pop();
            }
            return Ok(Some(line));
        }
        if unread.len() > LINE_BYTES_MAX {
            return Err(format!("a line is longer than {LINE_BYTES_MAX} bytes"));
        }
        if io.read_buf(unread).await.map_err(|e| e.to_string())? == 0 {
            // What stands before the end counts as a line.
            let last = std::mem::take(unread);
            return Ok(Some(last).filter(|l| !l.is_empty()));
        }
    }
}
