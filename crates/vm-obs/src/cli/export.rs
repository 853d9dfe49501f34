//! `vm-obs metrics export`: raw samples, metric by metric, a part of the window at a time.

use std::collections::BTreeMap;
use std::io::Write;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::{Args, Subcommand, ValueEnum};
use obs_archive::MetricsExport;
use obs_types::{LabelSet, MetricKind, SeriesData};
use serde_json::{Value, json};

use super::args::{SourceArgs, WindowArgs};
use super::client::{Client, Parameters};
use super::human;
use super::out::Out;
use super::table::csv_line;

/// Longest part of the window that one request asks for; shorter where that is too much at once.
const PART_MS_MAX: i64 = 24 * 3_600_000;
/// What does not fit in this does not fit at all.
const PART_MS_MIN: i64 = 60_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ExportFormat {
    /// Prometheus' text format with timestamps
    Prometheus,
    Openmetrics,
    /// One line per series: {"metric":{…},"values":[…],"timestamps":[…]}
    Json,
    Csv,
    /// One row a sample, in the columns of a sealed hour; not to a terminal
    Parquet,
}

#[derive(Args, Debug)]
pub(crate) struct ExportArgs {
    /// Form of the export
    #[arg(long, value_enum, default_value = "prometheus")]
    format: ExportFormat,
    #[command(flatten)]
    what: WhatArgs,
}

/// `vm-obs export …`: forms that other systems read.
#[derive(Debug, Subcommand)]
pub(crate) enum ExportCommand {
    /// OpenMetrics text, for promtool tsdb create-blocks-from openmetrics
    Openmetrics(WhatArgs),
    /// Parquet, one row a sample, in the columns of a sealed hour
    Parquet(WhatArgs),
    /// JSON lines, for VictoriaMetrics' /api/v1/import
    VictoriametricsJsonl(WhatArgs),
}

/// Which samples, and whom to ask.
#[derive(Args, Debug)]
pub(crate) struct WhatArgs {
    /// Only series of this selector, such as '{job="node"}'; may be repeated
    #[arg(long = "match", value_name = "SELECTOR")]
    matches: Vec<String>,
    #[command(flatten)]
    window: WindowArgs,
    #[command(flatten)]
    source: SourceArgs,
}

/// How often progress is told.
const PROGRESS: Duration = Duration::from_secs(2);

/// Labels as they are written, and the samples: milliseconds and the value's text.
type Series = BTreeMap<String, (Value, Vec<(i64, String)>)>;

pub(crate) async fn command(command: ExportCommand, out: &mut Out) -> anyhow::Result<()> {
    let (format, what) = match command {
        ExportCommand::Openmetrics(what) => (ExportFormat::Openmetrics, what),
        ExportCommand::Parquet(what) => (ExportFormat::Parquet, what),
        ExportCommand::VictoriametricsJsonl(what) => (ExportFormat::Json, what),
    };
    run(&ExportArgs { format, what }, out).await
}

