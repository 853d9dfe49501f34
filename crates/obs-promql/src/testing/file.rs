//! The steps of a test file.

use std::collections::BTreeMap;
use std::sync::Arc;

use obs_types::{
    BucketSpan, CUSTOM_BUCKETS_SCHEMA, LabelSet, METRIC_NAME, NativeHistogram, SeriesData,
    TimestampMs,
};
use regex::Regex;

use super::series::{Item, parse_metric, parse_series, parse_values, split_metric, start_offsets};
use crate::text::{parse_duration_ms, parse_number, unquote};
use crate::{ParserOptions, QueryResult, parse};

pub(crate) enum Command {
    Clear,
    Load(Vec<SeriesData>),
    Eval(Box<Eval>),
}

/// What a line `expect fail|warn|… msg:…|regex:…` asks for.
pub(crate) enum Want {
    Any,
    Text(String),
    Pattern(Regex),
}

impl Want {
    fn matches(&self, s: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Text(t) => t == s,
            Self::Pattern(r) => r.is_match(s),
        }
    }
}

#[derive(Default)]
pub(crate) struct Eval {
    pub(crate) line: usize,
    pub(crate) expr: String,
    pub(crate) at: i64,
    pub(crate) range: Option<(i64, i64, i64)>,
    /// Time grid of the expected series.
    pub(crate) grid: (i64, i64, i64),
    pub(crate) only_instant: bool,
    pub(crate) wants: BTreeMap<String, Vec<Want>>,
    pub(crate) expected: BTreeMap<LabelSet, (usize, Vec<Item>)>,
    pub(crate) scalar: Option<f64>,
    pub(crate) string: Option<String>,
}

impl Eval {
    pub(crate) fn fails(&self) -> bool {
        self.wants.contains_key("fail")
    }

    pub(crate) fn ordered(&self) -> bool {
        self.wants.contains_key("ordered")
    }

    pub(crate) fn check_failure(&self, error: &str) -> Result<(), String> {
        match self.wants.get("fail") {
            None => Err(error.to_owned()),
            Some(w) if w.iter().all(|w| w.matches(error)) => Ok(()),
            Some(_) => Err(format!("another error than expected: {error}")),
        }
    }

    pub(crate) fn check_annotations(&self, r: &QueryResult) -> Result<(), String> {
        for (kind, none, found) in [("warn", "no_warn", &r.warnings), ("info", "no_info", &r.infos)]
        {
            if self.wants.contains_key(none) && !found.is_empty() {
                return Err(format!("unexpected {kind}: {found:?}"));
            }
            let Some(wants) = self.wants.get(kind) else { continue };
            if !wants.iter().all(|w| found.iter().any(|f| w.matches(f))) {
                return Err(format!("expected {kind} is missing, found {found:?}"));
            }
            if let Some(f) = found.iter().find(|f| !wants.iter().any(|w| w.matches(f))) {
                return Err(format!("unexpected {kind}: {f}"));
            }
        }
        Ok(())
    }
}

type Parsed<T> = Result<T, (usize, String)>;

pub(crate) fn parse_file(text: &str) -> Parsed<Vec<Command>> {
    let lines: Vec<&str> =
        text.lines().map(str::trim).map(|l| if l.starts_with('#') { "" } else { l }).collect();
    let mut out = Vec::new();
    let mut i = 0;
    while i < lines.len() {
        let line = lines[i];
        let number = i + 1;
        i += 1;
        if line.is_empty() {
            continue;
        }
        let word = line.split_whitespace().next().unwrap_or("").to_ascii_lowercase();
        if word == "clear" {
            out.push(Command::Clear);
            continue;
        }
        let from = i;
        while i < lines.len() && !lines[i].is_empty() && !lines[i].starts_with("eval ") {
            i += 1;
        }
        let body: Vec<(usize, &str)> = (from..i).map(|n| (n + 1, lines[n])).collect();
        if word.starts_with("load") {
            let step = line.split_whitespace().nth(1).unwrap_or("");
            let step = parse_duration_ms(step).map_err(|e| (number, e))?;
            out.push(Command::Load(load(&body, step, word == "load_with_nhcb")?));
        } else if word.starts_with("eval") {
            out.push(Command::Eval(Box::new(eval(line, number, &body)?)));
        } else {
            return Err((number, format!("invalid command {line:?}")));
        }
    }
    Ok(out)
}

