//! The HTTP prober: redirects by hand, each round trip timed, the answer judged.

mod judge;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::header::{CONTENT_LENGTH, COOKIE, HOST, LOCATION, SET_COOKIE, USER_AGENT};
use hyper::{HeaderMap, Method, StatusCode, Uri, Version};
use hyper_util::rt::{TokioExecutor, TokioIo};

use super::addresses;
use super::certificate::Session;
use super::config::Http;
use super::result::ProbeResult;
use crate::exchange::{AllowedHosts, Plan, Stream, TlsForm, client_config, connect, traceparent};

const REDIRECTS_MAX: u32 = 10;
/// Most that is read of an answer without a limit of its own.
const BODY_BYTES_MAX: usize = 256 << 20;
const DURATION: (&str, &str) =
    ("probe_http_duration_seconds", "Duration of http request by phase, summed over all redirects");
const REGEX: (&str, &str) = ("probe_failed_due_to_regex", "Indicates if probe failed due to regex");

/// One answer, not yet judged.
struct Answer {
    status: StatusCode,
    version: Version,
    headers: HeaderMap,
    body: Result<Bytes, String>,
    content_length: f64,
    session: Option<Session>,
}

/// What a round trip needs.
struct Trip<'a> {
    module: &'a Http,
    allowed: &'a AllowedHosts,
    traceparent: Option<&'a str>,
}

pub(super) async fn probe(
    target: &str,
    module: &Http,
    allowed: &AllowedHosts,
    trace: Option<(u128, u64)>,
    result: &mut ProbeResult,
) -> bool {
    for (name, help) in [
        ("probe_http_content_length", "Length of http content response"),
        ("probe_http_uncompressed_body_length", "Length of uncompressed response body"),
        ("probe_http_redirects", "The number of redirects"),
        ("probe_http_ssl", "Indicates if SSL was used for the final redirect"),
        ("probe_http_status_code", "Response HTTP status code"),
        ("probe_http_version", "Returns the version of HTTP of the probe response"),
        REGEX,
    ] {
        result.register(name, help);
    }
    let lower = target.to_ascii_lowercase();
    let absolute = lower.starts_with("http://") || lower.starts_with("https://");
    let url = if absolute { target.to_owned() } else { format!("http://{target}") };
    let uri: Uri = match url.parse() {
        Ok(uri) => uri,
        Err(e) => {
            result.say(format!(
                "level=error msg=\"Could not parse target URL\" err={:?}",
                e.to_string()
            ));
            return false;
        }
    };
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    let family = &module.family;
    let chosen =
        addresses::choose(&host, &family.preferred, family.fallback, allowed, result).await;
    let lookup = result.value("probe_dns_lookup_time_seconds").unwrap_or(0.0);
    result.add_with(DURATION.0, DURATION.1, &[("phase", "resolve")], lookup);
    let Some((address, took)) = chosen else { return false };
    result.phase("resolve", Instant::now() - took, took, false);
    for phase in ["connect", "tls", "processing", "transfer"] {
        result.add_with(DURATION.0, DURATION.1, &[("phase", phase)], 0.0);
    }
    let parent = trace.map(|(trace_id, span_id)| traceparent(trace_id, span_id));
    let trip = Trip { module, allowed, traceparent: parent.as_deref() };
    match follow(&trip, uri, address, result).await {
        Ok((answer, followed)) => judge::judge(module, answer, followed, result),
        Err(e) => {
            result.say(format!("level=error msg=\"Error for HTTP request\" err={e:?}"));
            if module.fail_if_not_ssl {
                result.say("level=error msg=\"Final request was not over SSL\"");
            }
            false
        }
    }
}