pub(crate) async fn run(args: &ExportArgs, out: &mut Out) -> anyhow::Result<()> {
    let ExportArgs { format, what: args } = args;
    if *format == ExportFormat::Parquet && out.terminal {
        bail!(
            "Parquet is not for a terminal; redirect it: vm-obs export parquet … > metrics.parquet"
        );
    }
    let client = &Client::source(&args.source)?;
    let (start, end) = args.window.resolve(obs_types::DurationMs::HOUR)?;
    let (start, end) = (start.floor_to_ms().0, end.floor_to_ms().0);
    let selectors: Vec<&str> = match args.matches.as_slice() {
        [] => vec!["{__name__=~\".+\"}"],
        given => given.iter().map(String::as_str).collect(),
    };
    let metadata = client.get("/api/v1/metadata", &Parameters::new()).await?.json;
    let names = names(client, &selectors, start, end).await?;
    if *format == ExportFormat::Csv {
        out.line("metric,labels,timestamp,value")?;
    }
    let mut skipped = 0;
    let mut family_before = String::new();
    let mut parquet = match format {
        ExportFormat::Parquet => Some(MetricsExport::new()?),
        _ => None,
    };
    let (mut samples_done, mut told) = (0, Instant::now());
    let total = names.len();
    for (number, name) in names.into_iter().enumerate() {
        let mut all = Series::new();
        for selector in &selectors {
            skipped += samples(client, &name, selector, (start, end), &mut all).await?;
        }
        if all.is_empty() {
            continue;
        }
        samples_done += all.values().map(|(_, samples)| samples.len()).sum::<usize>();
        let family = family(&name, &metadata);
        match format {
            ExportFormat::Prometheus | ExportFormat::Openmetrics => {
                let open = *format == ExportFormat::Openmetrics;
                if family.name != family_before || open {
                    head(&name, &family, open, out)?;
                    family_before.clone_from(&family.name);
                }
                exposition(&name, &all, open, out)?;
            }
            ExportFormat::Json => json_lines(&all, out)?,
            ExportFormat::Csv => csv(&name, &all, out)?,
            ExportFormat::Parquet => {
                if let Some(parquet) = &mut parquet {
                    let kind = MetricKind::from_text(&family.kind).unwrap_or_default();
                    parquet.push(columns(&all)?, kind)?;
                }
            }
        }
        if told.elapsed() >= PROGRESS {
            told = Instant::now();
            eprintln!("{} of {total} metrics, {samples_done} samples", number + 1);
        }
        out.flush()?;
    }
    if let Some(parquet) = parquet {
        out.write_all(&parquet.finish()?)?;
    }
    if *format == ExportFormat::Openmetrics {
        out.line("# EOF")?;
    }
    if skipped > 0 {
        eprintln!("warning: {skipped} native histogram samples have no form in this export");
    }
    Ok(())
}

async fn names(
    client: &Client,
    selectors: &[&str],
    start: i64,
    end: i64,
) -> anyhow::Result<Vec<String>> {
    let mut parameters: Parameters =
        selectors.iter().map(|s| ("match[]", (*s).to_owned())).collect();
    parameters.push(("start", seconds(start)));
    parameters.push(("end", seconds(end)));
    let answer = client.get("/api/v1/label/__name__/values", &parameters).await?.json;
    Ok(human::list(&answer, "data").iter().filter_map(Value::as_str).map(str::to_owned).collect())
}

/// Milliseconds as decimal seconds, without a detour over floating point.
fn seconds(ms: i64) -> String {
    let sign = if ms < 0 { "-" } else { "" };
    let ms = ms.unsigned_abs();
    match ms % 1000 {
        0 => format!("{sign}{}", ms / 1000),
        rest => format!("{sign}{}.{rest:03}", ms / 1000),
    }
}

/// The selector with the metric's name laid over it.
fn named(name: &str, selector: &str) -> anyhow::Result<String> {
    let matcher = format!("__name__={}", Value::from(name));
    let selector = selector.trim();
    let Some((_, inside)) = selector.split_once('{') else {
        return Ok(format!("{{{matcher}}}"));
    };
    let Some(inside) = inside.strip_suffix('}') else {
        bail!("selector {selector:?} must end with }}");
    };
    let inside = inside.trim().trim_end_matches(',');
    Ok(if inside.is_empty() { format!("{{{matcher}}}") } else { format!("{{{matcher},{inside}}}") })
}

/// Adds the samples of the whole window, in parts that the server can hold.
async fn samples(
    client: &Client,
    name: &str,
    selector: &str,
    window: (i64, i64),
    all: &mut Series,
) -> anyhow::Result<usize> {
    let (mut from, end) = window;
    let mut length = PART_MS_MAX;
    let mut skipped = 0;
    while from < end {
        let to = from.saturating_add(length).min(end);
        match part(client, name, selector, from, to, all).await {
            Ok(left_out) => {
                skipped += left_out;
                from = to;
            }
            Err(e) if length > PART_MS_MIN && is_too_much(&e) => length /= 2,
            Err(e) => return Err(e),
        }
    }
    Ok(skipped)
}

