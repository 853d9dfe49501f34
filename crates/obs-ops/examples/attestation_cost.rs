//! What attestation costs: leaves, record trees, file hashes, receipts, against the ingest of the
//! same log lines and samples.
//!
//! `cargo run --release -p obs-ops --example attestation_cost [LINES]`, by default 1,000,000 lines
//! of about 110 bytes and, with them, one series for each hundred lines with a sample every 15 s.
//! Ingest is what a server does with both: it reads Loki's JSON and finds the level, or reads a
//! remote write; it logs, holds, and writes blocks (HTTP itself comes on top and makes the share
//! smaller). The encoding of the open format is shown apart, because whoever archives has it anyway.
//! Expected: two hashes and a salt a line, 0.5 µs. Then one line is proven, and the proof checked.

#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a measuring program")]

use std::path::Path;
use std::sync::Arc;

use obs_archive::{Archive, Hour, Seal};
use obs_disk::{Clock, Disk, ManualClock, RealDisk, SystemClock};
use obs_ledger::{
    Collection, Ledger, LedgerConfig, LedgerMode, LogBatch, LogCounts, MetricSnapshot, Receipt,
    Records, SealFields,
};
use obs_logs::{LogsConfig, LogsEngine, enrich};
use obs_metrics::{MetricsConfig, MetricsEngine};
use obs_proof::note::VerifierKey;
use obs_proof::record::{RecordScope, RecordTreeBuilder, hour_key};
use obs_proof::verify::{VerifyOptions, verify};
use obs_types::{
    ContentHash, LogSink, MetricSink, QueryContext, SeriesData, SeriesSelect, SeriesSource,
    TimestampMs,
};
use obs_wire::compression::{Encoding, decompress};
use obs_wire::remote_write::read_sent_v1;
use obs_wire::{LokiFormat, WireCaps, decode_loki_push};

/// 2025-12-06T14:00:00Z
const END_MS: i64 = 1_765_029_600_000;
const HOUR_MS: i64 = 3_600_000;
const BATCH: i64 = 5_000;
/// Lines for each series.
const LINES_PER_SERIES: i64 = 100;
const SCRAPE_MS: i64 = 15_000;
/// Bodies, or scrapes, of one measurement: processor time is counted in hundredths of a second.
const CHUNK: usize = 20;
/// Series of one remote write, as senders bundle them.
const SERIES_PER_WRITE: i64 = 2_000;
const KEY: [u8; 32] = [7; 32];

/// Seconds of processor time.
#[derive(Clone, Copy, Default)]
struct Cost {
    reading: f64,
    storing: f64,
    blocks: f64,
    /// Sealing without what is attestation.
    encoding: f64,
    attesting: f64,
    /// Bytes that attestation adds, of those sealed.
    added: u64,
    sealed: u64,
}

impl Cost {
    fn ingest(&self) -> f64 {
        self.reading + self.storing + self.blocks
    }

    fn plus(self, other: Self) -> Self {
        Self {
            reading: self.reading + other.reading,
            storing: self.storing + other.storing,
            blocks: self.blocks + other.blocks,
            encoding: self.encoding + other.encoding,
            attesting: self.attesting + other.attesting,
            added: self.added + other.added,
            sealed: self.sealed + other.sealed,
        }
    }

    fn print(&self, what: &str) {
        let Self { reading, storing, blocks, encoding, attesting, added, sealed } = self;
        let ingest = self.ingest();
        println!(
            "{what}: ingest {ingest:.2} s of CPU (reading {reading:.2}, storing {storing:.2}, blocks {blocks:.2}), encoding the open format {encoding:.2} s, attestation {attesting:.2} s = {:.1} % of ingest, {:.1} % of ingest and encoding; {added} bytes = {:.3} % of the {sealed} sealed",
            100.0 * attesting / ingest,
            100.0 * attesting / (ingest + encoding),
            100.0 * *added as f64 / *sealed as f64,
        );
    }
}

/// What both signals are measured with.
struct Bench {
    dir: tempfile::TempDir,
    disk: Arc<dyn Disk>,
    manual: Arc<ManualClock>,
    archive: Archive,
    ledger: Ledger,
    hour: Hour,
}

