use std::time::{Duration, Instant};

use super::config::{Module, Prober};
use super::result::ProbeResult;
use super::{dialogue, dns, domain, grpc, http, icmp, websocket};
use crate::exchange::AllowedHosts;

/// What a probe is asked.
#[derive(Clone, Debug)]
pub struct ProbeRequest<'a> {
    pub target: &'a str,
    pub module: &'a Module,
    pub allowed: &'a AllowedHosts,
    /// Of the scrape, where there is one; the module's own goes before it where it is shorter.
    pub timeout: Duration,
    /// Trace and span that an HTTP probe names as its parent.
    pub trace: Option<(u128, u64)>,
}

/// Probes once. What fails is in the result, with the reason in its log.
pub async fn probe(request: &ProbeRequest<'_>) -> ProbeResult {
    let mut result = ProbeResult::default();
    for (name, help) in [
        ("probe_success", "Displays whether or not the probe was a success"),
        ("probe_duration_seconds", "Returns how long the probe took to complete in seconds"),
        ("probe_timeout_seconds", "Returns how long the probe timeout is in seconds"),
    ] {
        result.register(name, help);
    }
    let timeout = request.module.timeout.map_or(request.timeout, |own| own.min(request.timeout));
    let began = Instant::now();
    let work = one(request, timeout, &mut result);
    let success = match tokio::time::timeout(timeout, work).await {
        Ok(success) => success,
        Err(_elapsed) => {
            result.say(format!(
                "level=error msg=\"Probe failed\" err=\"not done within {} s\"",
                timeout.as_secs_f64()
            ));
            false
        }
    };
    let took = began.elapsed();
    let help = "Returns how long the probe took to complete in seconds";
    result.set("probe_duration_seconds", help, took.as_secs_f64());
    let help = "Returns how long the probe timeout is in seconds";
    result.set("probe_timeout_seconds", help, timeout.as_secs_f64());
    let help = "Displays whether or not the probe was a success";
    result.set("probe_success", help, f64::from(u8::from(success)));
    result.say(match success {
        true => {
            format!("level=info msg=\"Probe succeeded\" duration_seconds={}", took.as_secs_f64())
        }
        false => {
            format!("level=error msg=\"Probe failed\" duration_seconds={}", took.as_secs_f64())
        }
    });
    result.success = success;
    result
}

async fn one(request: &ProbeRequest<'_>, timeout: Duration, result: &mut ProbeResult) -> bool {
    let (target, allowed) = (request.target, request.allowed);
    match &request.module.prober {
        Prober::Http(module) => {
            Box::pin(http::probe(target, module, allowed, request.trace, result)).await
        }
        Prober::Tcp(module) => dialogue::probe_tcp(target, module, allowed, result).await,
        Prober::Unix(lines) => dialogue::probe_unix(target, lines, result).await,
        Prober::WebSocket(module) => {
            Box::pin(websocket::probe(target, module, allowed, request.trace, result)).await
        }
        Prober::Icmp(module) => icmp::probe(target, module, allowed, timeout, result).await,
        Prober::Dns(module) => dns::probe(target, module, allowed, result).await,
        Prober::Domain(module) => domain::probe(target, module, allowed, result).await,
        Prober::Grpc(module) => grpc::probe(target, module, allowed, result).await,
    }
}
