//! A log source in memory, and the runner of `.logqltest` scripts (Loki's declarative tests of
//! metric queries: `load`, `clear`, `eval instant|range`).

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use obs_types::{
    Direction, LabelSet, LogEntry, LogSelect, LogSource, LogStats, LogStream, Matcher,
    QueryContext, SourceError, TimeRangeNs, TimestampNs, matches_all,
};
use regex::Regex;

use crate::engine::{Engine, EngineOptions, Value};
use crate::labels::Labels;
use crate::{parse_selector, unit};

/// Streams held in a map; for tests and scripts.
#[derive(Clone, Debug, Default)]
pub struct MemoryLogs {
    streams: BTreeMap<LabelSet, Vec<LogEntry>>,
}

impl MemoryLogs {
    pub fn push(&mut self, stream: LabelSet, entry: LogEntry) {
        let entries = self.streams.entry(stream).or_default();
        let at = entries.partition_point(|e| e.timestamp <= entry.timestamp);
        entries.insert(at, entry);
    }

    fn matching<'a>(
        &'a self,
        matchers: &'a [Matcher],
    ) -> impl Iterator<Item = (&'a LabelSet, &'a Vec<LogEntry>)> {
        self.streams.iter().filter(move |(labels, _)| matches_all(matchers, labels))
    }
}

impl LogSource for MemoryLogs {
    fn select<'a>(
        &'a self,
        select: &LogSelect<'_>,
        _context: &QueryContext,
    ) -> Result<Box<dyn Iterator<Item = Result<LogStream, SourceError>> + Send + 'a>, SourceError>
    {
        let mut out: Vec<LogStream> = Vec::new();
        for (labels, entries) in self.matching(select.matchers) {
            let kept: Vec<LogEntry> = entries
                .iter()
                .filter(|e| select.range.contains(e.timestamp))
                .filter(|e| select.line_contains.iter().all(|t| e.line.contains(t)))
                .filter(|e| {
                    select
                        .metadata_equals
                        .iter()
                        .all(|(n, v)| e.metadata.get(n) == Some(v.as_str()))
                })
                .cloned()
                .collect();
            let kept = match (select.limit, select.direction) {
                (Some(n), Direction::Forward) => kept.into_iter().take(n).collect(),
                (Some(n), Direction::Backward) => {
                    let skip = kept.len().saturating_sub(n);
                    kept.into_iter().skip(skip).collect()
                }
                (None, _) => kept,
            };
            if !kept.is_empty() {
                out.push(LogStream { labels: labels.clone(), entries: kept });
            }
        }
        Ok(Box::new(out.into_iter().map(Ok)))
    }

    fn streams(
        &self,
        matcher_sets: &[Vec<Matcher>],
        range: TimeRangeNs,
        _context: &QueryContext,
    ) -> Result<Vec<LabelSet>, SourceError> {
        Ok(self
            .streams
            .iter()
            .filter(|(labels, entries)| {
                (matcher_sets.is_empty() || matcher_sets.iter().any(|m| matches_all(m, labels)))
                    && entries.iter().any(|e| range.contains(e.timestamp))
            })
            .map(|(labels, _)| labels.clone())
            .collect())
    }

    fn stats(
        &self,
        matchers: &[Matcher],
        range: TimeRangeNs,
        _context: &QueryContext,
    ) -> Result<LogStats, SourceError> {
        let mut stats = LogStats::default();
        for (_, entries) in self.matching(matchers) {
            let inside = || entries.iter().filter(|e| range.contains(e.timestamp));
            if inside().next().is_some() {
                stats.streams += 1;
                stats.chunks += 1;
                stats.entries += inside().count() as u64;
                stats.bytes += inside().map(|e| e.line.len() as u64).sum::<u64>();
            }
        }
        Ok(stats)
    }
}

/// What a run of scripts gave.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    pub passed: usize,
    pub total: usize,
    pub failures: Vec<Failure>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub file: String,
    /// Of the `eval`, from 1.
    pub line: usize,
    pub reason: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.reason)
    }
}

