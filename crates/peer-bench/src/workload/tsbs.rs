//! The hosts of the Time Series Benchmark Suite's devops use case: tags, measurements, fields, and
//! the kind of value of each field, as its data generator makes them.

use obs_testkit::Seeded;

use super::Template;
use super::values::Model;

/// `(region, its data centres)`.
const REGIONS: [(&str, usize); 9] = [
    ("us-east-1", 5),
    ("us-west-1", 2),
    ("us-west-2", 3),
    ("eu-west-1", 3),
    ("eu-central-1", 2),
    ("ap-southeast-1", 2),
    ("ap-southeast-2", 2),
    ("ap-northeast-1", 2),
    ("sa-east-1", 3),
];
const CPU: [&str; 10] =
    ["user", "system", "idle", "nice", "iowait", "irq", "softirq", "steal", "guest", "guest_nice"];

/// Labels that every series of a host carries.
pub(super) fn tags(host: usize, seed: u64) -> Vec<(&'static str, String)> {
    let mut random = Seeded::new(seed ^ (host as u64) << 32);
    let mut pick = |n: usize| random.below(n as u64) as usize;
    let (region, centres) = REGIONS.get(pick(REGIONS.len())).copied().unwrap_or(("eu-west-1", 3));
    let letter = |n: usize| char::from(b'a' + n as u8);
    let one = |of: &[&str], n: usize| of.get(n).copied().unwrap_or_default().to_owned();
    vec![
        ("arch", one(&["x64", "x86"], pick(2))),
        ("datacenter", format!("{region}{}", letter(pick(centres)))),
        ("hostname", format!("host_{host}")),
        ("os", one(&["Ubuntu15.10", "Ubuntu16.10", "Ubuntu16.04LTS"], pick(3))),
        ("rack", pick(100).to_string()),
        ("region", region.to_owned()),
        ("service", pick(20).to_string()),
        ("service_environment", one(&["production", "staging", "test"], pick(3))),
        ("service_version", pick(2).to_string()),
        ("team", one(&["SF", "NYC", "LON", "CHI"], pick(4))),
    ]
}

/// The ten series of a host that the queries ask for.
pub(super) fn cpu() -> Vec<Template> {
    let percent =
        |field: &&str| Template::new(format!("cpu_usage_{field}"), &[], Model::Clamped(0.0, 100.0));
    CPU.iter().map(percent).collect()
}

/// All nine measurements of a host.
pub(super) fn devops() -> Vec<Template> {
    let mut out = cpu();
    let mut add =
        |measurement: &str, labels: &[(&'static str, &str)], fields: &[(&str, Model)]| {
            out.extend(fields.iter().map(|(field, model)| {
                Template::new(format!("{measurement}_{field}"), labels, *model)
            }));
        };
    let grows = Model::Monotonic;
    add(
        "diskio",
        &[("serial", "694-511-162")],
        &[
            ("reads", grows(50.0)),
            ("writes", grows(50.0)),
            ("read_bytes", grows(100.0)),
            ("write_bytes", grows(100.0)),
            ("read_time", grows(5.0)),
            ("write_time", grows(5.0)),
            ("io_time", grows(5.0)),
        ],
    );
    let tera = 1_099_511_627_776.0;
    add(
        "disk",
        &[("fstype", "ext4"), ("path", "/dev/sda3")],
        &[
            ("total", Model::Constant(tera)),
            ("free", Model::Units(50.0, 4096.0)),
            ("used", Model::Units(50.0, 4096.0)),
            ("used_percent", Model::Clamped(0.0, 100.0)),
            ("inodes_total", Model::Constant(tera / 4096.0)),
            ("inodes_free", Model::Units(50.0, 1.0)),
            ("inodes_used", Model::Units(50.0, 1.0)),
        ],
    );
    add(
        "kernel",
        &[],
        &[
            ("boot_time", Model::Constant(1_456_700_000.0)),
            ("interrupts", grows(5.0)),
            ("context_switches", grows(5.0)),
            ("processes_forked", grows(5.0)),
            ("disk_pages_in", grows(5.0)),
            ("disk_pages_out", grows(5.0)),
        ],
    );
    let memory = Model::Clamped(0.0, 16e9);
    add(
        "mem",
        &[],
        &[
            ("total", Model::Constant(16e9)),
            ("available", memory),
            ("used", memory),
            ("free", memory),
            ("cached", memory),
            ("buffered", memory),
            ("used_percent", Model::Walk),
            ("available_percent", Model::Walk),
            ("buffered_percent", Model::Walk),
        ],
    );
    let net = ["bytes_sent", "bytes_recv", "packets_sent", "packets_recv", "err_in", "err_out"];
    let rest = ["drop_in", "drop_out"];
    let fields: Vec<_> = net
        .iter()
        .map(|f| (*f, grows(50.0)))
        .chain(rest.iter().map(|f| (*f, grows(5.0))))
        .collect();
    add("net", &[("interface", "eth1")], &fields);
    let hundred = Model::Clamped(0.0, 100.0);
    add(
        "nginx",
        &[("port", "12552"), ("server", "nginx_65466")],
        &[
            ("accepts", grows(5.0)),
            ("active", hundred),
            ("handled", grows(5.0)),
            ("reading", hundred),
            ("requests", grows(5.0)),
            ("waiting", hundred),
            ("writing", hundred),
        ],
    );
    let postgres = [
        "numbackends",
        "xact_commit",
        "xact_rollback",
        "blks_read",
        "blks_hit",
        "tup_returned",
        "tup_fetched",
        "tup_inserted",
        "tup_updated",
        "tup_deleted",
        "conflicts",
        "temp_files",
        "temp_bytes",
        "deadlocks",
        "blk_read_time",
        "blk_write_time",
    ];
    let fields: Vec<_> = postgres.iter().map(|f| (*f, Model::Clamped(0.0, 1000.0))).collect();
    add("postgresl", &[], &fields);
    let counters = [
        "total_connections_received",
        "expired_keys",
        "evicted_keys",
        "keyspace_hits",
        "keyspace_misses",
        "total_commands_processed",
        "rejected_connections",
        "sync_full",
        "sync_partial_ok",
        "sync_partial_err",
        "pubsub_channels",
        "pubsub_patterns",
        "latest_fork_usec",
        "master_repl_offset",
        "used_cpu_sys",
        "used_cpu_user",
        "used_cpu_sys_children",
        "used_cpu_user_children",
    ];
    let gauges = [
        "instantaneous_ops_per_sec",
        "instantaneous_input_kbps",
        "instantaneous_output_kbps",
        "connected_slaves",
        "repl_backlog_active",
        "repl_backlog_size",
        "repl_backlog_histlen",
        "mem_fragmentation_ratio",
        "used_memory",
        "used_memory_rss",
        "used_memory_peak",
        "used_memory_lua",
    ];
    let fields: Vec<_> = counters
        .iter()
        .map(|f| (*f, grows(50.0)))
        .chain(gauges.iter().map(|f| (*f, Model::Clamped(0.0, 16e9))))
        .collect();
    add("redis", &[("port", "6379"), ("server", "redis_34119")], &fields);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_has_the_fields_of_the_suite() {
        assert_eq!((cpu().len(), devops().len()), (10, 100));
        assert_eq!(tags(3, 1), tags(3, 1));
        assert!(tags(3, 1).contains(&("hostname", "host_3".to_owned())));
        assert!((0..50).any(|host| tags(host, 1)[1] != tags(0, 1)[1]));
    }
}
