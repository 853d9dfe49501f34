//! How fast a ledger is verified: receipts alone, then sealed files.
//!
//! `cargo run --release -p obs-ledger --example verify_speed [RECEIPTS] [FILE_MB]`, by default a
//! million receipts and 2,048 MB in files of 64 MB. Expected on one core: a receipt is looked
//! through once, hashed twice and put into two trees, one of which gives a root after each, about
//! 3 µs; files are read and hashed with BLAKE3. Seconds of processor time stand beside those of
//! the clock, because other work on the machine changes them less.

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

    let (dir, ledger) = empty();
    let mut written = 0;
    while written < receipts {
        let until = (written + BATCH).min(receipts);
        ledger.append((written..until).map(definition).collect()).unwrap();
        written = until;
    }
    let megabytes_of_log = ledger.head().bytes as f64 / 1e6;
    let (seconds, cpu) = measure(dir.path());
    println!(
        "{receipts} receipts ({megabytes_of_log:.0} MB): {seconds:.2} s, {cpu:.2} s of CPU, {:.0} receipts/s",
        receipts as f64 / seconds
    );

    let (dir, ledger) = empty();
    let files = megabytes / FILE_MB;
    for n in 0..files {
        ledger.append(vec![sealed(dir.path(), n)]).unwrap();
    }
    let (seconds, cpu) = measure(dir.path());
    let megabytes = ((files * FILE_MB) << 20) as f64 / 1e6;
    println!(
        "{files} files ({megabytes:.0} MB): {seconds:.2} s, {cpu:.2} s of CPU; {:.0} MB/s, {:.0} MB per second of CPU",
        megabytes / seconds,
        megabytes / cpu
    );
}

fn empty() -> (tempfile::TempDir, Ledger) {
    let dir = tempfile::tempdir().unwrap();
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let origin = "vm-obs.speed/node/observability";
    let config = LedgerConfig::in_data_dir(dir.path(), disk, clock, origin, LedgerMode::ReadWrite);
    let ledger = Ledger::open(config).unwrap();
    (dir, ledger)
}

/// Seconds by the clock and of the processor that it takes to verify a folder with its files.
fn measure(dir: &std::path::Path) -> (f64, f64) {
    let options = VerifyOptions { depth: Depth::Files, ..VerifyOptions::new(dir) };
    let clock = SystemClock::new();
    let (before, cpu) = (clock.monotonic(), cpu_seconds());
    let report = verify(&options).unwrap();
    let seconds = (clock.monotonic() - before).as_secs_f64();
    let cpu = cpu_seconds() - cpu;
    assert_eq!(report.exit_code(), 0, "{report}");
    (seconds, cpu)
}

/// User and system time of this process (proc(5), fields 14 and 15, hundredths of a second).
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields = stat.rsplit(')').next().unwrap_or_default();
    let ticks = fields.split_whitespace().skip(11).take(2).map(|t| t.parse::<u64>().unwrap());
    ticks.sum::<u64>() as f64 / 100.0
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
            outside: None,
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
