//! The gRPC prober: `grpc.health.v1.Health/Check` over HTTP/2.

use std::time::Instant;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::{TokioExecutor, TokioIo};

use super::addresses;
use super::certificate::{self, Session};
use super::config::Grpc;
use super::http::tls;
use super::result::ProbeResult;
use crate::exchange::{AllowedHosts, Plan, Stream, connect};

const DURATION: (&str, &str) = ("probe_grpc_duration_seconds", "Duration of gRPC request by phase");
const STATUSES: [&str; 4] = ["UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"];
/// gRPC's code for a server that cannot be reached.
const UNAVAILABLE: u32 = 14;
const UNKNOWN: u32 = 2;

struct Checked {
    /// gRPC status code.
    code: u32,
    /// Number of the serving status, with code 0 only.
    serving: Option<usize>,
    session: Option<Session>,
}

pub(super) async fn probe(
    target: &str,
    module: &Grpc,
    allowed: &AllowedHosts,
    result: &mut ProbeResult,
) -> bool {
    let ssl = ("probe_grpc_ssl", "Indicates if SSL was used for the connection");
    let code = ("probe_grpc_status_code", "Response gRPC status code");
    result.register(ssl.0, ssl.1);
    result.register(code.0, code.1);
    let expiry = "Returns last SSL chain expiry in unixtime";
    result.register("probe_ssl_earliest_cert_expiry", expiry);
    result.set_with(DURATION.0, DURATION.1, &[("phase", "resolve")], 0.0);
    let bare = target.trim_start_matches("http://").trim_start_matches("https://");
    let (host, port) = addresses::split(bare.split('/').next().unwrap_or(bare));
    let family = &module.family;
    let chosen =
        addresses::choose(&host, &family.preferred, family.fallback, allowed, result).await;
    let Some((ip, took)) = chosen else { return false };
    result.set_with(DURATION.0, DURATION.1, &[("phase", "resolve")], took.as_secs_f64());
    result.phase("resolve", Instant::now() - took, took, false);
    let began = Instant::now();
    let port = port.unwrap_or(if module.tls.is_some() { 443 } else { 80 });
    let checked = match check(&host, ip, port, module).await {
        Ok(checked) => checked,
        Err(e) => {
            result.say(format!("level=error msg=\"can't connect grpc server:\" err={e:?}"));
            Checked { code: UNAVAILABLE, serving: None, session: None }
        }
    };
    let took = began.elapsed();
    result.set_with(DURATION.0, DURATION.1, &[("phase", "check")], took.as_secs_f64());
    result.phase("check", began, took, checked.code != 0);
    for (i, name) in STATUSES.iter().enumerate() {
        result.set_with(
            "probe_grpc_healthcheck_response",
            "Response HealthCheck response",
            &[("serving_status", name)],
            f64::from(u8::from(checked.serving == Some(i))),
        );
    }
    if let Some(session) = &checked.session {
        result.set(ssl.0, ssl.1, 1.0);
        certificate::gauges(session, false, false, result);
    }
    result.set(code.0, code.1, f64::from(checked.code));
    checked.serving == Some(1)
}

async fn check(
    host: &str,
    ip: std::net::IpAddr,
    port: u16,
    module: &Grpc,
) -> Result<Checked, String> {
    let config = module.tls.as_ref().map(|form| tls(form, &["h2"])).transpose()?;
    let name = module.tls.as_ref().and_then(|form| form.server_name.clone());
    let plan = Plan {
        host: ip.to_string(),
        port,
        tls: config,
        server_name: name.or_else(|| Some(host.to_owned())),
    };
    let allowed = AllowedHosts::new([ip.to_string()]);
    let connected = connect(&plan, &allowed).await.map_err(|e| e.to_string())?;
    let session = match &connected.stream {
        Stream::Tls(stream) => {
            let verified = module.tls.as_ref().is_some_and(|form| !form.insecure_skip_verify);
            Some(Session::of(stream.get_ref().1, verified))
        }
        Stream::Plain(_) => None,
    };
    let said = |e: hyper::Error| crate::exchange::error_reason(&e);
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(connected.stream))
            .await
            .map_err(said)?;
    tokio::spawn(connection);
    let scheme = if module.tls.is_some() { "https" } else { "http" };
    let authority =
        if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
    let mut request =
        hyper::Request::post(format!("{scheme}://{authority}/grpc.health.v1.Health/Check"))
            .header("content-type", "application/grpc")
            .header("te", "trailers");
    for (name, value) in &module.metadata {
        request = request.header(name, value);
    }
    let request = request.body(Full::new(message(&module.service))).map_err(|e| e.to_string())?;
    let (head, body) = sender.send_request(request).await.map_err(said)?.into_parts();
    let whole = Limited::new(body, 64 * 1024).collect().await.map_err(|e| e.to_string())?;
    let trailers = whole.trailers().cloned().unwrap_or_default();
    // An answer without a body has its status among the headers.
    let status = trailers.get("grpc-status").or_else(|| head.headers.get("grpc-status"));
    let code = status.and_then(|s| s.to_str().ok()?.parse().ok()).unwrap_or(UNKNOWN);
    let serving = (code == 0).then(|| serving(&whole.to_bytes())).flatten();
    Ok(Checked { code, serving, session })
}

/// A frame with `HealthCheckRequest { service }`.
fn message(service: &str) -> Bytes {
    let mut inner = Vec::new();
    if !service.is_empty() {
        inner.push(0x0a);
        let mut length = service.len();
        while length >= 0x80 {
            inner.push((length & 0x7f) as u8 | 0x80);
            length >>= 7;
        }
        inner.push(length as u8);
        inner.extend(service.as_bytes());
    }
    let mut out = vec![0];
    out.extend((inner.len() as u32).to_be_bytes());
    out.extend(inner);
    Bytes::from(out)
}

/// Field 1 of `HealthCheckResponse`; absent means 0.
fn serving(frame: &[u8]) -> Option<usize> {
    match frame.get(5..)? {
        [] => Some(0),
        [0x08, status, ..] => Some(usize::from(*status)).filter(|s| *s < STATUSES.len()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames() {
        assert_eq!(&message("")[..], [0, 0, 0, 0, 0]);
        assert_eq!(&message("ab")[..], [0, 0, 0, 0, 4, 0x0a, 2, b'a', b'b']);
        let long = message(&"x".repeat(200));
        assert_eq!(&long[5..8], [0x0a, 0xc8, 1]);
        assert_eq!(serving(&[0, 0, 0, 0, 2, 8, 1]), Some(1));
        assert_eq!(serving(&[0, 0, 0, 0, 0]), Some(0));
        assert_eq!(serving(&[0, 0]), None);
    }
}
