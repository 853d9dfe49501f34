//! When a domain's registration ends, asked by RDAP (RFC 9083), which has the blackbox exporter no
//! prober for.

use std::time::Duration;

use serde_json::Value;

use super::config::Domain;
use super::result::ProbeResult;
use crate::exchange::{AllowedHosts, Request, client_config, exchange};

/// From a bootstrap server to the registry, and from there to the registrar.
const REDIRECTS_MAX: usize = 3;
const BODY_BYTES_MAX: usize = 1 << 20;
/// The probe's own timeout ends it earlier.
const TIMEOUT: Duration = Duration::from_secs(60);

/// `target` is the domain. It succeeds where the registration ends, and not before `at_least`.
pub(super) async fn probe(
    target: &str,
    module: &Domain,
    allowed: &AllowedHosts,
    result: &mut ProbeResult,
) -> bool {
    let help = "Returns when the registration of the domain ends, in Unix seconds";
    result.register("probe_domain_expiry_timestamp_seconds", help);
    match expiry(target, module, allowed, result).await {
        Ok(at) => {
            result.set("probe_domain_expiry_timestamp_seconds", help, at.as_second() as f64);
            let left = at.duration_since(jiff::Timestamp::now()).as_secs();
            let wanted = i64::try_from(module.at_least.as_secs()).unwrap_or(i64::MAX);
            result.say(format!("level=info msg=\"Registration ends\" at={at} seconds_left={left}"));
            left >= wanted.max(1)
        }
        Err(e) => {
            result.say(format!("level=error msg=\"No end of the registration\" err={e:?}"));
            false
        }
    }
}

async fn expiry(
    target: &str,
    module: &Domain,
    allowed: &AllowedHosts,
    result: &mut ProbeResult,
) -> Result<jiff::Timestamp, String> {
    let name = target.trim_end_matches('.').to_ascii_lowercase();
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
    if name.is_empty() || !name.contains('.') || !name.chars().all(plain) {
        return Err(format!("{target:?} is no domain; international ones are written as xn--"));
    }
    let tls = client_config(&module.tls, &[]).map_err(|e| e.to_string())?;
    let mut url = format!("{}/domain/{name}", module.server.trim_end_matches('/'));
    for _ in 0..=REDIRECTS_MAX {
        result.say(format!("level=info msg=\"Asking\" url={url}"));
        let mut headers = hyper::HeaderMap::new();
        let kind = hyper::header::HeaderValue::from_static("application/rdap+json");
        headers.insert(hyper::header::ACCEPT, kind);
        let request = Request {
            method: hyper::Method::GET,
            uri: url.parse().map_err(|e| format!("{url:?}: {e}"))?,
            headers,
            body: bytes::Bytes::new(),
        };
        let reply = exchange(&request, &tls, allowed, TIMEOUT, BODY_BYTES_MAX).await?;
        if reply.status.is_redirection() {
            let next = reply.headers.get(hyper::header::LOCATION).and_then(|l| l.to_str().ok());
            next.ok_or("a redirect without a location")?.clone_into(&mut url);
            continue;
        }
        if !reply.status.is_success() {
            return Err(format!("{url} answered {}", reply.status));
        }
        let body: Value = serde_json::from_slice(&reply.body).map_err(|e| format!("{url}: {e}"))?;
        let events = body.get("events").and_then(Value::as_array);
        let ends = events
            .into_iter()
            .flatten()
            .filter(|e| e.get("eventAction").and_then(Value::as_str) == Some("expiration"));
        let dates = ends.filter_map(|e| e.get("eventDate")?.as_str()?.parse().ok());
        return dates.min().ok_or_else(|| format!("{url} names no expiration"));
    }
    Err(format!("more than {REDIRECTS_MAX} redirects"))
}
