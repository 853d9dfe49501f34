//! `dns_sd_configs`. Addresses come from the system's resolver; SRV, MX and NS records, which it
//! does not know, are asked of the servers in `/etc/resolv.conf`, over UDP, and over TCP where the
//! answer does not fit. Names are asked as they are: no search list.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use obs_types::LabelSet;
use obs_wire::{
    DnsAnswer, DnsRecordType, DnsTarget, WireError, decode_dns_answer, encode_dns_query,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};

use crate::scrape::config::{DnsDiscovery, DnsKind, TargetGroup};

const TIMEOUT: Duration = Duration::from_secs(5);
/// Says that there is no such name, which is an answer.
const NO_SUCH_NAME: u8 = 3;

/// The targets of every name. One name that cannot be asked for fails the whole answer.
pub(super) async fn resolve(source: &DnsDiscovery) -> Result<Vec<TargetGroup>, String> {
    let servers = match source.kind {
        DnsKind::A | DnsKind::Aaaa => Vec::new(),
        DnsKind::Srv | DnsKind::Mx | DnsKind::Ns => servers()?,
    };
    resolve_at(source, &servers).await
}

async fn resolve_at(
    source: &DnsDiscovery,
    servers: &[SocketAddr],
) -> Result<Vec<TargetGroup>, String> {
    let port = source.port.unwrap_or(0);
    let mut groups = Vec::new();
    for name in &source.names {
        let (kind, what) = match source.kind {
            DnsKind::A | DnsKind::Aaaa => {
                groups.push(addresses(name, port, source.kind).await?);
                continue;
            }
            DnsKind::Srv => (DnsRecordType::Srv, "srv"),
            DnsKind::Mx => (DnsRecordType::Mx, "mx"),
            DnsKind::Ns => (DnsRecordType::Ns, "ns"),
        };
        let found = ask(servers, name, kind).await.map_err(|e| format!("{name}: {e}"))?;
        groups.extend(found.into_iter().map(|target| group(name, what, target, port)));
    }
    groups.sort_by(|a, b| a.targets.cmp(&b.targets));
    Ok(groups)
}

async fn addresses(name: &str, port: u16, kind: DnsKind) -> Result<TargetGroup, String> {
    let found = tokio::net::lookup_host((name, port)).await.map_err(|e| format!("{name}: {e}"))?;
    let wanted = found.filter(|a| a.is_ipv6() == (kind == DnsKind::Aaaa));
    let mut targets: Vec<String> = wanted.map(|a| a.to_string()).collect();
    targets.sort();
    targets.dedup();
    let labels = LabelSet::from_pairs([("__meta_dns_name", name)]);
    Ok(TargetGroup { targets, labels })
}

fn group(name: &str, what: &str, target: DnsTarget, port: u16) -> TargetGroup {
    let address = format!("{}:{}", target.host, target.port.unwrap_or(port));
    let mut labels = LabelSet::from_pairs([("__meta_dns_name", name)]).to_builder();
    if let Some(port) = target.port {
        labels.set("__meta_dns_srv_record_port", port.to_string());
    }
    labels.set(format!("__meta_dns_{what}_record_target"), target.host);
    TargetGroup { targets: vec![address], labels: labels.build() }
}

/// The name servers of this machine.
fn servers() -> Result<Vec<SocketAddr>, String> {
    let file = "/etc/resolv.conf";
    let text = std::fs::read_to_string(file).map_err(|e| format!("{file}: {e}"))?;
    let found: Vec<SocketAddr> = text
        .lines()
        .filter_map(|line| line.trim().strip_prefix("nameserver"))
        .filter_map(|rest| rest.trim().parse::<IpAddr>().ok())
        .map(|ip| SocketAddr::new(ip, 53))
        .collect();
    if found.is_empty() { Err(format!("{file} names no server")) } else { Ok(found) }
}

/// The first server that answers decides.
async fn ask(
    servers: &[SocketAddr],
    name: &str,
    kind: DnsRecordType,
) -> Result<Vec<DnsTarget>, String> {
    let mut last = "no name server".to_owned();
    for server in servers {
        let exchange = tokio::time::timeout(TIMEOUT, exchange(*server, name, kind)).await;
        match exchange.unwrap_or_else(|_elapsed| Err("no answer in time".into())) {
            Ok(answer) if answer.code == 0 || answer.code == NO_SUCH_NAME => {
                return Ok(answer.targets);
            }
            Ok(answer) => last = format!("{server}: answer with code {}", answer.code),
            Err(e) => last = format!("{server}: {e}"),
        }
    }
    Err(last)
}