fn load(body: &[(usize, &str)], step: i64, nhcb: bool) -> Parsed<Vec<SeriesData>> {
    let mut out: Vec<SeriesData> = Vec::new();
    let mut starts: Vec<Option<i64>> = Vec::new();
    for (number, line) in body {
        let fail = |e: String| (*number, e);
        let (head, rest) = split_metric(line);
        if head.ends_with("@st") {
            starts = start_offsets(rest).ok_or((*number, "invalid @st line".to_owned()))?;
            continue;
        }
        let mut s = parse_series(head, rest, TimestampMs(0), step).map_err(fail)?;
        let start = |t: &i64| {
            let place = usize::try_from(t / step.max(1)).unwrap_or(usize::MAX);
            starts.get(place).copied().flatten().map_or(0, |o| t + o)
        };
        s.start_timestamps = s.timestamps.iter().map(start).collect();
        s.histograms.start_timestamps = s.histograms.timestamps.iter().map(start).collect();
        starts.clear();
        out.push(s);
    }
    if nhcb {
        let converted = with_custom_buckets(&out);
        out.extend(converted);
    }
    Ok(out)
}

#[derive(Default)]
struct Classic {
    buckets: Vec<(f64, f64)>,
    count: Option<f64>,
    sum: f64,
}

/// Classic `_bucket`, `_count`, `_sum` series as one histogram with custom bounds each.
fn with_custom_buckets(series: &[SeriesData]) -> Vec<SeriesData> {
    let mut found: BTreeMap<LabelSet, BTreeMap<i64, Classic>> = BTreeMap::new();
    for s in series {
        let name = s.labels.metric_name();
        let Some((base, kind)) = ["_bucket", "_count", "_sum"]
            .iter()
            .find_map(|k| name.strip_suffix(k).map(|base| (base, *k)))
        else {
            continue;
        };
        let le = s.labels.get("le").and_then(parse_number);
        if kind == "_bucket" && le.is_none_or(f64::is_nan) {
            continue;
        }
        let labels = s.labels.without(&["le"]).with(METRIC_NAME, base);
        let points = found.entry(labels).or_default();
        for (t, v) in s.timestamps.iter().zip(&s.values) {
            let c = points.entry(*t).or_default();
            match kind {
                "_bucket" => c.buckets.push((le.unwrap_or(f64::INFINITY), *v)),
                "_count" => c.count = Some(*v),
                _ => c.sum = *v,
            }
        }
    }
    found
        .into_iter()
        .map(|(labels, points)| {
            let mut s = SeriesData { labels, ..SeriesData::default() };
            for (t, mut c) in points {
                c.buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
                let count = c.count.or(c.buckets.last().map(|b| b.1)).unwrap_or(0.0);
                if c.buckets.last().is_none_or(|b| b.0 != f64::INFINITY) {
                    c.buckets.push((f64::INFINITY, count));
                }
                let mut before = 0.0;
                let mut counts = Vec::new();
                for (_, cumulative) in &c.buckets {
                    counts.push(cumulative - before);
                    before = *cumulative;
                }
                let length = u32::try_from(counts.len()).unwrap_or(0);
                s.histograms.timestamps.push(t);
                s.histograms.start_timestamps.push(0);
                s.histograms.values.push(Arc::new(NativeHistogram {
                    schema: CUSTOM_BUCKETS_SCHEMA,
                    count,
                    sum: c.sum,
                    positive_spans: vec![BucketSpan { offset: 0, length }],
                    positive_buckets: counts,
                    custom_values: c
                        .buckets
                        .iter()
                        .map(|b| b.0)
                        .filter(|b| b.is_finite())
                        .collect(),
                    ..NativeHistogram::default()
                }));
            }
            s
        })
        .collect()
}

