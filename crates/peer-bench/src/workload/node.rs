//! The page of one machine as node_exporter shows it: names, labels and kinds of values.

use super::Template;
use super::values::Model;

const CPUS: usize = 16;
const DEVICES: [&str; 6] = ["eth0", "eth1", "lo", "docker0", "veth1a2b", "bond0"];
const DISKS: [&str; 6] = ["nvme0n1", "nvme1n1", "sda", "sdb", "dm-0", "dm-1"];
const MOUNTS: [&str; 10] = [
    "/",
    "/boot",
    "/boot/efi",
    "/home",
    "/var",
    "/var/lib/docker",
    "/srv",
    "/tmp",
    "/run",
    "/data",
];
const COLLECTORS: [&str; 44] = [
    "arp",
    "bcache",
    "bonding",
    "btrfs",
    "conntrack",
    "cpu",
    "cpufreq",
    "diskstats",
    "dmi",
    "edac",
    "entropy",
    "fibrechannel",
    "filefd",
    "filesystem",
    "hwmon",
    "infiniband",
    "ipvs",
    "loadavg",
    "mdadm",
    "meminfo",
    "netclass",
    "netdev",
    "netstat",
    "nfs",
    "nfsd",
    "nvme",
    "os",
    "powersupply",
    "pressure",
    "rapl",
    "schedstat",
    "selinux",
    "sockstat",
    "softnet",
    "stat",
    "tapestats",
    "textfile",
    "thermal",
    "time",
    "timex",
    "udp_queues",
    "uname",
    "vmstat",
    "xfs",
];
const MEMORY: [&str; 48] = [
    "Active",
    "Active_anon",
    "Active_file",
    "AnonHugePages",
    "AnonPages",
    "Bounce",
    "Buffers",
    "Cached",
    "CommitLimit",
    "Committed_AS",
    "DirectMap1G",
    "DirectMap2M",
    "DirectMap4k",
    "Dirty",
    "FileHugePages",
    "FilePmdMapped",
    "HardwareCorrupted",
    "Hugepagesize",
    "Hugetlb",
    "Inactive",
    "Inactive_anon",
    "Inactive_file",
    "KReclaimable",
    "KernelStack",
    "Mapped",
    "MemAvailable",
    "MemFree",
    "MemTotal",
    "Mlocked",
    "NFS_Unstable",
    "PageTables",
    "Percpu",
    "SReclaimable",
    "SUnreclaim",
    "SecPageTables",
    "Shmem",
    "ShmemHugePages",
    "ShmemPmdMapped",
    "Slab",
    "SwapCached",
    "SwapFree",
    "SwapTotal",
    "Unevictable",
    "VmallocChunk",
    "VmallocTotal",
    "VmallocUsed",
    "Writeback",
    "WritebackTmp",
];
/// Of those, what moves.
const MOVING: [&str; 18] = [
    "Active",
    "Active_anon",
    "Active_file",
    "AnonPages",
    "Buffers",
    "Cached",
    "Committed_AS",
    "Dirty",
    "Inactive",
    "Inactive_anon",
    "Inactive_file",
    "KernelStack",
    "Mapped",
    "MemAvailable",
    "MemFree",
    "PageTables",
    "Shmem",
    "Slab",
];

