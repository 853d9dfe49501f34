use std::fs;

use procfs::{CurrentSI, KernelStats};

use super::{Families, io};
use obs_types::MetricKind;

pub(super) fn collect(out: &mut Families<'_>) -> std::io::Result<()> {
    let stats = KernelStats::current().map_err(io)?;
    let ticks = procfs::ticks_per_second() as f64;
    out.family(
        "node_cpu_seconds_total",
        MetricKind::Counter,
        "Seconds the CPUs spent in each mode.",
    );
    for (i, cpu) in stats.cpu_time.iter().enumerate() {
        let number = i.to_string();
        // The kernel counts guest time in user and nice too; node_exporter shows it as it is.
        for (mode, spent) in [
            ("user", Some(cpu.user)),
            ("nice", Some(cpu.nice)),
            ("system", Some(cpu.system)),
            ("idle", Some(cpu.idle)),
            ("iowait", cpu.iowait),
            ("irq", cpu.irq),
            ("softirq", cpu.softirq),
            ("steal", cpu.steal),
        ] {
            if let Some(spent) = spent {
                let labels = [("cpu", number.as_str()), ("mode", mode)];
                out.put("node_cpu_seconds_total", &labels, spent as f64 / ticks);
            }
        }
    }
    let text = fs::read_to_string("/proc/loadavg")?;
    for ((name, help), word) in [
        ("node_load1", "1m load average."),
        ("node_load5", "5m load average."),
        ("node_load15", "15m load average."),
    ]
    .into_iter()
    .zip(text.split_whitespace())
    {
        if let Ok(value) = word.parse() {
            out.gauge(name, help, value);
        }
    }
    Ok(())
}