/// Whether the server refused the size of the answer rather than the question.
fn is_too_much(e: &anyhow::Error) -> bool {
    let message = e.to_string();
    ["too many samples", "limit", "timed out"].iter().any(|said| message.contains(said))
}

/// Adds the samples in `[from, to)`; returns how many native histograms were left out.
async fn part(
    client: &Client,
    name: &str,
    selector: &str,
    from: i64,
    to: i64,
    all: &mut Series,
) -> anyhow::Result<usize> {
    // A selector that names another metric has nothing to say about this one.
    let bare = selector.split('{').next().unwrap_or_default().trim();
    if !bare.is_empty() && bare != name {
        return Ok(0);
    }
    // A range is open on its left and closed on its right end: one millisecond earlier makes of
    // `(from - 1, to - 1]` the wanted `[from, to)`.
    let parameters = vec![
        ("query", format!("{}[{}ms]", named(name, selector)?, to - from)),
        ("time", seconds(to - 1)),
    ];
    let answer = client.get("/api/v1/query", &parameters).await?.json;
    let mut histograms = 0;
    let result = answer.pointer("/data/result").and_then(Value::as_array);
    for series in result.into_iter().flatten() {
        histograms += human::list(series, "histograms").len();
        let labels = series.get("metric").cloned().unwrap_or(Value::Null);
        let entry = all.entry(label_text(&labels)).or_insert_with(|| (labels, Vec::new()));
        for point in human::list(series, "values") {
            let at = point.get(0).and_then(Value::as_f64).map(|s| (s * 1e3).round() as i64);
            let (Some(at), Some(value)) = (at, point.get(1).and_then(Value::as_str)) else {
                continue;
            };
            // Two selectors may name the same series.
            if entry.1.last().is_none_or(|(before, _)| *before < at) {
                entry.1.push((at, value.to_owned()));
            }
        }
    }
    all.retain(|_, (_, samples)| !samples.is_empty());
    Ok(histograms)
}

/// `{a="b"}` without the name, `""` without labels; escapes are those of the text formats.
fn label_text(labels: &Value) -> String {
    let pairs: Vec<String> = labels
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(n, _)| *n != "__name__")
        .map(|(n, v)| {
            let value = v.as_str().unwrap_or("");
            let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            format!("{n}=\"{value}\"")
        })
        .collect();
    if pairs.is_empty() { String::new() } else { format!("{{{}}}", pairs.join(",")) }
}

#[derive(Debug, PartialEq)]
struct Family {
    name: String,
    kind: String,
    help: String,
}

/// The family that a metric belongs to, by the metadata that was collected with it.
fn family(name: &str, metadata: &Value) -> Family {
    for suffix in ["", "_total", "_bucket", "_count", "_sum"] {
        let Some(stem) = name.strip_suffix(suffix) else { continue };
        let Some(known) =
            metadata.pointer("/data").and_then(|d| d.get(stem)).and_then(|m| m.get(0))
        else {
            continue;
        };
        let kind = human::text(known, "type");
        let belongs = match suffix {
            "" => true,
            "_total" => kind == "counter",
            _ => kind == "histogram" || kind == "summary" && suffix != "_bucket",
        };
        if belongs {
            return Family {
                name: stem.to_owned(),
                kind: kind.to_owned(),
                help: human::text(known, "help").to_owned(),
            };
        }
    }
    Family { name: name.to_owned(), kind: "unknown".to_owned(), help: String::new() }
}