/// All series of a page; at 600 and more of them the rest are counters of an application.
pub(super) fn page(count: usize) -> Vec<Template> {
    let mut out = Vec::new();
    let mut add = |name: String, labels: &[(&'static str, &str)], model: Model| {
        out.push(Template::new(name, labels, model));
    };
    for cpu in 0..CPUS {
        let cpu = cpu.to_string();
        for (mode, model) in [
            ("idle", Model::Hundredths(1_200.0, 90.0)),
            ("user", Model::Hundredths(180.0, 60.0)),
            ("system", Model::Hundredths(90.0, 30.0)),
            ("iowait", Model::Hundredths(4.0, 6.0)),
            ("irq", Model::Constant(0.0)),
            ("nice", Model::Rare(0.05)),
            ("softirq", Model::Hundredths(6.0, 3.0)),
            ("steal", Model::Constant(0.0)),
        ] {
            add("node_cpu_seconds_total".into(), &[("cpu", &cpu), ("mode", mode)], model);
        }
        add(
            "node_schedstat_running_seconds_total".into(),
            &[("cpu", &cpu)],
            Model::Nanoseconds(9_000_000_000),
        );
        add(
            "node_schedstat_waiting_seconds_total".into(),
            &[("cpu", &cpu)],
            Model::Nanoseconds(300_000_000),
        );
        add("node_schedstat_timeslices_total".into(), &[("cpu", &cpu)], Model::Counter(20_000));
        add("node_softnet_processed_total".into(), &[("cpu", &cpu)], Model::Counter(9_000));
        add("node_softnet_dropped_total".into(), &[("cpu", &cpu)], Model::Constant(0.0));
        add("node_softnet_times_squeezed_total".into(), &[("cpu", &cpu)], Model::Rare(0.1));
    }
    for device in DEVICES {
        for (what, model) in [
            ("receive_bytes", Model::Bursts(4e7)),
            ("receive_packets", Model::Bursts(3e4)),
            ("receive_errs", Model::Constant(0.0)),
            ("receive_drop", Model::Rare(0.02)),
            ("receive_fifo", Model::Constant(0.0)),
            ("receive_multicast", Model::Counter(4)),
            ("transmit_bytes", Model::Bursts(2e7)),
            ("transmit_packets", Model::Bursts(2e4)),
            ("transmit_errs", Model::Constant(0.0)),
            ("transmit_drop", Model::Constant(0.0)),
            ("transmit_fifo", Model::Constant(0.0)),
            ("transmit_colls", Model::Constant(0.0)),
        ] {
            add(format!("node_network_{what}_total"), &[("device", device)], model);
        }
    }
    for disk in DISKS {
        for (what, model) in [
            ("read_bytes_total", Model::Bursts(1e7)),
            ("written_bytes_total", Model::Bursts(3e7)),
            ("reads_completed_total", Model::Counter(300)),
            ("writes_completed_total", Model::Counter(900)),
            ("reads_merged_total", Model::Rare(0.2)),
            ("writes_merged_total", Model::Counter(60)),
            ("read_time_seconds_total", Model::Hundredths(8.0, 4.0)),
            ("write_time_seconds_total", Model::Hundredths(30.0, 15.0)),
            ("io_time_seconds_total", Model::Hundredths(60.0, 20.0)),
            ("io_time_weighted_seconds_total", Model::Hundredths(70.0, 30.0)),
            ("io_now", Model::Constant(0.0)),
            ("discards_completed_total", Model::Constant(0.0)),
        ] {
            add(format!("node_disk_{what}"), &[("device", disk)], model);
        }
    }
    for mount in MOUNTS {
        for (what, model) in [
            ("size_bytes", Model::Constant(105_553_780_736.0)),
            ("avail_bytes", Model::Units(40.0, 4096.0)),
            ("free_bytes", Model::Units(40.0, 4096.0)),
            ("files", Model::Constant(6_553_600.0)),
            ("files_free", Model::Units(3.0, 1.0)),
            ("readonly", Model::Constant(0.0)),
        ] {
            let labels = [("device", "/dev/mapper/vg0"), ("fstype", "ext4"), ("mountpoint", mount)];
            add(format!("node_filesystem_{what}"), &labels, model);
        }
    }
    for what in MEMORY {
        let moves = MOVING.contains(&what);
        let model = if moves { Model::Units(30.0, 4096.0) } else { Model::Constant(2_097_152.0) };
        add(format!("node_memory_{what}_bytes"), &[], model);
    }
    for collector in COLLECTORS {
        let labels = [("collector", collector)];
        add(
            "node_scrape_collector_duration_seconds".into(),
            &labels,
            Model::Took(20_000, 4_000_000),
        );
        add("node_scrape_collector_success".into(), &labels, Model::Constant(1.0));
    }
    for what in ["load1", "load5", "load15"] {
        add(format!("node_{what}"), &[], Model::Load);
    }
    add("node_boot_time_seconds".into(), &[], Model::Constant(1_760_000_000.0));
    add("node_context_switches_total".into(), &[], Model::Counter(400_000));
    add("node_intr_total".into(), &[], Model::Counter(200_000));
    add("node_forks_total".into(), &[], Model::Counter(200));
    add("node_procs_running".into(), &[], Model::Clamped(1.0, 20.0));
    add("node_procs_blocked".into(), &[], Model::Rare(0.001));
    let uname = [("machine", "x86_64"), ("release", "6.1.0-18-amd64"), ("sysname", "Linux")];
    add("node_uname_info".into(), &uname, Model::Constant(1.0));
    let rest = count.saturating_sub(out.len());
    out.extend((0..rest).map(|n| {
        let model = [Model::Counter(30), Model::Constant(0.0), Model::Counter(3), Model::Gauge];
        let code = ["200", "404", "500", "503"];
        Template::new(
            "app_requests_total".into(),
            &[
                ("code", code.get(n % 4).copied().unwrap_or("200")),
                ("handler", &format!("/api/v1/things/{}", n / 4)),
            ],
            model.get(n % 4).copied().unwrap_or(Model::Gauge),
        )
    }));
    out.truncate(count);
    out
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_page_has_as_many_series_as_asked_and_none_twice() {
        for count in [5, 600, 1_230] {
            let page = page(count);
            let unique: BTreeSet<String> =
                page.iter().map(|t| format!("{} {:?}", t.name, t.labels)).collect();
            assert_eq!((page.len(), unique.len()), (count, count));
        }
        let constant = page(600).iter().filter(|t| matches!(t.model, Model::Constant(_))).count();
        assert!((150..300).contains(&constant), "{constant} of 600 never change");
    }
}
