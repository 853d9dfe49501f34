use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use obs_disk::{Clock, Disk, FakeDisk, ManualClock};
use obs_ledger::{
    AlertFired, Collection, CollectionGap, Ledger, LedgerConfig, LedgerError, LedgerMode, LogBatch,
    LogCounts, MetricSnapshot, MissedScrapes, Receipt, Records, SealFields, SealLink,
};
use obs_proof::verify::{VerifyOptions, VerifyReport, verify};
use obs_types::{ContentHash, TimestampMs};

pub(crate) const ORIGIN: &str = "vm-obs.test/node-1/observability";
/// 2025-12-06T13:00:00Z
pub(crate) const HOUR_13: i64 = 1_765_026_000_000;
pub(crate) const HOUR: i64 = 3_600_000;
pub(crate) const DATA: &str = "/data";

pub(crate) fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::new(TimestampMs(HOUR_13 + 10 * HOUR)))
}

pub(crate) fn config(disk: Arc<dyn Disk>, clock: Arc<dyn Clock>, dir: &Path) -> LedgerConfig {
    LedgerConfig::in_data_dir(dir, disk, clock, ORIGIN, LedgerMode::ReadWrite)
}

pub(crate) fn open_fake(disk: &FakeDisk, clock: &Arc<ManualClock>) -> Result<Ledger, LedgerError> {
    Ledger::open(config(Arc::new(disk.clone()), clock.clone(), Path::new(DATA)))
}

pub(crate) fn alert(n: u64) -> Receipt {
    Receipt::alert_fired(AlertFired {
        alert_id: format!("alert-2025-12-06-{n:03}"),
        name: "HighCPUUsage".into(),
        severity: "warning".into(),
        node: "did:vm:node:brick-02".into(),
        rule_expression: "cpu_percent > 80".into(),
        current_value: 87.3,
        threshold: Some(80.0),
        notifications_sent: vec!["slack:ops-channel".into()],
        fired_at: TimestampMs(HOUR_13),
        labels: BTreeMap::from([("region".into(), "eu-west".into())]),
        tags: vec!["cpu".into()],
    })
}

/// The seal of the hour that begins at `HOUR_13 + n` hours, over `content` in `path`.
pub(crate) fn seal(stream: &str, n: i64, rev: u32, path: &str, content: &[u8]) -> SealFields {
    let start = HOUR_13 + n * HOUR;
    SealFields {
        period_start: TimestampMs(start),
        period_end: TimestampMs(start + HOUR),
        rev,
        link: None::<SealLink>,
        outside: None,
        storage_path: path.into(),
        content_hash: hash(content),
        content_bytes: content.len() as u64,
        records: Records {
            count: 3,
            root: [7; 32],
            leaf: if stream == "logs" { "vmobs-log/1" } else { "vmobs-series-hour/1" }.into(),
        },
        collection: Collection {
            targets: 5,
            scrapes_expected: 1200,
            scrapes_ok: 1188,
            gaps: vec![CollectionGap {
                target: "brick-02:9100".into(),
                from: TimestampMs(start),
                to: TimestampMs(start + 180_000),
            }],
            missed: vec![MissedScrapes { target: "brick-02:9100".into(), expected: 240, ok: 228 }],
            rejected: BTreeMap::from([("too_old".into(), 3)]),
            sampled_out: 0,
        },
    }
}

pub(crate) fn log_batch(seal: SealFields) -> Receipt {
    Receipt::log_batch(LogBatch {
        seal,
        log_counts: LogCounts { info: 3, ..LogCounts::default() },
        services_reporting: vec!["guardian".into()],
        tags: Vec::new(),
    })
}

pub(crate) fn metric_snapshot(seal: SealFields) -> Receipt {
    Receipt::metric_snapshot(MetricSnapshot {
        seal,
        nodes_reporting: 5,
        metrics_collected: 15_000,
        aggregates: BTreeMap::from([("avg_cpu_percent".into(), 34.5)]),
        tags: Vec::new(),
    })
}

pub(crate) fn hash(bytes: &[u8]) -> ContentHash {
    ContentHash(obs_proof::hash::blake3_of(bytes))
}

/// Copies a fake disk's data folder to a real one, as an auditor would get it.
pub(crate) fn dump(disk: &FakeDisk, to: &Path) {
    for (path, _len) in disk.files() {
        let target = to.join(path.strip_prefix(DATA).unwrap());
        std::fs::create_dir_all(target.parent().unwrap()).unwrap();
        std::fs::write(target, disk.read(&path).unwrap()).unwrap();
    }
}

pub(crate) fn verify_dir(dir: &Path) -> VerifyReport {
    verify(&VerifyOptions::new(dir)).unwrap()
}

pub(crate) fn verify_fake(disk: &FakeDisk) -> VerifyReport {
    let dir = tempfile::tempdir().unwrap();
    dump(disk, dir.path());
    verify_dir(dir.path())
}

pub(crate) fn lines(ledger: &Ledger) -> Vec<String> {
    let mut out = Vec::new();
    ledger
        .read(0, &mut |seq, line| {
            assert_eq!(seq, out.len() as u64);
            out.push(line.to_owned());
            true
        })
        .unwrap();
    out
}
