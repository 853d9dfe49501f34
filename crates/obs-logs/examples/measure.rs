//! Measures ingest and search on a real disk: `measure [MEGABYTES] [FOLDER]`.
//! The figures in `docs/PERFORMANCE-logs.md` come from here.

use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use obs_disk::{Clock, RealDisk, SystemClock};
use obs_logs::{Limits, LogsConfig, LogsEngine, OpenMode};
use obs_types::{
    Direction, LabelSet, LogRecord, LogSelect, LogSink, LogSource, QueryContext, TimeRangeNs,
    TimestampNs,
};

const BATCH: usize = 1_000;

/// A small generator with a fixed seed (splitmix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

fn record(random: &mut Random, streams: &[LabelSet], at: i64) -> LogRecord {
    const PATHS: [&str; 4] = ["/api/users", "/api/orders", "/checkout/cart", "/health"];
    const LEVELS: [&str; 4] = ["info", "info", "warn", "error"];
    let r = random.next();
    let path = PATHS[(r & 3) as usize];
    let level = LEVELS[(r >> 2 & 3) as usize];
    let trace = format!("{:016x}{:016x}", random.next(), random.next());
    let line = format!(
        "level={level} method=GET path={path}/{} status={} duration={}ms bytes={} peer=10.{}.{}.{} \
         request=\"{:08x}\" msg=\"request served\"",
        r >> 8 & 0xffff,
        [200, 200, 204, 404, 500][(r >> 24) as usize % 5],
        r >> 32 & 0x3ff,
        r >> 40 & 0xffff,
        r >> 8 & 0xff,
        r >> 16 & 0xff,
        r >> 24 & 0xff,
        random.next() as u32,
    );
    LogRecord {
        timestamp: TimestampNs(at),
        stream: streams[(r >> 48) as usize % streams.len()].clone(),
        line,
        metadata: LabelSet::from_pairs([("trace_id", trace.as_str()), ("detected_level", level)]),
    }
}

#[expect(clippy::print_stdout, reason = "printing figures is what this program is for")]
fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let megabytes: usize = arguments.next().map_or(Ok(256), |a| a.parse())?;
    let temporary = tempfile::tempdir()?;
    let root = arguments.next().map_or_else(|| temporary.path().to_owned(), PathBuf::from);
    let clock = SystemClock::new();
    let config = LogsConfig {
        dir: root.join("logs"),
        wal_dir: root.join("wal"),
        disk: Arc::new(RealDisk),
        clock: Arc::new(clock),
        mode: OpenMode::ReadWrite,
        limits: Limits::standard(),
    };
    let engine = LogsEngine::open(config)?;
    let streams: Vec<LabelSet> = (0..50)
        .map(|i| {
            LabelSet::from_pairs([("service_name", format!("service-{i}")), ("env", "prod".into())])
        })
        .collect();
    let mut random = Random(1);
    let (mut bytes, mut lines, mut seconds) = (0usize, 0usize, 0.0);
    let mut at = clock.now_ns().0 - 3_600_000_000_000;
    while bytes < megabytes << 20 {
        let mut batch: Vec<LogRecord> = Vec::with_capacity(BATCH);
        for _ in 0..BATCH {
            at += 1_000_000;
            batch.push(record(&mut random, &streams, at));
        }
        if lines == 200 * BATCH {
            batch[7].line.push_str(" needle=deadbeef42");
        }
        bytes += batch.iter().map(|r| r.line.len()).sum::<usize>();
        lines += BATCH;
        let start = Instant::now();
        engine.append(batch)?;
        seconds += start.elapsed().as_secs_f64();
    }
    let start = Instant::now();
    engine.flush_now()?;
    seconds += start.elapsed().as_secs_f64();
    let mb = bytes as f64 / 1e6;
    let stats = engine.stats();
    println!(
        "ingest: {lines} lines, {mb:.0} MB of lines in {seconds:.2} s = {:.1} MB/s",
        mb / seconds
    );
    println!(
        "blocks: {} files, {:.1} MB = {:.3} of the lines",
        stats.blocks,
        stats.block_bytes as f64 / 1e6,
        stats.block_bytes as f64 / bytes as f64
    );
    let search = |name: &str, contains: &[&str], trace: Option<&str>, limit: Option<usize>| {
        let contains: Vec<String> = contains.iter().map(|s| (*s).to_owned()).collect();
        let metadata: Vec<(String, String)> =
            trace.map(|t| ("trace_id".to_owned(), t.to_owned())).into_iter().collect();
        let select = LogSelect {
            matchers: &[],
            range: TimeRangeNs::new(TimestampNs(0), TimestampNs(i64::MAX)),
            line_contains: &contains,
            metadata_equals: &metadata,
            direction: Direction::Backward,
            limit,
        };
        let start = Instant::now();
        let mut found = 0;
        for run in engine.select(&select, &QueryContext::unlimited())? {
            found += run?.entries.len();
        }
        let ms = start.elapsed().as_secs_f64() * 1e3;
        println!("{name}: {found} lines in {ms:.1} ms = {:.0} MB/s", mb / ms * 1e3);
        Ok::<(), Box<dyn Error>>(())
    };
    search("needle, present", &["deadbeef42"], None, None)?;
    search("needle, absent", &["nosuchtoken99"], None, None)?;
    search("trace_id, absent", &[], Some("0123456789abcdef0123456789abcdef"), None)?;
    search("text that no dictionary rules out, no line has it", &["\" msg=\" "], None, None)?;
    search("newest 100", &[], None, Some(100))?;
    search("newest 100 errors", &["level=error"], None, Some(100))?;
    search("everything", &[], None, None)?;
    Ok(())
}
