//! What attestation costs: leaves, record tree, file hash, receipts, against the ingest of the
//! same log lines.
//!
//! `cargo run --release -p obs-ops --example attestation_cost [LINES]`, by default 1,000,000 lines
//! of about 210 bytes. Ingest is what the log engine does to store them (the network and its
//! formats come on top and make the share smaller); the encoding of the open format is shown
//! apart, because whoever archives has it anyway. Expected: two small hashes a line, 0.6 µs.

#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a measuring program")]

use std::path::Path;
use std::sync::Arc;

use obs_archive::{Archive, Hour};
use obs_disk::{Clock, Disk, ManualClock, RealDisk};
use obs_ledger::{
    Collection, Ledger, LedgerConfig, LedgerMode, LogBatch, LogCounts, Receipt, Records, SealFields,
};
use obs_logs::{Limits, LogsConfig, LogsEngine, OpenMode};
use obs_proof::record::{LEAF_LOG, RecordScope, RecordTreeBuilder};
use obs_types::{ContentHash, LabelSet, LogRecord, LogSink, TimestampMs, TimestampNs};

/// 2025-12-06T14:00:00Z
const END_MS: i64 = 1_765_029_600_000;
const BATCH: i64 = 5_000;

fn main() {
    let lines = std::env::args().nth(1).map_or(1_000_000, |a| a.parse::<i64>().unwrap());
    let dir = tempfile::tempdir().unwrap();
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::new(TimestampMs(END_MS)));
    let logs = LogsEngine::open(LogsConfig {
        dir: dir.path().join("logs"),
        wal_dir: dir.path().join("wal/logs"),
        disk: Arc::clone(&disk),
        clock: Arc::clone(&clock),
        mode: OpenMode::ReadWrite,
        limits: Limits::standard(),
    })
    .unwrap();
    let batches: Vec<Vec<LogRecord>> = (0..lines / BATCH).map(|b| batch(b, lines)).collect();
    let raw: usize = batches.iter().flatten().map(|r| r.line.len()).sum();
    let ingest = cpu(|| {
        for batch in batches {
            assert_eq!(logs.append(batch).unwrap().accepted, BATCH as u64);
        }
    });

    let archive = Archive::open(dir.path(), Arc::clone(&disk), [7; 32]).unwrap();
    let hour = Hour::ending_at(TimestampMs(END_MS)).unwrap();
    let mut seal = None;
    let sealing = cpu(|| seal = Some(archive.seal_logs(hour, 0, logs.as_ref()).unwrap()));
    let seal = seal.unwrap();
    let (attesting, receipt_bytes) = attest(dir.path(), &disk, &clock, &seal);
    let sidecar = std::fs::metadata(dir.path().join(format!("{}.mt", seal.storage_path)))
        .map_or(0, |m| m.len());
    println!(
        "{lines} lines, {:.0} MB: ingest {ingest:.2} s of CPU, sealing {sealing:.2} s, attestation alone {attesting:.2} s = {:.1} % of ingest",
        raw as f64 / 1e6,
        100.0 * attesting / ingest
    );
    let added = sidecar + receipt_bytes;
    println!(
        "bytes: {added} (side file {sidecar}, receipt {receipt_bytes}) = {:.3} % of the {} sealed",
        100.0 * added as f64 / seal.content_bytes as f64,
        seal.content_bytes
    );
}

fn batch(number: i64, lines: i64) -> Vec<LogRecord> {
    let step = 3_600_000_000_000 / lines.max(1);
    let record = |i: i64| LogRecord {
        timestamp: TimestampNs((END_MS - 3_600_000) * 1_000_000 + i * step),
        stream: LabelSet::from_pairs([("service_name", "guardian"), ("node", "brick-01")]),
        line: format!(
            "request {i} from 10.0.{}.{} took {} ms, trace {:016x}, status {}, path /v1/anchors/{}/cycles",
            i % 256,
            i * 7 % 256,
            i.wrapping_mul(i) % 977,
            i.wrapping_mul(0x9E37_79B9_7F4A_7C15_u64 as i64),
            200 + i % 5,
            i % 4096
        ),
        metadata: LabelSet::from_pairs([("detected_level", "info")]),
    };
    (number * BATCH..(number + 1) * BATCH).map(record).collect()
}

/// What sealing did for the ledger, done once more by itself: the record tree over the sealed
/// lines, the hash of the file, the receipt.
fn attest(
    dir: &Path,
    disk: &Arc<dyn Disk>,
    clock: &Arc<dyn Clock>,
    seal: &obs_archive::Seal,
) -> (f64, u64) {
    let file = std::fs::read(dir.join(&seal.storage_path)).unwrap();
    let mut plain = Vec::new();
    std::io::Read::read_to_end(&mut flate2::read::MultiGzDecoder::new(&file[..]), &mut plain)
        .unwrap();
    let ledger = Ledger::open(LedgerConfig::in_data_dir(
        dir,
        Arc::clone(disk),
        Arc::clone(clock),
        "vm-obs.cost/node/observability",
        LedgerMode::ReadWrite,
    ))
    .unwrap();
    let empty = ledger.head().bytes;
    let seconds = cpu(|| {
        let scope = RecordScope::new(LEAF_LOG, "logs", "2025-12-06T14:00:00Z");
        let mut builder = RecordTreeBuilder::new(scope, [9; 32]);
        plain.split(|b| *b == b'\n').filter(|l| !l.is_empty()).for_each(|l| builder.push(l));
        let tree = builder.finish();
        assert_eq!(tree.count, seal.records.count);
        let receipt = Receipt::log_batch(LogBatch {
            seal: SealFields {
                period_start: TimestampMs(END_MS - 3_600_000),
                period_end: TimestampMs(END_MS),
                rev: 0,
                link: None,
                fills_gap: None,
                storage_path: seal.storage_path.clone(),
                content_hash: ContentHash(obs_proof::hash::blake3_of(&file)),
                content_bytes: file.len() as u64,
                records: Records { count: tree.count, root: tree.root, leaf: LEAF_LOG.to_owned() },
                collection: Collection::default(),
            },
            log_counts: LogCounts::default(),
            services_reporting: vec!["guardian".to_owned()],
            tags: Vec::new(),
        });
        ledger.append(vec![receipt]).unwrap();
    });
    (seconds, ledger.head().bytes - empty)
}

/// Seconds of processor time, of all threads, that this takes.
fn cpu(work: impl FnOnce()) -> f64 {
    let before = ticks();
    work();
    (ticks() - before) as f64 / 100.0
}

/// User and system time of this process in hundredths of a second (proc(5), fields 14 and 15).
fn ticks() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields = stat.rsplit(')').next().unwrap_or_default();
    fields.split_whitespace().skip(11).take(2).map(|t| t.parse::<u64>().unwrap()).sum()
}
