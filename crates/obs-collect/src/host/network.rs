use std::fs;
use std::path::Path;

use obs_types::MetricKind;

use super::Families;

/// The sixteen columns of `/proc/net/dev`, as node_exporter names them.
const COLUMNS: [&str; 16] = [
    "receive_bytes",
    "receive_packets",
    "receive_errs",
    "receive_drop",
    "receive_fifo",
    "receive_frame",
    "receive_compressed",
    "receive_multicast",
    "transmit_bytes",
    "transmit_packets",
    "transmit_errs",
    "transmit_drop",
    "transmit_fifo",
    "transmit_colls",
    "transmit_carrier",
    "transmit_compressed",
];

/// The fields of `/proc/net/snmp` and `/proc/net/netstat` that node_exporter keeps by default.
const NETSTAT: [&str; 24] = [
    "Icmp_InErrors",
    "Icmp_InMsgs",
    "Icmp_OutMsgs",
    "Ip_Forwarding",
    "IpExt_InOctets",
    "IpExt_OutOctets",
    "Tcp_ActiveOpens",
    "Tcp_CurrEstab",
    "Tcp_InErrs",
    "Tcp_InSegs",
    "Tcp_OutRsts",
    "Tcp_OutSegs",
    "Tcp_PassiveOpens",
    "Tcp_RetransSegs",
    "TcpExt_ListenDrops",
    "TcpExt_ListenOverflows",
    "TcpExt_SyncookiesFailed",
    "TcpExt_SyncookiesRecv",
    "TcpExt_SyncookiesSent",
    "TcpExt_TCPSynRetrans",
    "Udp_InDatagrams",
    "Udp_InErrors",
    "Udp_NoPorts",
    "Udp_OutDatagrams",
];

pub(super) fn collect(out: &mut Families<'_>) -> std::io::Result<()> {
    let text = fs::read_to_string("/proc/net/dev")?;
    for column in COLUMNS {
        let name = format!("node_network_{column}_total");
        let help = format!("Network device statistic {column}.");
        out.family(&name, MetricKind::Counter, &help);
    }
    out.family("node_network_up", MetricKind::Gauge, "Whether the device is up.");
    out.family("node_network_mtu_bytes", MetricKind::Gauge, "Network device property: mtu.");
    for line in text.lines().skip(2) {
        let Some((device, rest)) = line.split_once(':') else { continue };
        let device = device.trim();
        for (column, word) in COLUMNS.iter().zip(rest.split_whitespace()) {
            if let Ok(value) = word.parse::<f64>() {
                let name = format!("node_network_{column}_total");
                out.put(&name, &[("device", device)], value);
            }
        }
        let property = |file: &str| {
            fs::read_to_string(Path::new("/sys/class/net").join(device).join(file)).ok()
        };
        if let Some(state) = property("operstate") {
            let up = f64::from(u8::from(state.trim() == "up"));
            out.put("node_network_up", &[("device", device)], up);
        }
        if let Some(mtu) = property("mtu").and_then(|m| m.trim().parse::<f64>().ok()) {
            out.put("node_network_mtu_bytes", &[("device", device)], mtu);
        }
    }
    for file in ["/proc/net/snmp", "/proc/net/netstat"] {
        netstat(out, &fs::read_to_string(file)?);
    }
    sockets(out);
    Ok(())
}

/// Pairs of lines: `Tcp: names…` and `Tcp: values…`.
fn netstat(out: &mut Families<'_>, text: &str) {
    let lines: Vec<&str> = text.lines().collect();
    for pair in lines.chunks_exact(2) {
        let [names, values] = pair else { continue };
        let (Some((protocol, names)), Some((_, values))) =
            (names.split_once(':'), values.split_once(':'))
        else {
            continue;
        };
        for (name, value) in names.split_whitespace().zip(values.split_whitespace()) {
            let field = format!("{protocol}_{name}");
            if NETSTAT.contains(&field.as_str())
                && let Ok(value) = value.parse::<f64>()
            {
                let metric = format!("node_netstat_{field}");
                out.family(&metric, MetricKind::Unknown, &format!("Statistic {protocol}{name}."));
                out.put(&metric, &[], value);
            }
        }
    }
}

fn sockets(out: &mut Families<'_>) {
    let Ok(text) = fs::read_to_string("/proc/net/sockstat") else { return };
    for line in text.lines() {
        let Some((protocol, rest)) = line.split_once(':') else { continue };
        let words: Vec<&str> = rest.split_whitespace().collect();
        for pair in words.chunks_exact(2) {
            if let [name, value] = pair
                && let Ok(value) = value.parse::<f64>()
            {
                let metric = format!("node_sockstat_{protocol}_{name}");
                out.gauge(
                    &metric,
                    &format!("Number of {protocol} sockets in state {name}."),
                    value,
                );
            }
        }
    }
}
