//! Prometheus' range query benchmark over HTTP: vm-obs beside Debian's prometheus.
//!
//! Only the samples that some case looks at are sent, and imported by vm-obs, as they reach further
//! back than its receivers take. The evaluation times lie between samples, so
//! that it does not matter which end of a window belongs to it.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use obs_promql::testing::range_bench::{self, INTERVAL_MS, INTERVALS, RangeSeries};
use obs_testkit::{Client, remote_write};
use serde_json::json;

use crate::engine::{Engine, Kind};
use crate::load;
use crate::queries::{Values, parse, same};

/// What is asked and of whom.
#[derive(Debug, clap::Args)]
pub(crate) struct PromqlArgs {
    /// The vm-obs program
    #[arg(long, value_name = "PATH", default_value = "target/release/vm-obs")]
    vm_obs: PathBuf,
    /// The prometheus program
    #[arg(long, value_name = "PATH", default_value = "/usr/bin/prometheus")]
    prometheus: PathBuf,
    /// Only cases whose expression contains one of these texts
    only: Vec<String>,
    /// Most seconds for the rounds of one case
    #[arg(long, default_value_t = 0.3)]
    seconds: f64,
    /// Write the figures as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// A case in the words of both engines.
struct Case {
    name: String,
    steps: usize,
    ours: (String, &'static str),
    theirs: String,
}

/// The cases that Prometheus 2.42 can be asked, and how many it cannot.
fn cases(only: &[String]) -> (Vec<Case>, usize) {
    let (mut out, mut left_out) = (Vec::new(), 0);
    for (name, steps) in range_bench::cases() {
        if !only.is_empty() && !only.iter().any(|t| name.contains(t.as_str())) {
            continue;
        }
        if ["limitk", "limit_ratio", "smoothed"].iter().any(|w| name.contains(w)) {
            left_out += 1;
            continue;
        }
        let older = name.replace("double_exponential_smoothing", "holt_winters");
        // Behind its flag in PromQL, without one in MetricsQL.
        let ours = match older == name {
            true => (name.clone(), "promql"),
            false => (older.clone(), "metricsql"),
        };
        out.push(Case { ours, theirs: older, name, steps });
    }
    (out, left_out)
}

/// The first interval that a case may look at.
fn needed_from(s: &RangeSeries) -> usize {
    match s.labels.metric_name() {
        name if name.starts_with("a_") || name == "sparse" => 0,
        name if name.starts_with("b_") => INTERVALS - 10_000 - 60,
        _ => INTERVALS - 1_000 - 60,
    }
}

/// The samples of a series that some case looks at and that lie in these intervals.
fn points(s: &RangeSeries, within: Range<usize>, start_ms: i64) -> Vec<(i64, f64)> {
    let begin = within.start.max(needed_from(s)).max(s.steps.start);
    let end = within.end.min(s.steps.end);
    (begin..end).map(|i| (start_ms + i as i64 * INTERVAL_MS, s.value(i))).collect()
}

/// Remote-write bodies in the order of time, so that prometheus takes them.
fn bodies(series: &[RangeSeries], start_ms: i64) -> (Vec<Vec<u8>>, usize) {
    const SLICE: usize = 200;
    let (mut out, mut samples) = (Vec::new(), 0);
    for from in (0..INTERVALS).step_by(SLICE) {
        let mut part = Vec::new();
        for s in series {
            let points = points(s, from..(from + SLICE).min(INTERVALS), start_ms);
            if points.is_empty() {
                continue;
            }
            let labels = s.labels.iter().map(|(n, v)| (n.to_owned(), v.to_owned())).collect();
            samples += points.len();
            part.push((labels, points));
        }
        out.push(remote_write(&part));
    }
    (out, samples)
}

/// The same as OpenMetrics text.
fn write_history(series: &[RangeSeries], start_ms: i64, path: &Path) -> anyhow::Result<()> {
    let mut file = std::io::BufWriter::new(std::fs::File::create(path)?);
    let mut sorted: Vec<&RangeSeries> = series.iter().collect();
    sorted.sort_by(|a, b| a.labels.cmp(&b.labels));
    sorted.sort_by(|a, b| a.labels.metric_name().cmp(b.labels.metric_name()));
    for s in sorted {
        let pairs = s.labels.iter().filter(|(n, _)| *n != "__name__");
        let pairs: Vec<String> = pairs.map(|(n, v)| format!("{n}={v:?}")).collect();
        let name = format!("{}{{{}}}", s.labels.metric_name(), pairs.join(","));
        for (t, v) in points(s, 0..INTERVALS, start_ms) {
            writeln!(file, "{name} {v} {}.{:03}", t / 1000, t % 1000)?;
        }
    }
    writeln!(file, "# EOF")?;
    file.flush()?;
    Ok(())
}

/// The answer, and the least milliseconds of some rounds.
fn ask(
    client: &mut Client,
    (query, dialect): (&str, &str),
    (start, end): (i64, i64),
    seconds: f64,
) -> anyhow::Result<(Values, f64)> {
    let text = |ms: i64| format!("{}.{:03}", ms / 1000, ms % 1000);
    let (start, end, step) = (text(start), text(end), (INTERVAL_MS / 1000).to_string());
    let mut parameters = vec![("query", query), ("start", &start), ("end", &end), ("step", &step)];
    if dialect != "promql" {
        parameters.push(("dialect", dialect));
    }
    let mut best = f64::INFINITY;
    let mut values = Values::new();
    let begin = Instant::now();
    for round in 0..200 {
        let started = Instant::now();
        let reply = client.query("/api/v1/query_range", &parameters)?;
        let ms = started.elapsed().as_secs_f64() * 1000.0;
        anyhow::ensure!(reply.status == 200, "{query}: {}: {}", reply.status, reply.text());
        if round == 0 {
            values = parse(&reply.json())?;
        }
        best = best.min(ms);
        if round >= 2 && begin.elapsed().as_secs_f64() > seconds {
            break;
        }
    }
    Ok((values, best))
}

pub(crate) fn run(args: &PromqlArgs) -> anyhow::Result<()> {
    let (cases, left_out) = cases(&args.only);
    let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())?;
    let start_ms = (now / INTERVAL_MS - INTERVALS as i64) * INTERVAL_MS;
    let series = range_bench::series();
    let (bodies, samples) = bodies(&series, start_ms);
    println!(
        "{} cases, {left_out} that prometheus 2.42 does not know; {samples} samples",
        cases.len()
    );
    let folder = tempfile::tempdir()?;
    let history = folder.path().join("history.om");
    write_history(&series, start_ms, &history)?;
    let cannot_start = |path: &Path| format!("cannot start {}", path.display());
    let begin = Instant::now();
    let ours = Engine::start_with_history(&args.vm_obs, &history)
        .with_context(|| cannot_start(&args.vm_obs))?;
    let seconds = begin.elapsed().as_secs_f64();
    println!("{}: {}; imported in {seconds:.0} s", ours.kind().name(), ours.version());
    let theirs = Engine::start(Kind::Prometheus, &args.prometheus)
        .with_context(|| cannot_start(&args.prometheus))?;
    let seconds = load::send(theirs.address(), theirs.write_path(), &vec![bodies])?;
    println!("{}: {}; loaded in {seconds:.0} s", theirs.kind().name(), theirs.version());
    let mut clients = [Client::new(ours.address()), Client::new(theirs.address())];
    let (mut logs, mut differ, mut slower) = (0.0, Vec::new(), 0);
    let mut rows = BTreeMap::new();
    for case in &cases {
        // Between samples.
        let end = start_ms + INTERVALS as i64 * INTERVAL_MS - INTERVAL_MS / 2;
        let span = (end - (case.steps as i64 - 1) * INTERVAL_MS, end);
        let own = (case.ours.0.as_str(), case.ours.1);
        let [mine, peer] = &mut clients;
        let (our_values, our_ms) = ask(mine, own, span, args.seconds)?;
        let (their_values, their_ms) = ask(peer, (&case.theirs, "promql"), span, args.seconds)?;
        let agrees = same(&our_values, &their_values);
        if !agrees {
            differ.push(format!("{} ({} steps)", case.name, case.steps));
        }
        let ratio = their_ms / our_ms;
        logs += ratio.ln();
        slower += usize::from(ratio < 1.0);
        println!(
            "{ratio:>8.2}  {our_ms:>10.3} ms  {their_ms:>10.3} ms  {:>6} steps  {}{}",
            case.steps,
            case.name,
            if agrees { "" } else { "  DIFFERS" }
        );
        let key = format!("{} / {}", case.name, case.steps);
        let row = json!({"vm_obs_ms": our_ms, "prometheus_ms": their_ms, "same_answer": agrees});
        rows.insert(key, row);
    }
    let mean = (logs / cases.len().max(1) as f64).exp();
    println!("geometric mean of the ratios {mean:.2}; slower in {slower} of {}", cases.len());
    if let Some(path) = &args.json {
        let all = json!({"scenario": "promql", "geometric_mean": mean, "cases": rows});
        std::fs::write(path, serde_json::to_string_pretty(&all)? + "\n")
            .with_context(|| path.display().to_string())?;
    }
    anyhow::ensure!(differ.is_empty(), "answers differ: {}", differ.join("; "));
    Ok(())
}