/// Runs every `*.logqltest` of a folder, in order of name.
pub fn run_dir(folder: &Path) -> std::io::Result<Report> {
    let mut paths: Vec<_> = std::fs::read_dir(folder)?
        .collect::<Result<Vec<_>, _>>()?
        .into_iter()
        .map(|e| e.path())
        .filter(|p| p.extension().is_some_and(|e| e == "logqltest"))
        .collect();
    paths.sort();
    let mut report = Report::default();
    for path in paths {
        let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        run_script(&name, &std::fs::read_to_string(&path)?, &mut report);
    }
    Ok(report)
}

/// Runs one script; its evaluations are added to the report.
pub fn run_script(name: &str, text: &str, report: &mut Report) {
    let lines: Vec<(usize, &str)> = text
        .lines()
        .enumerate()
        .map(|(i, l)| (i + 1, without_comment(l)))
        .filter(|(_, l)| !l.trim().is_empty())
        .collect();
    let mut logs = MemoryLogs::default();
    let mut at = 0;
    while let Some(&(number, line)) = lines.get(at) {
        at += 1;
        let start = at;
        while lines.get(at).is_some_and(|(_, l)| l.starts_with(char::is_whitespace)) {
            at += 1;
        }
        let block = lines.get(start..at).unwrap_or(&[]);
        let mut fail = |line: usize, reason: String| {
            report.failures.push(Failure { file: name.to_owned(), line, reason });
        };
        let head = line.trim();
        if head == "clear" {
            logs = MemoryLogs::default();
        } else if head == "load" {
            for (number, line) in block {
                if let Err(e) = load(&mut logs, line.trim()) {
                    fail(*number, e);
                }
            }
        } else if let Some(rest) = head.strip_prefix("eval ") {
            report.total += 1;
            let block: Vec<&str> = block.iter().map(|(_, l)| l.trim()).collect();
            match evaluate(&logs, rest, &block) {
                Ok(()) => report.passed += 1,
                Err(reason) => fail(number, format!("{head}: {reason}")),
            }
        } else {
            fail(number, format!("unknown command {head:?}"));
        }
    }
}

/// `#` outside quotes starts a comment.
fn without_comment(line: &str) -> &str {
    let mut quote = None;
    let mut escaped = false;
    for (at, c) in line.char_indices() {
        match (quote, c) {
            (None, '"' | '`') => quote = Some(c),
            (None, '#') => return line.get(..at).unwrap_or(line).trim_end(),
            (Some('"'), '\\') if !escaped => {
                escaped = true;
                continue;
            }
            (Some(q), c) if q == c && !escaped => quote = None,
            _ => {}
        }
        escaped = false;
    }
    line.trim_end()
}

/// Splits behind the brace that closes the selector at the start.
fn split_selector(text: &str) -> Result<(&str, &str), String> {
    let mut quote = None;
    for (at, c) in text.char_indices() {
        match (quote, c) {
            (None, '"' | '`') => quote = Some(c),
            (Some(q), c) if q == c => quote = None,
            (None, '}') => {
                return text.split_at_checked(at + 1).ok_or_else(|| "bad selector".into());
            }
            _ => {}
        }
    }
    Err(format!("no selector in {text:?}"))
}

fn labels(selector: &str) -> Result<Labels, String> {
    let matchers = parse_selector(selector).map_err(|e| e.to_string())?;
    Ok(Labels::from_pairs(matchers.iter().map(|m| (m.name(), m.value()))))
}

fn time(text: &str) -> Result<i64, String> {
    if text == "0" { Ok(0) } else { unit::duration(text) }
}

/// The text between a quote and its partner, and what follows.
fn quoted(text: &str) -> Option<(&str, &str)> {
    let open = text.chars().next().filter(|c| matches!(c, '"' | '`'))?;
    text.get(1..)?.split_once(open)
}