async fn exchange(
    server: SocketAddr,
    name: &str,
    kind: DnsRecordType,
) -> Result<DnsAnswer, String> {
    let text = |e: std::io::Error| e.to_string();
    let wire = |e: WireError| e.to_string();
    let local = match server.ip() {
        ip if ip.is_loopback() => ip,
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    // Somebody who does not see the question can guess neither its port nor its number.
    let id = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), name) as u16;
    let query = encode_dns_query(id, name, kind).map_err(wire)?;
    let socket = UdpSocket::bind((local, 0)).await.map_err(text)?;
    socket.connect(server).await.map_err(text)?;
    socket.send(&query).await.map_err(text)?;
    let mut buffer = vec![0; 4096];
    let answer = loop {
        let length = socket.recv(&mut buffer).await.map_err(text)?;
        // Late answers to other questions are passed over.
        match decode_dns_answer(buffer.get(..length).unwrap_or_default(), kind) {
            Ok(answer) if answer.id == id => break answer,
            _ => {}
        }
    };
    if !answer.truncated {
        return Ok(answer);
    }
    let mut stream = TcpStream::connect(server).await.map_err(text)?;
    let length = u16::try_from(query.len()).unwrap_or(u16::MAX).to_be_bytes();
    stream.write_all(&[&length[..], &query].concat()).await.map_err(text)?;
    let length = stream.read_u16().await.map_err(text)?;
    let mut message = vec![0; usize::from(length)];
    stream.read_exact(&mut message).await.map_err(text)?;
    decode_dns_answer(&message, kind).map_err(wire)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(kind: DnsKind) -> DnsDiscovery {
        DnsDiscovery { names: vec!["_m.example".into()], kind, port: Some(7), refresh: TIMEOUT }
    }

    /// `query` answered with one record of its kind that names `name.example`.
    fn answer(query: &[u8], flags: u16, data: &[u8]) -> Vec<u8> {
        let kind = query[query.len() - 4..query.len() - 2].to_vec();
        let mut out = query.to_vec();
        out[2..4].copy_from_slice(&flags.to_be_bytes());
        out[7] = 1;
        let data = [data, b"\x04name\xc0\x0f"].concat();
        out.extend([0xc0, 12]);
        out.extend(kind);
        out.extend([0, 1, 0, 0, 0, 60, 0, data.len() as u8]);
        out.extend(data);
        out
    }

    #[tokio::test]
    async fn records_are_asked_over_udp_and_tcp() {
        let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let server = udp.local_addr().unwrap();
        let tcp = tokio::net::TcpListener::bind(server).await.unwrap();
        tokio::spawn(async move {
            let mut buffer = [0; 512];
            loop {
                let (length, from) = udp.recv_from(&mut buffer).await.unwrap();
                let query = &buffer[..length];
                // SRV does not fit; an answer with another number comes first.
                let reply = match query[length - 3] {
                    33 => answer(query, 0x8380, b"\x00\x01\x00\x02\x00\x01"),
                    15 => answer(query, 0x8180, b"\x00\x0a"),
                    _ => answer(query, 0x8180, b""),
                };
                let mut stray = reply.clone();
                stray[0] ^= 1;
                udp.send_to(&stray, from).await.unwrap();
                udp.send_to(&reply, from).await.unwrap();
            }
        });
        tokio::spawn(async move {
            let (mut stream, _) = tcp.accept().await.unwrap();
            let length = stream.read_u16().await.unwrap();
            let mut query = vec![0; usize::from(length)];
            stream.read_exact(&mut query).await.unwrap();
            let reply = answer(&query, 0x8180, b"\x00\x01\x00\x02\x23\x8c");
            stream.write_u16(reply.len() as u16).await.unwrap();
            stream.write_all(&reply).await.unwrap();
        });
        for (kind, address, label) in [
            (DnsKind::Mx, "name.example:7", "__meta_dns_mx_record_target"),
            (DnsKind::Ns, "name.example:7", "__meta_dns_ns_record_target"),
            (DnsKind::Srv, "name.example:9100", "__meta_dns_srv_record_target"),
        ] {
            let got = resolve_at(&source(kind), &[server]).await.unwrap();
            let [group] = &got[..] else { panic!("{kind:?}: {got:?}") };
            assert_eq!(group.targets, [address]);
            assert_eq!(group.labels.get(label), Some("name.example"));
            assert_eq!(group.labels.get("__meta_dns_name"), Some("_m.example"));
            let port = (kind == DnsKind::Srv).then_some("9100");
            assert_eq!(group.labels.get("__meta_dns_srv_record_port"), port);
        }
        assert!(
            resolve_at(&source(DnsKind::Ns), &[]).await.unwrap_err().contains("no name server")
        );
    }
}
