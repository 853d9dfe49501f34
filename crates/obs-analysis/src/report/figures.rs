use super::{Figure, Section};

/// Name, query, unit, least, most.
type Row = (&'static str, &'static str, &'static str, Option<f64>, Option<f64>);

const PERFORMANCE: [Row; 9] = [
    (
        "CPU used",
        r#"100 * (1 - avg by (instance) (rate(node_cpu_seconds_total{mode="idle"}[$period])))"#,
        "percent",
        None,
        Some(80.0),
    ),
    ("CPU used", "avg_over_time(system_cpu_usage_percent[$period])", "percent", None, Some(80.0)),
    (
        "Probes answered",
        "100 * avg by (job, instance) (avg_over_time(probe_success[$period]))",
        "percent",
        Some(99.0),
        None,
    ),
    (
        "Probe duration",
        "avg by (job, instance) (avg_over_time(probe_duration_seconds[$period]))",
        "s",
        None,
        None,
    ),
    (
        "Consensus round",
        "avg_over_time(consensus_round_duration_seconds[$period])",
        "s",
        None,
        Some(10.0),
    ),
    (
        "Consensus rounds failed",
        "sum(increase(consensus_failed_rounds_total[$period]))",
        "",
        None,
        None,
    ),
    ("Model accuracy", "avg_over_time(fl_model_accuracy[$period])", "", Some(0.8), None),
    (
        "Telemetry taken in",
        "sum by (signal) (rate(vmobs_ingested_items_total[$period]))",
        "/s",
        None,
        None,
    ),
    (
        "Telemetry refused",
        "sum by (reason) (increase(vmobs_ingest_rejected_total[$period])) > 0",
        "",
        None,
        None,
    ),
];

const SECURITY: [Row; 8] = [
    (
        "Authentication failures",
        "sum by (job, instance) (increase(security_auth_failures_total[$period]))",
        "",
        None,
        None,
    ),
    (
        "Attacks detected",
        "sum by (job, instance) (increase(security_attacks_detected_total[$period]))",
        "",
        None,
        Some(0.0),
    ),
    (
        "Byzantine nodes",
        "max by (job) (max_over_time(consensus_byzantine_nodes_detected[$period]))",
        "",
        None,
        Some(0.0),
    ),
    (
        "Days until a certificate expires",
        "min by (job, instance) (security_cert_expiry_days)",
        "d",
        Some(14.0),
        None,
    ),
    (
        "Days until a probed certificate expires",
        "(min by (job, instance) (probe_ssl_earliest_cert_expiry) - time()) / 86400",
        "d",
        Some(14.0),
        None,
    ),
    (
        "Days until a domain expires",
        "(min by (job, instance) (probe_domain_expiry_timestamp_seconds) - time()) / 86400",
        "d",
        Some(30.0),
        None,
    ),
    (
        "Policy compliance",
        "min by (job) (security_policy_compliance_percent)",
        "percent",
        None,
        None,
    ),
    (
        "Signed telemetry that does not hold",
        r#"sum by (outcome) (increase(vmobs_attestation_total{outcome=~"failed|unknown_key"}[$period])) > 0"#,
        "",
        None,
        Some(0.0),
    ),
];

const CAPACITY: [Row; 9] = [
    (
        "Memory used",
        "100 * (1 - node_memory_MemAvailable_bytes / node_memory_MemTotal_bytes)",
        "percent",
        None,
        Some(90.0),
    ),
    (
        "Memory used",
        "100 * system_memory_usage_bytes / system_memory_total_bytes",
        "percent",
        None,
        Some(90.0),
    ),
    (
        "Disk used",
        r#"100 * (1 - max by (instance, device) (node_filesystem_avail_bytes{fstype!~"tmpfs|ramfs|overlay|squashfs|devtmpfs|nsfs|proc"}) / max by (instance, device) (node_filesystem_size_bytes > 0))"#,
        "percent",
        None,
        Some(90.0),
    ),
    (
        "Disk used",
        "100 * system_disk_usage_bytes / system_disk_total_bytes",
        "percent",
        None,
        Some(90.0),
    ),
    (
        "File descriptors used",
        "100 * node_filefd_allocated / node_filefd_maximum",
        "percent",
        None,
        Some(80.0),
    ),
    ("Room for vm-obs", "min(vmobs_disk_free_bytes)", "bytes", Some(1e9), None),
    ("Series", "sum(vmobs_metrics_series)", "", None, None),
    ("Sealed telemetry", "sum by (tier) (vmobs_storage_tier_bytes)", "bytes", None, None),
    ("Network", "sum(rate(node_network_receive_bytes_total[1h]))", "bytes/s", None, None),
];

/// What every report asks for; what is not measured is left out of it and named.
pub fn standard_figures() -> Vec<Figure> {
    let parts = [
        (Section::Performance, &PERFORMANCE[..]),
        (Section::Security, &SECURITY[..]),
        (Section::Capacity, &CAPACITY[..]),
    ];
    parts
        .into_iter()
        .flat_map(|(section, rows)| {
            rows.iter().map(move |(name, query, unit, least, most)| Figure {
                section,
                name: (*name).to_owned(),
                query: (*query).to_owned(),
                unit: (*unit).to_owned(),
                least: *least,
                most: *most,
            })
        })
        .collect()
}