/// The last answer, and whether it is no redirect that was left alone.
async fn follow(
    trip: &Trip<'_>,
    first: Uri,
    address: std::net::IpAddr,
    result: &mut ProbeResult,
) -> Result<(Answer, bool), String> {
    let module = trip.module;
    let mut uri = first.clone();
    let mut method = module.method.clone();
    let mut body = match &module.body_file {
        Some(file) => Bytes::from(
            std::fs::read(file).map_err(|e| format!("cannot read {}: {e}", file.display()))?,
        ),
        None => Bytes::from(module.body.clone()),
    };
    let mut cookies: Vec<(String, String)> = Vec::new();
    let mut redirects = 0;
    loop {
        let same_host = uri.host() == first.host();
        let to = if redirects == 0 { Some(address) } else { None };
        let answer =
            round_trip(trip, &uri, to, same_host, &method, body.clone(), &cookies, result).await?;
        for cookie in answer.headers.get_all(SET_COOKIE) {
            let pair = cookie.to_str().unwrap_or("").split(';').next().unwrap_or("");
            if let Some((name, value)) = pair.split_once('=') {
                cookies.retain(|(n, _)| n != name);
                cookies.push((name.to_owned(), value.to_owned()));
            }
        }
        let location = answer.headers.get(LOCATION).and_then(|l| l.to_str().ok());
        let redirect = matches!(answer.status.as_u16(), 301 | 302 | 303 | 307 | 308);
        let Some(location) = location.filter(|_| redirect) else { return Ok((answer, true)) };
        redirects += 1;
        result.say(format!("level=info msg=\"Received redirect\" location={location}"));
        result.set("probe_http_redirects", "The number of redirects", f64::from(redirects));
        if !module.follow_redirects || redirects > REDIRECTS_MAX {
            result.say("level=info msg=\"Not following redirect\"");
            return Ok((answer, false));
        }
        uri = joined(&uri, location)?;
        if matches!(answer.status.as_u16(), 301..=303) {
            if method != Method::HEAD {
                method = Method::GET;
            }
            body = Bytes::new();
        }
    }
}

/// RFC 3986, as far as `Location` needs it.
fn joined(base: &Uri, location: &str) -> Result<Uri, String> {
    let wrong = |e: String| format!("cannot follow {location:?}: {e}");
    if location.contains("://") {
        return location.parse().map_err(|e: hyper::http::uri::InvalidUri| wrong(e.to_string()));
    }
    let scheme = base.scheme_str().unwrap_or("http");
    let authority = base.authority().map_or("", |a| a.as_str());
    let whole = if let Some(rest) = location.strip_prefix("//") {
        format!("{scheme}://{rest}")
    } else if location.starts_with('/') {
        format!("{scheme}://{authority}{location}")
    } else {
        let folder = base.path().rsplit_once('/').map_or("", |(folder, _)| folder);
        format!("{scheme}://{authority}{folder}/{location}")
    };
    whole.parse().map_err(|e: hyper::http::uri::InvalidUri| wrong(e.to_string()))
}

#[expect(clippy::too_many_arguments, reason = "each differs from one redirect to the next")]
async fn round_trip(
    trip: &Trip<'_>,
    uri: &Uri,
    address: Option<std::net::IpAddr>,
    same_host: bool,
    method: &Method,
    body: Bytes,
    cookies: &[(String, String)],
    result: &mut ProbeResult,
) -> Result<Answer, String> {
    let module = trip.module;
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    trip.allowed.check(&host).map_err(|e| e.to_string())?;
    let encrypted = uri.scheme_str() == Some("https");
    let own_host = module.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case("host"));
    let name = module.tls.server_name.clone().or_else(|| own_host.map(|(_, v)| v.clone()));
    let plan = Plan {
        host: address.map_or_else(|| host.clone(), |ip| ip.to_string()),
        port: uri.port_u16().unwrap_or(if encrypted { 443 } else { 80 }),
        tls: if encrypted {
            let alpn: &[&str] = if module.http2 { &["h2", "http/1.1"] } else { &["http/1.1"] };
            Some(client_config(&module.tls, alpn).map_err(|e| e.to_string())?)
        } else {
            None
        },
        server_name: name.filter(|_| same_host).or_else(|| Some(host.clone())),
    };
    // An address that was chosen for an allowed name is allowed.
    let named;
    let allowed = match address {
        Some(ip) => {
            named = AllowedHosts::new([ip.to_string()]);
            &named
        }
        None => trip.allowed,
    };
    let began = Instant::now();
    let connected = connect(&plan, allowed).await.map_err(|e| e.to_string())?;
    let phases = connected.phases;
    if address.is_none() {
        add(result, "resolve", phases.resolve);
    }
    add(result, "connect", phases.connect);
    result.phase("connect", began + phases.resolve, phases.connect, false);
    let session = match &connected.stream {
        Stream::Tls(stream) => {
            add(result, "tls", phases.tls);
            result.phase("tls", began + phases.resolve + phases.connect, phases.tls, false);
            let (_, connection) = stream.get_ref();
            Some((
                Session::of(connection, !module.tls.insecure_skip_verify),
                connection.alpn_protocol() == Some(b"h2"),
            ))
        }
        Stream::Plain(_) => None,
    };
    let http2 = session.as_ref().is_some_and(|(_, http2)| *http2);
    let request = request(trip, uri, method, body, cookies, http2)?;
    let sent = Instant::now();
    let io = TokioIo::new(connected.stream);
    let said = |e: hyper::Error| crate::exchange::error_reason(&e);
    let response = if http2 {
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.map_err(said)?;
        tokio::spawn(connection);
        sender.send_request(request).await.map_err(said)?
    } else {
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(io).await.map_err(said)?;
        tokio::spawn(connection);
        sender.send_request(request).await.map_err(said)?
    };
    let processing = sent.elapsed();
    add(result, "processing", processing);
    result.phase("processing", sent, processing, false);
    let (head, incoming) = response.into_parts();
    let length = head.headers.get(CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse().ok());
    let bodiless = *method == Method::HEAD || matches!(head.status.as_u16(), 204 | 304);
    let content_length = length.unwrap_or(if bodiless && head.status != 200 { 0.0 } else { -1.0 });
    let reading = Instant::now();
    let body = Limited::new(incoming, BODY_BYTES_MAX)
        .collect()
        .await
        .map(|whole| whole.to_bytes())
        .map_err(|e| e.to_string());
    let followed = head.headers.contains_key(LOCATION) && head.status.is_redirection();
    if !followed {
        let transfer = reading.elapsed();
        add(result, "transfer", transfer);
        result.phase("transfer", reading, transfer, body.is_err());
    }
    Ok(Answer {
        status: head.status,
        version: head.version,
        headers: head.headers,
        body,
        content_length,
        session: session.map(|(session, _)| session),
    })
}