fn eval(line: &str, number: usize, body: &[(usize, &str)]) -> Parsed<Eval> {
    let fail = |what: &str| (number, format!("{what} in {line:?}"));
    let mut e = Eval { line: number, ..Eval::default() };
    let (command, rest) = line.split_once(char::is_whitespace).ok_or_else(|| fail("nothing"))?;
    if let Some(old) = command.strip_prefix("eval_") {
        e.wants.insert(old.to_owned(), vec![Want::Any]);
    }
    let duration = |w: &str| {
        let (negative, body) = w.strip_prefix('-').map_or((false, w), |b| (true, b));
        parse_duration_ms(body).map(|ms| if negative { -ms } else { ms }).map_err(|e| (number, e))
    };
    let mut rest = rest.trim_start();
    let mut word = || {
        let (w, tail) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
        rest = tail.trim_start();
        w
    };
    match word() {
        "instant" => {
            if word() != "at" {
                return Err(fail("missing `at`"));
            }
            e.at = duration(word())?;
            e.grid = (e.at, e.at, 1);
        }
        "range" => {
            let mut parts = Vec::new();
            for _ in 0..3 {
                word();
                parts.push(duration(word())?);
            }
            let [start, end, step] = parts[..] else { return Err(fail("bad range")) };
            e.range = Some((start, end, step));
            e.grid = (start, end, step);
        }
        _ => return Err(fail("neither instant nor range")),
    }
    e.expr = rest.to_owned();
    if let Err(error) = parse(&e.expr, &ParserOptions::all()) {
        return Err((number, error.to_string()));
    }
    let mut position = 0;
    for (n, text) in body {
        expectation(&mut e, text, &mut position).map_err(|m| (*n, m))?;
    }
    Ok(e)
}

fn expectation(e: &mut Eval, text: &str, position: &mut usize) -> Result<(), String> {
    if let Some(m) = text.strip_prefix("expected_fail_message") {
        e.wants.insert("fail".into(), vec![Want::Text(m.trim().to_owned())]);
        return Ok(());
    }
    if let Some(m) = text.strip_prefix("expected_fail_regexp") {
        let r = Regex::new(m.trim()).map_err(|e| e.to_string())?;
        e.wants.insert("fail".into(), vec![Want::Pattern(r)]);
        return Ok(());
    }
    if let Some(range) = text.strip_prefix("expect range vector from ") {
        let parts: Vec<i64> = range
            .split_whitespace()
            .filter(|w| *w != "to" && *w != "step")
            .map(parse_duration_ms)
            .collect::<Result<_, _>>()?;
        let [start, end, step] = parts[..] else { return Err("bad range vector".into()) };
        e.grid = (start, end, step);
        e.at = end;
        e.only_instant = true;
        return Ok(());
    }
    if let Some(s) = text.strip_prefix("expect string ") {
        e.string = Some(unquote(s.trim()).ok_or("bad string")?);
        e.only_instant = true;
        return Ok(());
    }
    if let Some(want) = text.strip_prefix("expect ") {
        let (kind, detail) = want.split_once(char::is_whitespace).unwrap_or((want, ""));
        let detail = detail.trim();
        let want = if let Some(m) = detail.strip_prefix("msg:") {
            Want::Text(m.trim().to_owned())
        } else if let Some(p) = detail.strip_prefix("regex:") {
            Want::Pattern(Regex::new(p.trim()).map_err(|e| e.to_string())?)
        } else {
            Want::Any
        };
        e.wants.entry(kind.to_owned()).or_default().push(want);
        return Ok(());
    }
    if let Some(v) = parse_number(text) {
        e.scalar = Some(v);
        return Ok(());
    }
    let (head, rest) = split_metric(text);
    *position += 1;
    e.expected.insert(parse_metric(head)?, (*position, parse_values(rest)?));
    Ok(())
}