/// `# HELP` and `# TYPE`. OpenMetrics wants the points of a histogram or summary side by side,
/// which a stream over time does not have; there each of their series is a family of its own.
fn head(name: &str, family: &Family, open: bool, out: &mut Out) -> std::io::Result<()> {
    let help = family.help.replace('\\', "\\\\").replace('\n', "\\n");
    let (shown, kind) = match family.kind.as_str() {
        "counter" if open && name.ends_with("_total") => {
            (name.strip_suffix("_total").unwrap_or(name), "counter")
        }
        "gauge" => (name, "gauge"),
        _ if open => (name, "unknown"),
        "counter" => (name, "counter"),
        kind @ ("histogram" | "summary") => (family.name.as_str(), kind),
        _ => (name, "untyped"),
    };
    if !help.is_empty() {
        let help = if open { help.replace('"', "\\\"") } else { help };
        writeln!(out, "# HELP {shown} {help}")?;
    }
    writeln!(out, "# TYPE {shown} {kind}")
}

fn exposition(name: &str, all: &Series, open: bool, out: &mut Out) -> std::io::Result<()> {
    for (labels, (_, samples)) in all {
        for (at, value) in samples {
            let at = if open { seconds(*at) } else { at.to_string() };
            writeln!(out, "{name}{labels} {value} {at}")?;
        }
    }
    Ok(())
}

fn json_lines(all: &Series, out: &mut Out) -> std::io::Result<()> {
    for (labels, samples) in all.values() {
        let values: Vec<Value> = samples
            .iter()
            .map(|(_, v)| {
                let number = v.parse::<f64>().ok().and_then(serde_json::Number::from_f64);
                number.map_or_else(|| json!(v), Value::Number)
            })
            .collect();
        let times: Vec<i64> = samples.iter().map(|(t, _)| *t).collect();
        writeln!(out, "{}", json!({"metric": labels, "values": values, "timestamps": times}))?;
    }
    Ok(())
}

fn columns(all: &Series) -> anyhow::Result<Vec<SeriesData>> {
    all.values()
        .map(|(labels, samples)| {
            let pairs = labels.as_object().into_iter().flatten();
            let values = samples.iter().map(|(_, v)| {
                v.parse::<f64>().with_context(|| format!("the server gave the value {v:?}"))
            });
            Ok(SeriesData {
                labels: LabelSet::from_pairs(
                    pairs.map(|(n, v)| (n.clone(), v.as_str().unwrap_or_default())),
                ),
                timestamps: samples.iter().map(|(t, _)| *t).collect(),
                values: values.collect::<anyhow::Result<_>>()?,
                ..SeriesData::default()
            })
        })
        .collect()
}

fn csv(name: &str, all: &Series, out: &mut Out) -> std::io::Result<()> {
    for (labels, (_, samples)) in all {
        for (at, value) in samples {
            let at = obs_query::format_time(obs_types::TimestampMs(*at));
            out.line(&csv_line([name, labels.as_str(), at.as_str(), value.as_str()]))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_with_a_name_over_them() {
        assert_eq!(named("up", "{job=\"a\"}").unwrap(), "{__name__=\"up\",job=\"a\"}");
        assert_eq!(named("up", "up").unwrap(), "{__name__=\"up\"}");
        assert_eq!(named("up", "up{job=\"a\",}").unwrap(), "{__name__=\"up\",job=\"a\"}");
        assert!(named("up", "{job=\"a\"").is_err());
    }

    #[test]
    fn times_keep_their_milliseconds() {
        assert_eq!(seconds(1_765_029_600_000), "1765029600");
        assert_eq!(seconds(1_765_029_600_007), "1765029600.007");
        assert_eq!(seconds(-1), "-0.001");
    }

    #[test]
    fn families() {
        let metadata = json!({"data": {
            "h": [{"type": "histogram", "help": "x"}], "g": [{"type": "gauge", "help": ""}],
            "c": [{"type": "counter", "help": ""}],
        }});
        let kind = |name: &str| {
            let f = family(name, &metadata);
            format!("{} {}", f.name, f.kind)
        };
        assert_eq!(kind("h_bucket"), "h histogram");
        assert_eq!(kind("g_count"), "g_count unknown");
        assert_eq!(kind("c_total"), "c counter");
        assert_eq!(kind("none"), "none unknown");
    }
}
