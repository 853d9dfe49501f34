//! What attestation costs: leaves, record tree, file hash, receipts, against the ingest of the
//! same log lines.
//!
//! `cargo run --release -p obs-ops --example attestation_cost [LINES]`, by default 1,000,000 lines
//! of about 110 bytes. Ingest is what a server does with a line: it reads Loki's JSON, finds the
//! level, logs and holds the line, and writes the block (HTTP itself comes on top and makes the
//! share smaller). The encoding of the open format is shown apart, because whoever archives has it
//! anyway. Expected: two hashes and a salt a line, 0.5 µs. Then one line is proven, and the proof
//! checked.

#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a measuring program")]

use std::path::Path;
use std::sync::Arc;

use obs_archive::{Archive, Hour};
use obs_disk::{Clock, Disk, ManualClock, RealDisk, SystemClock};
use obs_ledger::{
    Collection, Ledger, LedgerConfig, LedgerMode, LogBatch, LogCounts, Receipt, Records, SealFields,
};
use obs_logs::{Limits, LogsConfig, LogsEngine, OpenMode, enrich};
use obs_proof::note::VerifierKey;
use obs_proof::record::{LEAF_LOG, RecordScope, RecordTreeBuilder};
use obs_proof::verify::{VerifyOptions, verify};
use obs_types::{ContentHash, LogSink, TimestampMs};
use obs_wire::{LokiFormat, WireCaps, decode_loki_push};

/// 2025-12-06T14:00:00Z
const END_MS: i64 = 1_765_029_600_000;
const BATCH: i64 = 5_000;

fn main() {
    let lines = std::env::args().nth(1).map_or(1_000_000, |a| a.parse::<i64>().unwrap());
    let dir = tempfile::tempdir().unwrap();
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let manual = Arc::new(ManualClock::new(TimestampMs(END_MS)));
    let clock: Arc<dyn Clock> = manual.clone();
    let logs = LogsEngine::open(LogsConfig {
        dir: dir.path().join("logs"),
        wal_dir: dir.path().join("wal/logs"),
        disk: Arc::clone(&disk),
        clock: Arc::clone(&clock),
        mode: OpenMode::ReadWrite,
        limits: Limits::standard(),
    })
    .unwrap();
    let bodies: Vec<String> = (0..lines / BATCH).map(|b| body(b, lines)).collect();
    let raw: usize = bodies.iter().map(String::len).sum();
    let (mut decoding, mut storing) = (0.0, 0.0);
    for body in bodies {
        let mut batch = Vec::new();
        decoding += cpu(|| {
            let caps = WireCaps::default();
            let decoded = decode_loki_push(body.as_bytes(), LokiFormat::Json, &caps).unwrap();
            batch = decoded.batch;
            batch.iter_mut().for_each(enrich);
        });
        storing += cpu(|| assert_eq!(logs.append(batch).unwrap().accepted, BATCH as u64));
    }
    let blocks = cpu(|| {
        manual.advance(std::time::Duration::from_secs(3_600));
        logs.maintain(manual.now()).unwrap();
    });
    let ingest = decoding + storing + blocks;

    let archive = Archive::open(dir.path(), Arc::clone(&disk), [7; 32]).unwrap();
    let hour = Hour::ending_at(TimestampMs(END_MS)).unwrap();
    let mut seal = None;
    let sealing = cpu(|| seal = Some(archive.seal_logs(hour, 0, logs.as_ref()).unwrap()));
    let seal = seal.unwrap();
    let (attesting, receipt_bytes, ledger) = attest(dir.path(), &disk, &clock, &seal);
    let sidecar = std::fs::metadata(dir.path().join(format!("{}.mt", seal.storage_path)))
        .map_or(0, |m| m.len());
    println!(
        "{lines} lines, {:.0} MB of bodies: ingest {ingest:.2} s of CPU (reading {decoding:.2}, storing {storing:.2}, blocks {blocks:.2}), encoding the open format {:.2} s, attestation {attesting:.2} s = {:.1} % of ingest, {:.1} % of ingest and encoding",
        raw as f64 / 1e6,
        sealing - attesting,
        100.0 * attesting / ingest,
        100.0 * attesting / (ingest + sealing - attesting)
    );
    let added = sidecar + receipt_bytes;
    println!(
        "bytes: {added} (side file {sidecar}, receipt {receipt_bytes}) = {:.3} % of the {} sealed",
        100.0 * added as f64 / seal.content_bytes as f64,
        seal.content_bytes
    );
    prove(dir.path(), &archive, &ledger, &seal);
}

/// One line in the middle of the hour, proven to somebody who has the log's key alone.
fn prove(dir: &Path, archive: &Archive, ledger: &Ledger, seal: &obs_archive::Seal) {
    let time = SystemClock::new();
    let before = time.monotonic();
    let record = archive.prove(seal.name, seal.records.count / 2).unwrap();
    let text = ledger.proof_file(0, Some(record.proven)).unwrap().to_string();
    let proving = time.monotonic() - before;
    let path = dir.join("line.vmproof");
    std::fs::write(&path, &text).unwrap();
    let options = VerifyOptions {
        log_keys: vec![VerifierKey::parse(&ledger.head().log_vkey).unwrap()],
        ..VerifyOptions::new(&path)
    };
    let before = time.monotonic();
    let report = verify(&options).unwrap();
    let checking = time.monotonic() - before;
    assert_eq!((report.exit_code(), report.records), (0, 1), "{report}");
    println!(
        "proof of one line: {} bytes, made in {:.1} ms, checked in {:.2} ms; a log of a million receipts adds 900 bytes",
        text.len(),
        proving.as_secs_f64() * 1e3,
        checking.as_secs_f64() * 1e3
    );
}

fn body(number: i64, lines: i64) -> String {
    let step = 3_600_000_000_000 / lines.max(1);
    let value = |i: i64| {
        format!(
            "[\"{}\",\"level=info request {i} from 10.0.{}.{} took {} ms, trace {:016x}, status {}, path /v1/anchors/{}/cycles\"]",
            (END_MS - 3_600_000) * 1_000_000 + i * step,
            i % 256,
            i * 7 % 256,
            i.wrapping_mul(i) % 977,
            i.wrapping_mul(0x9E37_79B9_7F4A_7C15_u64 as i64),
            200 + i % 5,
            i % 4096
        )
    };
    let values: Vec<String> = (number * BATCH..(number + 1) * BATCH).map(value).collect();
    let stream = r#"{"service_name":"guardian","node":"brick-01"}"#;
    format!(r#"{{"streams":[{{"stream":{stream},"values":[{}]}}]}}"#, values.join(","))
}

/// What sealing did for the ledger, done once more by itself: the record tree over the sealed
/// lines, the hash of the file, the receipt.
fn attest(
    dir: &Path,
    disk: &Arc<dyn Disk>,
    clock: &Arc<dyn Clock>,
    seal: &obs_archive::Seal,
) -> (f64, u64, Ledger) {
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
                outside: None,
                storage_path: seal.storage_path.clone(),
                content_hash: ContentHash(obs_proof::hash::blake3_of(&file)),
                content_bytes: file.len() as u64,
                records: Records {
                    count: tree.count,
                    root: seal.records.root,
                    leaf: LEAF_LOG.to_owned(),
                },
                collection: Collection::default(),
            },
            log_counts: LogCounts::default(),
            services_reporting: vec!["guardian".to_owned()],
            tags: Vec::new(),
        });
        ledger.append(vec![receipt]).unwrap();
    });
    let bytes = ledger.head().bytes - empty;
    (seconds, bytes, ledger)
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
