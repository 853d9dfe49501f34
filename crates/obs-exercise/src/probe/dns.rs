//! The DNS prober.

use std::net::SocketAddr;
use std::time::Instant;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};

use super::addresses;
use super::config::{Dns, Records};
use super::dns_message::{self, Message, Record};
use super::result::ProbeResult;
use crate::exchange::AllowedHosts;

const DURATION: (&str, &str) = ("probe_dns_duration_seconds", "Duration of DNS request by phase");
const SOA: u16 = 6;

pub(super) async fn probe(
    target: &str,
    module: &Dns,
    allowed: &AllowedHosts,
    result: &mut ProbeResult,
) -> bool {
    for phase in ["resolve", "connect", "request"] {
        result.set_with(DURATION.0, DURATION.1, &[("phase", phase)], 0.0);
    }
    let sections = [
        ("probe_dns_answer_rrs", "Returns number of entries in the answer resource record list"),
        (
            "probe_dns_authority_rrs",
            "Returns number of entries in the authority resource record list",
        ),
        (
            "probe_dns_additional_rrs",
            "Returns number of entries in the additional resource record list",
        ),
    ];
    for (name, help) in sections {
        result.register(name, help);
    }
    let succeeded = (
        "probe_dns_query_succeeded",
        "Displays whether or not the query was executed successfully",
    );
    result.register(succeeded.0, succeeded.1);
    let (host, port) = addresses::split(target);
    let family = &module.family;
    let chosen =
        addresses::choose(&host, &family.preferred, family.fallback, allowed, result).await;
    let Some((ip, took)) = chosen else { return false };
    let set = |result: &mut ProbeResult, phase: &str, seconds: f64| {
        result.set_with(DURATION.0, DURATION.1, &[("phase", phase)], seconds);
    };
    set(result, "resolve", took.as_secs_f64());
    result.phase("resolve", Instant::now() - took, took, false);
    let to = SocketAddr::new(ip, port.unwrap_or(53));
    let began = Instant::now();
    let (message, request) = match exchange(to, module).await {
        Ok(found) => found,
        Err(e) => {
            set(result, "connect", began.elapsed().as_secs_f64());
            result.say(format!("level=error msg=\"Error while sending a DNS query\" err={e:?}"));
            return false;
        }
    };
    let connect = began.elapsed().saturating_sub(request);
    set(result, "connect", connect.as_secs_f64());
    set(result, "request", request.as_secs_f64());
    result.phase("connect", began, connect, false);
    result.phase("request", began + connect, request, false);
    let lists = [&message.answer, &message.authority, &message.additional];
    for ((name, help), list) in sections.into_iter().zip(lists) {
        result.set(name, help, list.len() as f64);
    }
    result.set(succeeded.0, succeeded.1, 1.0);
    if module.kind == SOA {
        let help = "Returns the serial number of the zone";
        result.register("probe_dns_serial", help);
        for serial in message.answer.iter().filter_map(|r| r.serial) {
            result.set("probe_dns_serial", help, f64::from(serial));
        }
    }
    if !module.valid_rcodes.contains(&message.rcode) {
        result.say(format!(
            "level=error msg=\"Rcode is not one of the valid rcodes\" rcode={}",
            message.rcode
        ));
        return false;
    }
    valid("answer", &message.answer, &module.answer, result)
        && valid("authority", &message.authority, &module.authority, result)
        && valid("additional", &message.additional, &module.additional, result)
}

/// The answer, and how long it took once the connection stood.
async fn exchange(to: SocketAddr, module: &Dns) -> Result<(Message, std::time::Duration), String> {
    let mut id = [0; 2];
    getrandom::fill(&mut id).map_err(|e| e.to_string())?;
    let id = u16::from_be_bytes(id);
    let query =
        dns_message::question(id, &module.name, module.kind, module.class, module.recursion)
            .ok_or_else(|| format!("{:?} is no name", module.name))?;
    let text = |e: std::io::Error| e.to_string();
    if module.tcp {
        let mut stream = TcpStream::connect(to).await.map_err(text)?;
        let began = Instant::now();
        let length = u16::try_from(query.len()).unwrap_or(u16::MAX);
        let framed = [&length.to_be_bytes()[..], &query].concat();
        stream.write_all(&framed).await.map_err(text)?;
        let size = usize::from(stream.read_u16().await.map_err(text)?);
        let mut answer = vec![0; size];
        stream.read_exact(&mut answer).await.map_err(text)?;
        let message = dns_message::parse(&answer).map_err(str::to_owned)?;
        return match message.id == id {
            true => Ok((message, began.elapsed())),
            false => Err("the answer has another id".to_owned()),
        };
    }
    let any: SocketAddr =
        if to.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0u16; 8], 0).into() };
    let socket = UdpSocket::bind(any).await.map_err(text)?;
    socket.connect(to).await.map_err(text)?;
    let began = Instant::now();
    socket.send(&query).await.map_err(text)?;
    let mut buffer = vec![0; 65_535];
    loop {
        let size = socket.recv(&mut buffer).await.map_err(text)?;
        let bytes = buffer.get(..size).unwrap_or_default();
        let message = dns_message::parse(bytes).map_err(str::to_owned)?;
        // Late answers to somebody else's question are passed over.
        if message.id == id && message.response {
            return Ok((message, began.elapsed()));
        }
    }
}

fn valid(section: &str, records: &[Record], rules: &Records, result: &mut ProbeResult) -> bool {
    let mut fail = |what: &str| {
        result.say(format!("level=error msg=\"{section} RRs validation failed\" err={what:?}"));
        false
    };
    if records.is_empty()
        && !(rules.fail_if_not_matches.is_empty() && rules.fail_if_none_matches.is_empty())
    {
        return fail("there is no record");
    }
    let (mut all, mut any) = (true, false);
    for record in records {
        let text = record.text.as_bytes();
        if rules.fail_if_matches.iter().any(|r| r.is_match(text)) {
            return fail("a record matched");
        }
        all &= rules.fail_if_all_match.iter().all(|r| r.is_match(text));
        if rules.fail_if_not_matches.iter().any(|r| !r.is_match(text)) {
            return fail("a record did not match");
        }
        any |= rules.fail_if_none_matches.iter().any(|r| r.is_match(text));
    }
    // The exporter's reading of `fail_if_all_match_regexp`, against its name: all have to match.
    if !rules.fail_if_all_match.is_empty() && !all {
        return fail("not all records matched");
    }
    if !rules.fail_if_none_matches.is_empty() && !any {
        return fail("no record matched");
    }
    true
}