fn load(logs: &mut MemoryLogs, line: &str) -> Result<(), String> {
    let (selector, rest) = split_selector(line)?;
    let stream = labels(selector)?.to_label_set();
    let (text, rest) = quoted(rest.trim_start()).ok_or("no line")?;
    let rest = rest.trim_start().strip_prefix('@').ok_or("no time")?.trim_start();
    let (start, rest) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    let start = time(start)?;
    let (mut every, mut count) = (0, 1);
    let mut metadata = LabelSet::empty();
    let mut rest = rest.trim();
    while let Some(body) = rest.strip_prefix('[') {
        if let Some(tail) = body.strip_prefix("repeat every ") {
            let (inner, after) = tail.split_once(']').ok_or("no ]")?;
            let (step, times) = inner.split_once(" for ").ok_or("no count")?;
            every = time(step.trim())?;
            count = times.trim().parse().map_err(|e| format!("bad count: {e}"))?;
            rest = after.trim();
        } else if let Some(tail) = body.strip_prefix("metadata ") {
            let mut pairs: Vec<(String, String)> = Vec::new();
            let mut tail = tail.trim_start();
            while !tail.starts_with(']') {
                let (name, after) = match quoted(tail) {
                    Some((name, after)) => (name, after.strip_prefix('=').ok_or("no =")?),
                    None => tail.split_once('=').ok_or("no =")?,
                };
                let (value, after) = quoted(after).ok_or("no metadata value")?;
                pairs.push((name.to_owned(), value.to_owned()));
                tail = after.trim_start();
            }
            metadata = LabelSet::from_pairs(pairs);
            rest = tail.get(1..).unwrap_or("").trim();
        } else {
            return Err(format!("unknown option {rest:?}"));
        }
    }
    for i in 0..count {
        let entry = LogEntry {
            timestamp: TimestampNs(start + every * i),
            line: text.replace("{{.i}}", &i.to_string()),
            metadata: metadata.clone(),
        };
        logs.push(stream.clone(), entry);
    }
    Ok(())
}

fn word<'a>(text: &mut &'a str) -> &'a str {
    let (head, tail) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    *text = tail.trim_start();
    head
}

fn evaluate(logs: &MemoryLogs, command: &str, block: &[&str]) -> Result<(), String> {
    let engine = Engine::new(EngineOptions {
        entries_max: 0,
        series_max: 0,
        steps_max: 0,
        length_ns_max: 0,
    });
    let context = QueryContext::unlimited();
    let mut rest = command;
    let kind = word(&mut rest);
    let mut steps = None;
    let outcome = if kind == "instant" {
        word(&mut rest);
        let at = TimestampNs(time(word(&mut rest))?);
        engine.instant(logs, rest, at, 100, Direction::Forward, &context)
    } else {
        let mut next = |keyword: &str| -> Result<i64, String> {
            match word(&mut rest) {
                w if w == keyword => time(word(&mut rest)),
                w => Err(format!("expected {keyword}, found {w}")),
            }
        };
        let (start, end, step) = (next("from")?, next("to")?, next("step")?);
        steps = Some((start, step));
        engine.range(
            logs,
            rest,
            TimestampNs(start),
            TimestampNs(end),
            step,
            100,
            Direction::Forward,
            &context,
        )
    };
    let mut ordered = false;
    let mut wanted: Vec<&str> = Vec::new();
    for line in block {
        if *line == "expect ordered" {
            ordered = true;
        } else if !line.starts_with("skip ") {
            wanted.push(line);
        }
    }
    if let Some(fail) = wanted.first().and_then(|l| l.strip_prefix("expect fail")) {
        return expect_failure(fail.trim(), outcome.err().map(|e| e.to_string()));
    }
    let value = outcome.map_err(|e| format!("failed: {e}"))?.value;
    if wanted.first() == Some(&"expect empty") {
        let empty = match &value {
            Value::Vector(v) => v.is_empty(),
            Value::Matrix(m) => m.is_empty(),
            Value::Streams(s) => s.is_empty(),
            Value::Scalar { .. } => false,
        };
        return if empty { Ok(()) } else { Err(format!("expected nothing, got {value:?}")) };
    }
    if wanted.is_empty() {
        return Err("the script expects nothing in particular".into());
    }
    compare(value, &wanted, ordered, steps)
}

