use std::fs;

use obs_types::MetricKind;

use super::Families;

/// Columns of `/proc/diskstats` after the device name: metric without `node_disk_`, help, factor to
/// base units. What ends in `_total` is a counter.
const COLUMNS: [(&str, &str, f64); 11] = [
    ("reads_completed_total", "Reads completed.", 1.0),
    ("reads_merged_total", "Reads merged.", 1.0),
    ("read_bytes_total", "Bytes read.", 512.0),
    ("read_time_seconds_total", "Seconds spent by all reads.", 0.001),
    ("writes_completed_total", "Writes completed.", 1.0),
    ("writes_merged_total", "Writes merged.", 1.0),
    ("written_bytes_total", "Bytes written.", 512.0),
    ("write_time_seconds_total", "Seconds spent by all writes.", 0.001),
    ("io_now", "I/Os in progress.", 1.0),
    ("io_time_seconds_total", "Seconds spent doing I/Os.", 0.001),
    ("io_time_weighted_seconds_total", "Weighted seconds spent doing I/Os.", 0.001),
];

/// Partitions, loop and RAM devices repeat or fake what their disk says; node_exporter leaves the
/// same names out.
fn ignored(device: &str) -> bool {
    let numbered = |prefix: &str| {
        device.strip_prefix(prefix).is_some_and(|r| r.starts_with(|c: char| c.is_ascii_digit()))
    };
    let partition = ["h", "s", "v", "xv"].iter().any(|p| {
        device.strip_prefix(&format!("{p}d")).is_some_and(|r| {
            r.starts_with(|c: char| c.is_ascii_lowercase())
                && r.ends_with(|c: char| c.is_ascii_digit())
        })
    });
    let nvme_partition = device.strip_prefix("nvme").is_some_and(|r| r.contains('p'));
    numbered("ram")
        || numbered("loop")
        || numbered("fd")
        || numbered("zram")
        || partition
        || nvme_partition
}

pub(super) fn collect(out: &mut Families<'_>) -> std::io::Result<()> {
    let text = fs::read_to_string("/proc/diskstats")?;
    for (column, help, _) in COLUMNS {
        let counts = column.ends_with("_total");
        let kind = if counts { MetricKind::Counter } else { MetricKind::Gauge };
        out.family(&format!("node_disk_{column}"), kind, help);
    }
    for line in text.lines() {
        let mut words = line.split_whitespace().skip(2);
        let Some(device) = words.next() else { continue };
        if ignored(device) {
            continue;
        }
        for ((column, _, factor), word) in COLUMNS.iter().zip(words) {
            if let Ok(value) = word.parse::<f64>() {
                out.put(&format!("node_disk_{column}"), &[("device", device)], value * factor);
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::ignored;

    #[test]
    fn whole_disks_only() {
        for (device, want) in [
            ("sda", false),
            ("sda1", true),
            ("vda", false),
            ("nvme0n1", false),
            ("nvme0n1p2", true),
            ("loop3", true),
            ("dm-0", false),
        ] {
            assert_eq!(ignored(device), want, "{device}");
        }
    }
}