fn main() {
    let lines = std::env::args().nth(1).map_or(1_000_000, |a| a.parse::<i64>().unwrap());
    let dir = tempfile::tempdir().unwrap();
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let manual = Arc::new(ManualClock::new(TimestampMs(END_MS)));
    let clock: Arc<dyn Clock> = manual.clone();
    let origin = "vm-obs.cost/node/observability";
    let ledger = Ledger::open(LedgerConfig::in_data_dir(
        dir.path(),
        Arc::clone(&disk),
        clock,
        origin,
        LedgerMode::ReadWrite,
    ))
    .unwrap();
    let archive = Archive::open(dir.path(), Arc::clone(&disk), KEY).unwrap();
    let hour = Hour::ending_at(TimestampMs(END_MS)).unwrap();
    let bench = Bench { dir, disk, manual, archive, ledger, hour };
    let (logs, seal) = bench.logs(lines);
    logs.print(&format!("{lines} lines"));
    let series = (lines / LINES_PER_SERIES).max(1);
    let metrics = bench.metrics(series);
    metrics.print(&format!("{} samples of {series} series", series * (HOUR_MS / SCRAPE_MS)));
    logs.plus(metrics).print("together");
    prove(bench.dir.path(), &bench.archive, &bench.ledger, &seal);
}

impl Bench {
    fn logs(&self, lines: i64) -> (Cost, Seal) {
        let logs = LogsEngine::open(LogsConfig {
            dir: self.dir.path().join("logs"),
            wal_dir: self.dir.path().join("wal/logs"),
            disk: Arc::clone(&self.disk),
            clock: self.manual.clone(),
            mode: obs_logs::OpenMode::ReadWrite,
            limits: obs_logs::Limits::standard(),
        })
        .unwrap();
        let mut cost = Cost::default();
        let numbers: Vec<i64> = (0..lines / BATCH).collect();
        for numbers in numbers.chunks(CHUNK) {
            let bodies: Vec<String> = numbers.iter().map(|n| body(*n, lines)).collect();
            let mut batches = Vec::new();
            cost.reading += cpu(|| {
                for body in &bodies {
                    let caps = WireCaps::default();
                    let read = decode_loki_push(body.as_bytes(), LokiFormat::Json, &caps);
                    let mut batch = read.unwrap().batch;
                    batch.iter_mut().for_each(enrich);
                    batches.push(batch);
                }
            });
            cost.storing += cpu(|| {
                for batch in batches {
                    assert_eq!(logs.append(batch).unwrap().accepted, BATCH as u64);
                }
            });
        }
        cost.blocks = cpu(|| {
            logs.flush_now().unwrap();
        });
        let mut seal = None;
        let sealing =
            cpu(|| seal = Some(self.archive.seal_logs(self.hour, 0, logs.as_ref()).unwrap()));
        let seal = seal.unwrap();
        let file = std::fs::read(self.dir.path().join(&seal.storage_path)).unwrap();
        let mut plain = Vec::new();
        std::io::Read::read_to_end(&mut flate2::read::MultiGzDecoder::new(&file[..]), &mut plain)
            .unwrap();
        // Who seals has each line at hand.
        let records: Vec<&[u8]> =
            plain.split(|b| *b == b'\n').filter(|line| !line.is_empty()).collect();
        let receipt = |fields| {
            Receipt::log_batch(LogBatch {
                seal: fields,
                log_counts: LogCounts::default(),
                services_reporting: vec!["guardian".to_owned()],
                tags: Vec::new(),
            })
        };
        let leaves = |builder: &mut RecordTreeBuilder| records.iter().for_each(|r| builder.push(r));
        self.attest(&seal, &file, &leaves, &receipt, &mut cost);
        cost.encoding = sealing - cost.attesting;
        (cost, seal)
    }

    fn metrics(&self, series: i64) -> Cost {
        let metrics = MetricsEngine::open(MetricsConfig {
            dir: self.dir.path().join("metrics"),
            wal_dir: self.dir.path().join("wal/metrics"),
            disk: Arc::clone(&self.disk),
            clock: self.manual.clone(),
            mode: obs_metrics::OpenMode::ReadWrite,
            limits: obs_metrics::Limits::standard(),
        })
        .unwrap();
        let mut cost = Cost::default();
        let scrapes: Vec<i64> = (0..HOUR_MS / SCRAPE_MS).collect();
        for scrapes in scrapes.chunks(CHUNK) {
            let mut bodies = Vec::new();
            for scrape in scrapes {
                let at = END_MS - HOUR_MS + scrape * SCRAPE_MS;
                for first in (0..series).step_by(SERIES_PER_WRITE as usize) {
                    bodies.push(write(first..(first + SERIES_PER_WRITE).min(series), *scrape, at));
                }
            }
            let caps = WireCaps::default();
            let mut plain = Vec::new();
            cost.reading += cpu(|| {
                for body in &bodies {
                    let read = decompress(body, Encoding::Snappy, &caps);
                    plain.push(read.unwrap().into_owned());
                }
            });
            // Plain series are read on the way into the engine, as the receiver does it.
            cost.storing += cpu(|| {
                for body in &plain {
                    let read = read_sent_v1(body, &caps).unwrap();
                    assert!(metrics.append_sent(&read.sent).unwrap().rejected.is_empty());
                }
            });
        }
        let mut seal = None;
        let sealing =
            cpu(|| seal = Some(self.archive.seal_metrics(self.hour, 0, metrics.as_ref()).unwrap()));
        let seal = seal.unwrap();
        cost.blocks = cpu(|| {
            self.manual.advance(std::time::Duration::from_secs(4 * 3_600));
            metrics.maintain(self.manual.now()).unwrap();
        });
        let file = std::fs::read(self.dir.path().join(&seal.storage_path)).unwrap();
        let select = SeriesSelect {
            matchers: &[],
            range: self.hour.range_ms(),
            function: None,
            step_ms: None,
        };
        let mut all: Vec<SeriesData> = self
            .archive
            .select(&select, &QueryContext::unlimited())
            .unwrap()
            .map(Result::unwrap)
            .collect();
        all.sort_by(|a, b| {
            let by_name = a.labels.metric_name().cmp(b.labels.metric_name());
            by_name.then_with(|| a.labels.cmp(&b.labels))
        });
        let receipt = |fields| {
            Receipt::metric_snapshot(MetricSnapshot {
                seal: fields,
                nodes_reporting: 1,
                metrics_collected: 0,
                aggregates: std::collections::BTreeMap::new(),
                tags: Vec::new(),
            })
        };
        let leaves = |builder: &mut RecordTreeBuilder| {
            all.iter().for_each(|series| builder.push(&series_leaf(series)));
        };
        self.attest(&seal, &file, &leaves, &receipt, &mut cost);
        cost.encoding = sealing - cost.attesting;
        cost
    }

