//! How fast the records of a sealed hour are checked: the file is decoded and its record tree
//! computed again.
//!
//! `cargo run --release -p obs-archive --example records_speed [LINES]`, by default 1,000,000 log
//! lines of about 210 bytes. Expected on one core: gunzip at 300 to 500 MB/s, then two hashes a
//! line.

#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a measuring program")]

use std::sync::Arc;

use obs_archive::{Archive, Hour};
use obs_disk::{Clock, Disk, RealDisk, SystemClock};
use obs_testkit::GivenLogs;
use obs_types::{LabelSet, LogEntry, LogStream, TimestampMs, TimestampNs};

/// 2025-12-06T14:00:00Z
const END_MS: i64 = 1_765_029_600_000;

fn main() {
    let lines = std::env::args().nth(1).map_or(1_000_000, |a| a.parse::<i64>().unwrap());
    let hour = Hour::ending_at(TimestampMs(END_MS)).unwrap();
    let step = 3_600_000_000_000 / lines.max(1);
    let entry = |i: i64| LogEntry {
        timestamp: TimestampNs((END_MS - 3_600_000) * 1_000_000 + i * step),
        line: format!(
            "request {i} from 10.0.{}.{} took {} ms, trace {:016x}, status {}",
            i % 256,
            i * 7 % 256,
            i * i % 977,
            i.wrapping_mul(0x9E37_79B9_7F4A_7C15_u64 as i64),
            200 + i % 5
        ),
        metadata: LabelSet::from_pairs([("detected_level", "info")]),
    };
    let source = GivenLogs(vec![LogStream {
        labels: LabelSet::from_pairs([("service_name", "guardian"), ("node", "brick-01")]),
        entries: (0..lines).map(entry).collect(),
    }]);
    let dir = tempfile::tempdir().unwrap();
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let archive = Archive::open(dir.path(), disk, [7; 32]).unwrap();
    let clock = SystemClock::new();
    let before = clock.monotonic();
    let seal = archive.seal_logs(hour, 0, &source).unwrap();
    let sealing = (clock.monotonic() - before).as_secs_f64();
    let text = std::fs::read(dir.path().join(&seal.storage_path)).unwrap();
    let mut raw = Vec::new();
    std::io::Read::read_to_end(&mut flate2::read::MultiGzDecoder::new(&text[..]), &mut raw)
        .unwrap();
    let before = clock.monotonic();
    let checked = archive.verify_file(&seal.storage_path).unwrap();
    let seconds = (clock.monotonic() - before).as_secs_f64();
    assert_eq!(checked.records, seal.records);
    println!(
        "{lines} lines, {} MB raw, {} MB sealed in {sealing:.2} s; checked in {seconds:.2} s: {:.0} MB/s of raw lines",
        raw.len() / 1_000_000,
        seal.content_bytes / 1_000_000,
        raw.len() as f64 / 1e6 / seconds
    );
}
