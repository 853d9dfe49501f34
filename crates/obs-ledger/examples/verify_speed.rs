//! How fast a ledger is verified: receipts alone, then sealed files.
//!
//! `cargo run --release -p obs-ledger --example verify_speed [RECEIPTS] [FILE_MB]`, by default a
//! million receipts and 2,048 MB in files of 64 MB. Expected on one core: a receipt is parsed,
//! written canonically and hashed twice, about 5 µs; files are read and hashed with BLAKE3.

#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a measuring program")]

use std::sync::Arc;

use obs_disk::{Clock, Disk, RealDisk, SystemClock};
use obs_ledger::{
    Collection, Ledger, LedgerConfig, LedgerMode, LogBatch, LogCounts, Receipt, Records,
    SealFields, SloDefinition,
};
use obs_proof::verify::{Depth, VerifyOptions, verify};
use obs_types::{ContentHash, TimestampMs};

const BATCH: u64 = 10_000;
const FILE_MB: u64 = 64;
/// 2025-01-01T00:00:00Z
const START: i64 = 1_735_689_600_000;
const HOUR: i64 = 3_600_000;

fn main() {
    let mut args = std::env::args().skip(1).map(|a| a.parse::<u64>().unwrap());
    let (receipts, megabytes) = (args.next().unwrap_or(1_000_000), args.next().unwrap_or(2_048));
    let dir = tempfile::tempdir().unwrap();
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let origin = "vm-obs.speed/node/observability";
    let ledger = Ledger::open(LedgerConfig::in_data_dir(
        dir.path(),
        disk,
        Arc::clone(&clock),
        origin,
        LedgerMode::ReadWrite,
    ))
    .unwrap();
    let mut written = 0;
    while written < receipts {
        let until = (written + BATCH).min(receipts);
        ledger.append((written..until).map(definition).collect()).unwrap();
        written = until;
    }
    let measure = |depth: Depth, what: &str| {
        let options = VerifyOptions { depth, ..VerifyOptions::new(dir.path()) };
        let before = clock.monotonic();
        let report = verify(&options).unwrap();
        let seconds = (clock.monotonic() - before).as_secs_f64();
        assert_eq!(report.exit_code(), 0, "{report}");
        let log_mb = ledger.head().bytes as f64 / 1e6;
        println!(
            "{what}: {} receipts ({log_mb:.0} MB), {} files ({} MB) in {seconds:.2} s",
            report.receipts,
            report.files,
            report.file_bytes / 1_000_000
        );
        seconds
    };
    let alone = measure(Depth::Receipts, "receipts");
    for n in 0..megabytes / FILE_MB {
        ledger.append(vec![sealed(dir.path(), n)]).unwrap();
    }
    let both = measure(Depth::Files, "receipts and files");
    let bytes = (megabytes / FILE_MB * FILE_MB) as f64 * 1_048_576.0;
    println!("files: {:.0} MB/s", bytes / 1e6 / (both - alone).max(1e-9));
}

fn definition(n: u64) -> Receipt {
    let slo = serde_json::json!({
        "id": format!("slo:{n}"), "target": 0.999, "window": "30d",
        "indicator": {"type": "availability", "good_query": "up == 1", "total_query": "up"},
    });
    Receipt::slo_definition(SloDefinition {
        operation_id: format!("obs-op-{n}"),
        operation_type: "slo_create".to_owned(),
        initiated_by: "did:vm:user:sovereign".to_owned(),
        slo: slo.as_object().cloned().unwrap_or_default(),
    })
}

fn sealed(dir: &std::path::Path, n: u64) -> Receipt {
    let path = format!("telemetry/logs/2025-01-01/file-{n}.bin");
    let full = dir.join(&path);
    std::fs::create_dir_all(full.parent().unwrap()).unwrap();
    let mut bytes = vec![n as u8; (FILE_MB << 20) as usize];
    for (i, b) in bytes.iter_mut().enumerate() {
        *b ^= (i * 31) as u8;
    }
    std::fs::write(full, &bytes).unwrap();
    let start = START + n as i64 * HOUR;
    Receipt::log_batch(LogBatch {
        seal: SealFields {
            period_start: TimestampMs(start),
            period_end: TimestampMs(start + HOUR),
            rev: 0,
            link: None,
            fills_gap: None,
            storage_path: path,
            content_hash: ContentHash(obs_proof::hash::blake3_of(&bytes)),
            content_bytes: bytes.len() as u64,
            records: Records { count: 0, root: [0; 32], leaf: "vmobs-log/1".to_owned() },
            collection: Collection::default(),
        },
        log_counts: LogCounts::default(),
        services_reporting: Vec::new(),
        tags: Vec::new(),
    })
}
