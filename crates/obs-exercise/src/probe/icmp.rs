//! The ICMP prober: one echo, over an unprivileged socket where the kernel allows it, else a raw
//! one.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketType, ipproto, sockopt};

use super::addresses;
use super::config::Icmp;
use super::result::ProbeResult;
use crate::exchange::AllowedHosts;

const DURATION: (&str, &str) = ("probe_icmp_duration_seconds", "Duration of icmp request by phase");
const PAYLOAD: &[u8] = b"vm-obs probe";

struct Echo {
    setup: Duration,
    rtt: Duration,
    /// Time to live of the reply, where the socket shows it.
    hop_limit: Option<u8>,
}

pub(super) async fn probe(
    target: &str,
    module: &Icmp,
    allowed: &AllowedHosts,
    timeout: Duration,
    result: &mut ProbeResult,
) -> bool {
    for phase in ["resolve", "setup", "rtt"] {
        result.set_with(DURATION.0, DURATION.1, &[("phase", phase)], 0.0);
    }
    let family = &module.family;
    let host = target.trim_matches(['[', ']']);
    let chosen = addresses::choose(host, &family.preferred, family.fallback, allowed, result).await;
    let Some((ip, took)) = chosen else { return false };
    result.set_with(DURATION.0, DURATION.1, &[("phase", "resolve")], took.as_secs_f64());
    let module = module.clone();
    let began = Instant::now();
    // Sockets of this kind are waited for on a thread of their own.
    let done = tokio::task::spawn_blocking(move || echo(ip, &module, timeout)).await;
    let outcome = done.unwrap_or_else(|e| Err(e.to_string()));
    match outcome {
        Ok(echo) => {
            for (phase, took) in [("setup", echo.setup), ("rtt", echo.rtt)] {
                result.set_with(DURATION.0, DURATION.1, &[("phase", phase)], took.as_secs_f64());
            }
            if let Some(limit) = echo.hop_limit {
                let help = "Replied packet hop limit (TTL for ipv4)";
                result.set("probe_icmp_reply_hop_limit", help, f64::from(limit));
            }
            result.phase("rtt", began + echo.setup, echo.rtt, false);
            true
        }
        Err(e) => {
            result.say(format!("level=error msg=\"ICMP probe failed\" err={e:?}"));
            false
        }
    }
}

fn echo(ip: IpAddr, module: &Icmp, timeout: Duration) -> Result<Echo, String> {
    let began = Instant::now();
    let v4 = ip.is_ipv4();
    let (family, protocol) = match v4 {
        true => (AddressFamily::INET, ipproto::ICMP),
        false => (AddressFamily::INET6, ipproto::ICMPV6),
    };
    let open = |kind: SocketType| rustix::net::socket(family, kind, Some(protocol));
    // A raw socket shows the header with the reply's time to live.
    let (socket, raw): (OwnedFd, bool) = match open(SocketType::RAW) {
        Ok(socket) => (socket, true),
        Err(raw_error) => match open(SocketType::DGRAM) {
            Ok(socket) => (socket, false),
            Err(_) => return Err(format!("no socket for ICMP: {raw_error}")),
        },
    };
    if v4 {
        sockopt::set_ip_ttl(&socket, module.ttl).map_err(|e| e.to_string())?;
    } else {
        let hops = u8::try_from(module.ttl).unwrap_or(64);
        sockopt::set_ipv6_unicast_hops(&socket, Some(hops)).map_err(|e| e.to_string())?;
    }
    let mut id = [0; 2];
    getrandom::fill(&mut id).map_err(|e| e.to_string())?;
    let request = packet(if v4 { 8 } else { 128 }, id, v4, module.payload_bytes);
    let setup = began.elapsed();
    let sent = Instant::now();
    rustix::net::sendto(&socket, &request, SendFlags::empty(), &SocketAddr::new(ip, 0))
        .map_err(|e| format!("cannot send: {e}"))?;
    let mut buffer = vec![0u8; 65_536];
    loop {
        let left = timeout.saturating_sub(began.elapsed());
        if left < Duration::from_millis(1) {
            return Err("no reply in time".to_owned());
        }
        sockopt::set_socket_timeout(&socket, sockopt::Timeout::Recv, Some(left))
            .map_err(|e| e.to_string())?;
        let (size, _) = match rustix::net::recv(&socket, &mut buffer[..], RecvFlags::empty()) {
            Ok(size) => size,
            Err(rustix::io::Errno::AGAIN) => return Err("no reply in time".to_owned()),
            Err(e) => return Err(format!("cannot receive: {e}")),
        };
        let whole = buffer.get(..size).unwrap_or_default();
        let header = match whole.first() {
            Some(first) if raw && v4 => usize::from(first & 0xf) * 4,
            _ => 0,
        };
        let reply = whole.get(header..).unwrap_or_default();
        let kind = if v4 { 0 } else { 129 };
        // The kernel chooses the id of an unprivileged socket; the payload is ours in any case.
        let ours = reply.first() == Some(&kind)
            && (!raw || reply.get(4..6) == Some(&id))
            && reply.get(8..) == request.get(8..);
        if ours {
            let hop_limit = if header > 8 { whole.get(8).copied() } else { None };
            return Ok(Echo { setup, rtt: sent.elapsed(), hop_limit });
        }
    }
}

fn packet(kind: u8, id: [u8; 2], checksummed: bool, payload_bytes: usize) -> Vec<u8> {
    let mut out = vec![kind, 0, 0, 0, id[0], id[1], 0, 1];
    out.extend(PAYLOAD);
    // The last two bytes tell our echoes from those of others, also where the id is the kernel's.
    out.extend(id);
    if payload_bytes > 0 {
        out.resize(8 + payload_bytes, 0);
    }
    // For IPv6 the kernel does it.
    if checksummed {
        let sum: u32 = out
            .chunks(2)
            .map(|c| u32::from(c[0]) << 8 | c.get(1).map_or(0, |b| u32::from(*b)))
            .sum();
        let folded = (sum & 0xffff) + (sum >> 16);
        let folded = !((folded & 0xffff) + (folded >> 16)) as u16;
        out[2..4].copy_from_slice(&folded.to_be_bytes());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_sums_up_to_all_ones() {
        for size in [0, 1, 2, 99] {
            let bytes = packet(8, [1, 2], true, size);
            let mut sum: u32 = bytes
                .chunks(2)
                .map(|c| u32::from(c[0]) << 8 | c.get(1).map_or(0, |b| u32::from(*b)))
                .sum();
            while sum > 0xffff {
                sum = (sum & 0xffff) + (sum >> 16);
            }
            assert_eq!(sum, 0xffff, "{size}");
        }
    }
}
