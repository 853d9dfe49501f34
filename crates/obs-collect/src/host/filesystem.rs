use std::collections::BTreeSet;
use std::fs;

use obs_types::MetricKind;

use super::Families;

/// File systems that hold no data of their own; node_exporter's default list.
const IGNORED_TYPES: [&str; 25] = [
    "autofs",
    "binfmt_misc",
    "bpf",
    "cgroup",
    "cgroup2",
    "configfs",
    "debugfs",
    "devpts",
    "devtmpfs",
    "fusectl",
    "hugetlbfs",
    "iso9660",
    "mqueue",
    "nsfs",
    "overlay",
    "proc",
    "procfs",
    "pstore",
    "rpc_pipefs",
    "securityfs",
    "selinuxfs",
    "squashfs",
    "sysfs",
    "tracefs",
    "erofs",
];

fn ignored_mount(point: &str) -> bool {
    ["/dev", "/proc", "/sys", "/run/credentials", "/var/lib/docker", "/var/lib/containers/storage"]
        .iter()
        .any(|p| point == *p || point.strip_prefix(p).is_some_and(|r| r.starts_with('/')))
}

/// Undoes the octal escapes of `/proc/mounts` (`\040` is a space).
fn unescape(text: &str) -> String {
    text.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\")
}

pub(super) fn collect(out: &mut Families<'_>) -> std::io::Result<()> {
    let mounts = fs::read_to_string("/proc/1/mounts")
        .or_else(|_unreadable| fs::read_to_string("/proc/self/mounts"))?;
    for (name, help) in [
        ("node_filesystem_size_bytes", "Filesystem size in bytes."),
        ("node_filesystem_free_bytes", "Filesystem free space in bytes."),
        ("node_filesystem_avail_bytes", "Filesystem space available to non-root users in bytes."),
        ("node_filesystem_files", "Filesystem total file nodes."),
        ("node_filesystem_files_free", "Filesystem total free file nodes."),
        ("node_filesystem_readonly", "Filesystem read-only status."),
        ("node_filesystem_device_error", "Whether an error occurred while getting statistics."),
    ] {
        out.family(name, MetricKind::Gauge, help);
    }
    let mut seen = BTreeSet::new();
    for line in mounts.lines() {
        let mut words = line.split(' ');
        let (Some(device), Some(point), Some(kind), Some(options)) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            continue;
        };
        let (device, point) = (unescape(device), unescape(point));
        if IGNORED_TYPES.contains(&kind)
            || ignored_mount(&point)
            || !seen.insert((device.clone(), point.clone()))
        {
            continue;
        }
        let labels =
            [("device", device.as_str()), ("fstype", kind), ("mountpoint", point.as_str())];
        let Ok(stat) = rustix::fs::statvfs(point.as_str()) else {
            out.put("node_filesystem_device_error", &labels, 1.0);
            continue;
        };
        let size = stat.f_frsize as f64;
        out.put("node_filesystem_size_bytes", &labels, stat.f_blocks as f64 * size);
        out.put("node_filesystem_free_bytes", &labels, stat.f_bfree as f64 * size);
        out.put("node_filesystem_avail_bytes", &labels, stat.f_bavail as f64 * size);
        out.put("node_filesystem_files", &labels, stat.f_files as f64);
        out.put("node_filesystem_files_free", &labels, stat.f_ffree as f64);
        let readonly = options.split(',').any(|o| o == "ro");
        out.put("node_filesystem_readonly", &labels, f64::from(u8::from(readonly)));
        out.put("node_filesystem_device_error", &labels, 0.0);
    }
    Ok(())
}