fn add(result: &mut ProbeResult, phase: &str, took: Duration) {
    result.add_with(DURATION.0, DURATION.1, &[("phase", phase)], took.as_secs_f64());
}

fn request(
    trip: &Trip<'_>,
    uri: &Uri,
    method: &Method,
    body: Bytes,
    cookies: &[(String, String)],
    http2: bool,
) -> Result<hyper::Request<Full<Bytes>>, String> {
    let path = uri.path_and_query().map_or("/", |p| p.as_str());
    let target = if http2 { uri.to_string() } else { path.to_owned() };
    let mut out = hyper::Request::builder().method(method.clone()).uri(target);
    for (name, value) in &trip.module.headers {
        // HTTP/2 has the name of the host in its own place.
        if !(http2 && name.eq_ignore_ascii_case("host")) {
            out = out.header(name, value);
        }
    }
    if let Some(headers) = out.headers_mut() {
        let authority = uri.authority().map_or("", |a| a.as_str());
        if !http2
            && !headers.contains_key(HOST)
            && let Ok(value) = authority.parse()
        {
            headers.insert(HOST, value);
        }
        if !headers.contains_key(USER_AGENT)
            && let Ok(value) = concat!("vm-obs-probe/", env!("CARGO_PKG_VERSION")).parse()
        {
            headers.insert(USER_AGENT, value);
        }
        if let Some(value) = trip.traceparent.and_then(|t| t.parse().ok()) {
            headers.insert("traceparent", value);
        }
        let pairs: Vec<String> = cookies.iter().map(|(n, v)| format!("{n}={v}")).collect();
        if !pairs.is_empty()
            && let Ok(value) = pairs.join("; ").parse()
        {
            headers.insert(COOKIE, value);
        }
    }
    out.body(Full::new(body)).map_err(|e| e.to_string())
}

/// A configuration for other probers.
pub(super) fn tls(form: &TlsForm, alpn: &[&str]) -> Result<Arc<rustls::ClientConfig>, String> {
    client_config(form, alpn).map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations_are_joined() {
        let base: Uri = "http://h:1/a/b?c".parse().unwrap();
        for (location, whole) in [
            ("/x", "http://h:1/x"),
            ("x?y=1", "http://h:1/a/x?y=1"),
            ("//g/x", "http://g/x"),
            ("https://g/x", "https://g/x"),
        ] {
            assert_eq!(joined(&base, location).unwrap(), whole);
        }
    }
}