fn expect_failure(how: &str, error: Option<String>) -> Result<(), String> {
    let Some(error) = error else { return Err("expected a failure, it succeeded".into()) };
    if let Some(text) = how.strip_prefix("msg:") {
        let text = text.trim();
        // Scripts quote what a label set quotes once more.
        if error.contains(text) || error.contains(&text.replace("\\\"", "\"")) {
            return Ok(());
        }
        return Err(format!("expected message {text:?}, got {error:?}"));
    }
    if let Some(text) = how.strip_prefix("regex:") {
        let regex = Regex::new(text.trim()).map_err(|e| e.to_string())?;
        if !regex.is_match(&error) {
            return Err(format!("expected message like {text:?}, got {error:?}"));
        }
    }
    Ok(())
}

fn number(text: &str) -> Result<f64, String> {
    unit::float(text)
}

/// `1 2 _ 3+1x2` as points.
fn points(text: &str) -> Result<Vec<Option<f64>>, String> {
    let mut out = Vec::new();
    for item in text.split_whitespace() {
        if item == "_" {
            out.push(None);
            continue;
        }
        let Some((series, count)) = item.rsplit_once('x').filter(|(s, _)| !s.is_empty()) else {
            out.push(Some(number(item)?));
            continue;
        };
        let count: usize = count.parse().map_err(|e| format!("bad count in {item}: {e}"))?;
        if series == "_" {
            out.extend(vec![None; count]);
            continue;
        }
        let sign = series.char_indices().skip(1).find(|(_, c)| matches!(c, '+' | '-'));
        let (base, step) = match sign {
            Some((at, _)) => series.split_at_checked(at).ok_or("bad step")?,
            None => (series, "0"),
        };
        let (base, step) = (number(base)?, number(step)?);
        out.extend((0..=count).map(|i| Some(base + step * i as f64)));
    }
    Ok(out)
}

fn close(a: f64, b: f64) -> bool {
    a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= 1e-9 * a.abs().max(b.abs())
}

/// `steps` is start and step of a range query.
fn compare(
    value: Value,
    wanted: &[&str],
    ordered: bool,
    steps: Option<(i64, i64)>,
) -> Result<(), String> {
    let mut got: Vec<(Labels, Vec<(i64, f64)>)> = match value {
        Value::Scalar { value, .. } => {
            let want = number(wanted.first().copied().unwrap_or(""))?;
            return if close(want, value) {
                Ok(())
            } else {
                Err(format!("expected {want}, got {value}"))
            };
        }
        Value::Streams(_) => return Err("got streams".into()),
        Value::Vector(v) => {
            v.into_iter().map(|s| (s.labels, vec![(s.timestamp.0, s.value)])).collect()
        }
        Value::Matrix(m) => m
            .into_iter()
            .map(|s| (s.labels, s.points.into_iter().map(|(t, v)| (t.0, v)).collect()))
            .collect(),
    };
    let mut want: Vec<(Labels, Vec<Option<f64>>)> = wanted
        .iter()
        .map(|line| {
            let (selector, rest) = split_selector(line)?;
            Ok((labels(selector)?, points(rest)?))
        })
        .collect::<Result<_, String>>()?;
    if !ordered {
        got.sort_by(|a, b| a.0.cmp(&b.0));
        want.sort_by(|a, b| a.0.cmp(&b.0));
    }
    let shown = format!("expected {want:?}, got {got:?}");
    if got.len() != want.len() {
        return Err(shown);
    }
    for ((labels, got), (want_labels, want)) in got.iter().zip(&want) {
        let want: Vec<(Option<i64>, f64)> = want
            .iter()
            .enumerate()
            .filter_map(|(i, v)| Some((steps.map(|(t, step)| t + step * i as i64), (*v)?)))
            .collect();
        let same = labels == want_labels
            && got.len() == want.len()
            && got
                .iter()
                .zip(&want)
                .all(|((t, g), (at, w))| close(*g, *w) && at.is_none_or(|at| at == *t));
        if !same {
            return Err(shown);
        }
    }
    Ok(())
}