    /// What sealing did for the ledger, done once more by itself: the record tree over the sealed
    /// records, the hash of the file, the receipt. It is the same work: the root is the sealed one.
    fn attest(
        &self,
        seal: &Seal,
        file: &[u8],
        leaves: &dyn Fn(&mut RecordTreeBuilder),
        receipt: &dyn Fn(SealFields) -> Receipt,
        cost: &mut Cost,
    ) {
        let before = self.ledger.head().bytes;
        cost.attesting = cpu(|| {
            let (stream, hour) = (seal.signal().as_str(), self.hour.end_text());
            let scope = RecordScope::new(seal.records.leaf, stream, hour.clone());
            let mut builder = RecordTreeBuilder::new(scope, hour_key(&KEY, stream, &hour, 0));
            leaves(&mut builder);
            let tree = builder.finish();
            assert_eq!((tree.count, tree.root), (seal.records.count, seal.records.root));
            let fields = SealFields {
                period_start: self.hour.start(),
                period_end: self.hour.end(),
                rev: 0,
                link: None,
                outside: None,
                storage_path: seal.storage_path.clone(),
                content_hash: ContentHash(obs_proof::hash::blake3_of(file)),
                content_bytes: file.len() as u64,
                records: Records {
                    count: tree.count,
                    root: tree.root,
                    leaf: seal.records.leaf.to_owned(),
                },
                collection: Collection::default(),
            };
            self.ledger.append(vec![receipt(fields)]).unwrap();
        });
        let sidecar = self.dir.path().join(format!("{}.mt", seal.storage_path));
        let sidecar = std::fs::metadata(sidecar).map_or(0, |m| m.len());
        cost.added = sidecar + self.ledger.head().bytes - before;
        cost.sealed = seal.content_bytes;
    }
}

/// `vmobs-series-hour/1` of a series of floats (docs/format/vmproof.md).
fn series_leaf(series: &SeriesData) -> Vec<u8> {
    let mut out = Vec::with_capacity(64 + series.timestamps.len() * 25);
    out.extend_from_slice(&(series.labels.len() as u32).to_be_bytes());
    for text in series.labels.iter().flat_map(|(name, value)| [name, value]) {
        out.extend_from_slice(&(text.len() as u32).to_be_bytes());
        out.extend_from_slice(text.as_bytes());
    }
    for (at, value) in series.timestamps.iter().zip(&series.values) {
        out.push(0);
        out.extend_from_slice(&at.to_be_bytes());
        out.extend_from_slice(&value.to_bits().to_be_bytes());
        out.extend_from_slice(&0_i64.to_be_bytes());
    }
    out
}

/// A remote write of one sample of each series.
fn write(series: std::ops::Range<i64>, scrape: i64, at: i64) -> Vec<u8> {
    let one = |i: i64| {
        let labels = [
            ("__name__", format!("bench_metric_{}_total", i % 50)),
            ("instance", format!("brick-{:03}:9100", i / 50)),
            ("job", "node".to_owned()),
            ("zone", format!("eu-{}", i % 3)),
        ];
        let labels = labels.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        (labels, vec![(at, (i + scrape * (1 + i % 7)) as f64)])
    };
    obs_testkit::remote_write(&series.map(one).collect::<Vec<_>>())
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
