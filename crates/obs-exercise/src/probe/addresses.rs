//! Which address of a name is probed.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::result::ProbeResult;
use crate::exchange::{AllowedHosts, resolve};

/// Splits `host:port`, `[v6]:port`; the port may be absent.
pub(super) fn split(target: &str) -> (String, Option<u16>) {
    if let Some(rest) = target.strip_prefix('[')
        && let Some((host, tail)) = rest.split_once(']')
    {
        return (host.to_owned(), tail.strip_prefix(':').and_then(|p| p.parse().ok()));
    }
    match target.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') => (host.to_owned(), port.parse().ok()),
        _ => (target.to_owned(), None),
    }
}

/// Resolves `host`, sets the three gauges about it, and refuses what is not allowed.
pub(super) async fn choose(
    host: &str,
    preferred: &str,
    fallback: bool,
    allowed: &AllowedHosts,
    result: &mut ProbeResult,
) -> Option<(IpAddr, Duration)> {
    let lookup_help = "Returns the time taken for probe dns lookup in seconds";
    let protocol_help = "Specifies whether probe ip protocol is IP4 or IP6";
    let hash_help =
        "Specifies the hash of IP address. It's useful to detect if the IP address changes.";
    result.register("probe_ip_protocol", protocol_help);
    result.register("probe_dns_lookup_time_seconds", lookup_help);
    result.register("probe_ip_addr_hash", hash_help);
    let began = Instant::now();
    let found = resolve(host, 0).await;
    let took = began.elapsed();
    result.set("probe_dns_lookup_time_seconds", lookup_help, took.as_secs_f64());
    let all: Vec<IpAddr> = match found {
        Ok(all) => all.into_iter().map(|a| a.ip()).collect(),
        Err(e) => {
            result.say(format!(
                "level=error msg=\"Error resolving address\" err={:?}",
                e.to_string()
            ));
            return None;
        }
    };
    let wants_v4 = preferred == "ip4";
    let chosen = all
        .iter()
        .find(|ip| ip.is_ipv4() == wants_v4)
        .or_else(|| all.last().filter(|_| fallback))
        .copied();
    let Some(ip) = chosen else {
        result.say(
            "level=error msg=\"Error resolving address\" err=\"unable to find ip; no fallback\"",
        );
        return None;
    };
    if let Err(e) = allowed.check_address(host, ip) {
        result.say(format!("level=error msg=\"Target refused\" err={:?}", e.to_string()));
        return None;
    }
    result.say(format!("level=debug msg=\"Resolved target address\" target={host} ip={ip}"));
    result.set("probe_ip_protocol", protocol_help, if ip.is_ipv4() { 4.0 } else { 6.0 });
    result.set("probe_ip_addr_hash", hash_help, f64::from(fnv32a(ip)));
    Some((ip, took))
}

/// FNV-1a over the address's bytes.
fn fnv32a(ip: IpAddr) -> u32 {
    let (v4, v6);
    let bytes: &[u8] = match ip {
        IpAddr::V4(a) => {
            v4 = a.octets();
            &v4
        }
        IpAddr::V6(a) => {
            v6 = a.octets();
            &v6
        }
    };
    bytes.iter().fold(0x811c_9dc5, |hash, b| (hash ^ u32::from(*b)).wrapping_mul(0x0100_0193))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_split() {
        for (target, host, port) in [
            ("127.0.0.1:80", "127.0.0.1", Some(80)),
            ("[::1]:80", "::1", Some(80)),
            ("::1", "::1", None),
            ("localhost", "localhost", None),
        ] {
            assert_eq!(split(target), (host.to_owned(), port), "{target}");
        }
        assert_eq!(fnv32a("127.0.0.1".parse().unwrap()), 3_668_918_509);
    }
}
