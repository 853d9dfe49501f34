use std::fs;

use obs_types::MetricKind;
use procfs::{CurrentSI, KernelStats};

use super::{Families, io};

pub(super) fn collect(out: &mut Families<'_>) -> std::io::Result<()> {
    let now = out.now().as_seconds_f64();
    out.gauge("node_time_seconds", "System time in seconds since epoch (1970).", now);
    let stats = KernelStats::current().map_err(io)?;
    out.gauge("node_boot_time_seconds", "Node boot time, in unixtime.", stats.btime as f64);
    out.counter(
        "node_context_switches_total",
        "Total number of context switches.",
        stats.ctxt as f64,
    );
    out.counter("node_forks_total", "Total number of forks.", stats.processes as f64);
    if let Some(running) = stats.procs_running {
        out.gauge(
            "node_procs_running",
            "Number of processes in runnable state.",
            f64::from(running),
        );
    }
    if let Some(blocked) = stats.procs_blocked {
        out.gauge("node_procs_blocked", "Number of processes waiting for I/O.", f64::from(blocked));
    }
    interrupts(out)?;
    vmstat(out)?;
    let text = fs::read_to_string("/proc/sys/fs/file-nr")?;
    let numbers: Vec<f64> = text.split_whitespace().filter_map(|w| w.parse().ok()).collect();
    if let [allocated, _, maximum] = numbers[..] {
        out.gauge("node_filefd_allocated", "File descriptor statistics: allocated.", allocated);
        out.gauge("node_filefd_maximum", "File descriptor statistics: maximum.", maximum);
    }
    if let Ok(text) = fs::read_to_string("/proc/sys/kernel/random/entropy_avail")
        && let Ok(bits) = text.trim().parse::<f64>()
    {
        out.gauge("node_entropy_available_bits", "Bits of available entropy.", bits);
    }
    uname(out);
    Ok(())
}

fn interrupts(out: &mut Families<'_>) -> std::io::Result<()> {
    let text = fs::read_to_string("/proc/stat")?;
    let total = text
        .lines()
        .find_map(|l| l.strip_prefix("intr "))
        .and_then(|rest| rest.split_whitespace().next()?.parse::<f64>().ok());
    if let Some(total) = total {
        out.counter("node_intr_total", "Total number of interrupts serviced.", total);
    }
    Ok(())
}

/// The fields that node_exporter keeps by default.
fn vmstat(out: &mut Families<'_>) -> std::io::Result<()> {
    let kept = |name: &str| {
        name == "oom_kill"
            || ["pgpg", "pswp"].iter().any(|p| name.starts_with(p))
            || ["pgfault", "pgmajfault"].contains(&name)
    };
    for line in fs::read_to_string("/proc/vmstat")?.lines() {
        if let Some((name, value)) = line.split_once(' ')
            && kept(name)
            && let Ok(value) = value.parse::<f64>()
        {
            let metric = format!("node_vmstat_{name}");
            out.family(
                &metric,
                MetricKind::Unknown,
                &format!("/proc/vmstat information field {name}."),
            );
            out.put(&metric, &[], value);
        }
    }
    Ok(())
}

fn uname(out: &mut Families<'_>) {
    let name = rustix::system::uname();
    let text = |c: &std::ffi::CStr| c.to_string_lossy().into_owned();
    let labels = [
        ("sysname", text(name.sysname())),
        ("release", text(name.release())),
        ("version", text(name.version())),
        ("machine", text(name.machine())),
        ("nodename", text(name.nodename())),
        ("domainname", text(name.domainname())),
    ];
    let labels: Vec<(&str, &str)> = labels.iter().map(|(n, v)| (*n, v.as_str())).collect();
    out.family(
        "node_uname_info",
        MetricKind::Gauge,
        "Labeled system information as provided by the uname system call.",
    );
    out.put("node_uname_info", &labels, 1.0);
}
