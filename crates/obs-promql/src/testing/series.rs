//! Series lines: a metric, then values such as `1 2 _ 0+10x5 {{schema:0 count:3}}`.

use std::sync::Arc;

use obs_types::{
    BucketSpan, CounterResetHint, LabelSet, METRIC_NAME, MatchOp, NativeHistogram, SeriesData,
    TimestampMs,
};

use crate::ParserOptions;
use crate::ast::ExprKind;
use crate::histogram::Accumulator;
use crate::text::{parse_duration_ms, parse_number};

/// Most values that one sequence may expand to.
const VALUES_MAX: usize = 1_000_000;

/// One place in a sequence of values.
#[derive(Clone, Debug)]
pub enum Item {
    /// `_`: no sample at this place.
    Omitted,
    Float(f64),
    /// With whether a counter-reset hint was written.
    Hist(Arc<NativeHistogram>, bool),
}

/// A series of the notation of Prometheus' test files: `metric` as [`parse_metric`] reads it,
/// `values` as [`parse_values`] does, the first at `start`, each `interval_ms` after the one
/// before; places without a sample are left out.
pub fn parse_series(
    metric: &str,
    values: &str,
    start: TimestampMs,
    interval_ms: i64,
) -> Result<SeriesData, String> {
    let mut data = SeriesData { labels: parse_metric(metric)?, ..SeriesData::default() };
    let mut t = start.0;
    for item in parse_values(values)? {
        match item {
            Item::Omitted => {}
            Item::Float(v) => {
                data.timestamps.push(t);
                data.values.push(v);
            }
            Item::Hist(h, _) => {
                data.histograms.timestamps.push(t);
                data.histograms.values.push(h);
            }
        }
        t = t.saturating_add(interval_ms);
    }
    Ok(data)
}

/// Splits a line into its metric and the rest: at the first blank outside quotes and braces.
pub(crate) fn split_metric(line: &str) -> (&str, &str) {
    let (mut depth, mut quote, mut escaped) = (0, None, false);
    for (i, c) in line.char_indices() {
        match (quote, c) {
            (Some(_), _) if escaped => escaped = false,
            (Some(q), '\\') if q != '`' => escaped = true,
            (Some(q), c) if c == q => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'' | '`') => quote = Some(c),
            (None, '{') if line.get(i..).is_some_and(|r| r.starts_with("{{")) && depth == 0 => {
                return line.split_at(i);
            }
            (None, '{') => depth += 1,
            (None, '}') => {
                depth -= 1;
                let rest = line.get(i + 1..).unwrap_or("");
                if depth == 0 && !rest.starts_with("@st") {
                    return line.split_at(i + 1);
                }
            }
            (None, c) if c.is_whitespace() && depth == 0 => {
                // A brace may follow the name after blanks.
                let rest = line.get(i..).unwrap_or("").trim_start();
                if !rest.starts_with('{') || rest.starts_with("{{") {
                    return line.split_at(i);
                }
            }
            _ => {}
        }
    }
    (line, "")
}

/// Labels from `name{a="b"}`, `{a="b"}`, `{"name", a="b"}`, `{}` or nothing. `Err` where another
/// operator than `=` stands.
pub fn parse_metric(text: &str) -> Result<LabelSet, String> {
    let text = text.trim();
    let brace = text.find('{').unwrap_or(text.len());
    let (name, labels) = text.split_at(brace);
    let name = name.trim();
    if !name.is_empty() && !crate::text::is_legacy_label(&name.replace(':', "_")) {
        return Err(format!("{text:?}: {name:?} is no metric name"));
    }
    let probe = if labels.is_empty() { "{}" } else { labels };
    // The one place of the grammar where a selector may match the empty set.
    let probe = format!("info(x, {probe})");
    let expr = crate::parse(&probe, &ParserOptions::all()).map_err(|e| format!("{text:?}: {e}"))?;
    let no_metric = || format!("{text:?} is no metric");
    let ExprKind::Call(c) = expr.kind else { return Err(no_metric()) };
    let Some(ExprKind::Vector(v)) = c.args.into_iter().nth(1).map(|a| a.kind) else {
        return Err(no_metric());
    };
    let mut b = LabelSet::empty().to_builder();
    for m in &v.matchers {
        if m.op() != MatchOp::Equal {
            return Err(format!("{text:?}: labels are given with ="));
        }
        b.set(m.name(), m.value());
    }
    if !name.is_empty() {
        b.set(METRIC_NAME, name);
    }
    Ok(b.build())
}

/// Splits at blanks outside `{{…}}`.
fn words(text: &str) -> Vec<&str> {
    let mut out = Vec::new();
    let (mut start, mut depth) = (None, 0i32);
    for (i, c) in text.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if c.is_whitespace() && depth == 0 {
            if let Some(s) = start.take() {
                out.extend(text.get(s..i));
            }
        } else if start.is_none() {
            start = Some(i);
        }
    }
    if let Some(s) = start {
        out.extend(text.get(s..));
    }
    out
}

/// A sequence of values, separated by blanks: `1.5`, `1m` (seconds), `_`, `_x3`, `stale`,
/// `0+10x5` (six values), `{{schema:0 count:3}}`, `{{…}}x2`, `{{…}}+{{…}}x2`. `Err` names the word
/// that is not understood; a sequence has at most a million values.
pub fn parse_values(text: &str) -> Result<Vec<Item>, String> {
    let mut out = Vec::new();
    for w in words(text) {
        if out.len().saturating_add(repetitions(w)) > VALUES_MAX {
            return Err(format!("a series has more than {VALUES_MAX} values"));
        }
        one(w, &mut out).ok_or_else(|| format!("invalid series value {w:?}"))??;
    }
    Ok(out)
}

/// How many values a word asks for.
fn repetitions(w: &str) -> usize {
    let digits = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
    match w.rsplit_once('x') {
        Some((_, n)) if digits(n) => n.parse().unwrap_or(usize::MAX),
        _ => 1,
    }
}

fn number(s: &str) -> Option<f64> {
    let (negative, body) = match s.strip_prefix('-') {
        Some(b) => (true, b),
        None => (false, s.strip_prefix('+').unwrap_or(s)),
    };
    let v =
        parse_number(body).or_else(|| parse_duration_ms(body).ok().map(|ms| ms as f64 / 1000.0))?;
    Some(if negative { -v } else { v })
}

fn one(w: &str, out: &mut Vec<Item>) -> Option<Result<(), String>> {
    if w == "_" {
        out.push(Item::Omitted);
        return Some(Ok(()));
    }
    if let Some(n) = w.strip_prefix("_x") {
        let n: usize = n.parse().ok()?;
        out.extend(std::iter::repeat_n(Item::Omitted, n));
        return Some(Ok(()));
    }
    if w.starts_with("{{") {
        return hist_item(w, out);
    }
    if w == "stale" {
        out.push(Item::Float(obs_types::stale_nan()));
        return Some(Ok(()));
    }
    let Some((head, times)) = w.rsplit_once('x') else {
        out.push(Item::Float(number(w)?));
        return Some(Ok(()));
    };
    let times: usize = times.parse().ok()?;
    if head == "stale" {
        out.extend(std::iter::repeat_n(Item::Float(obs_types::stale_nan()), times + 1));
        return Some(Ok(()));
    }
    // The increment starts at the last sign that is not part of an exponent.
    let bytes = head.as_bytes();
    let split = (1..bytes.len())
        .rev()
        .find(|i| matches!(bytes[*i], b'+' | b'-') && !matches!(bytes[i - 1], b'e' | b'E'));
    let (base, step) = match split {
        Some(i) => (number(head.get(..i)?)?, number(head.get(i..)?)?),
        None => (number(head)?, 0.0),
    };
    let mut v = base;
    for _ in 0..=times {
        out.push(Item::Float(v));
        v += step;
    }
    Some(Ok(()))
}

fn hist_item(w: &str, out: &mut Vec<Item>) -> Option<Result<(), String>> {
    let end = w.find("}}")?;
    let (base, hint) = histogram(w.get(2..end)?)?;
    let rest = w.get(end + 2..)?;
    if rest.is_empty() {
        out.push(Item::Hist(Arc::new(base), hint));
        return Some(Ok(()));
    }
    if let Some(n) = rest.strip_prefix('x') {
        let n: usize = n.parse().ok()?;
        out.extend(std::iter::repeat_n(Item::Hist(Arc::new(base), hint), n + 1));
        return Some(Ok(()));
    }
    let (sign, rest) = rest.split_at_checked(1).filter(|(s, _)| matches!(*s, "+" | "-"))?;
    let (step, times) = rest.strip_prefix("{{")?.split_once("}}")?;
    let (step, step_hint) = histogram(step)?;
    let times: usize = times.strip_prefix('x').map_or(Some(0), |n| n.parse().ok())?;
    let mut current = base;
    out.push(Item::Hist(Arc::new(current.clone()), step_hint));
    for _ in 0..times {
        let mut acc = Accumulator::new(&current);
        let done = if sign == "+" { acc.add(&step) } else { acc.sub(&step) };
        if done.is_err() {
            return Some(Err("histograms cannot be combined".into()));
        }
        current = acc.finish();
        out.push(Item::Hist(Arc::new(current.clone()), step_hint));
    }
    Some(Ok(()))
}

/// One histogram, `{{schema:0 count:3 buckets:[1 2]}}`. `None` if it is not understood.
pub fn parse_histogram(text: &str) -> Option<NativeHistogram> {
    let inside = text.trim().strip_prefix("{{")?.strip_suffix("}}")?;
    histogram(inside).map(|(h, _)| h)
}

/// What stands between `{{` and `}}`, and whether it has a counter-reset hint.
fn histogram(text: &str) -> Option<(NativeHistogram, bool)> {
    let mut h = NativeHistogram::default();
    let mut hint_written = false;
    let (mut offset, mut negative_offset) = (0, 0);
    let mut rest = text.trim();
    while !rest.is_empty() {
        let (key, tail) = rest.split_once(':')?;
        let (value, tail) = if let Some(list) = tail.strip_prefix('[') {
            list.split_once(']')?
        } else {
            tail.split_once(char::is_whitespace).unwrap_or((tail, ""))
        };
        let list = || value.split_whitespace().map(number).collect::<Option<Vec<f64>>>();
        match key.trim() {
            "schema" => h.schema = value.parse().ok()?,
            "sum" => h.sum = number(value)?,
            "count" => h.count = number(value)?,
            "z_bucket" => h.zero_count = number(value)?,
            "z_bucket_w" => h.zero_threshold = number(value)?,
            "buckets" => h.positive_buckets = list()?,
            "n_buckets" => h.negative_buckets = list()?,
            "custom_values" => h.custom_values = list()?,
            "offset" => offset = value.parse().ok()?,
            "n_offset" => negative_offset = value.parse().ok()?,
            "counter_reset_hint" => {
                hint_written = true;
                h.counter_reset_hint = match value {
                    "unknown" => CounterResetHint::Unknown,
                    "reset" => CounterResetHint::Reset,
                    "not_reset" => CounterResetHint::NotReset,
                    "gauge" => CounterResetHint::Gauge,
                    _ => return None,
                };
            }
            _ => return None,
        }
        rest = tail.trim();
    }
    let span = |offset, n: usize| {
        let length = u32::try_from(n).unwrap_or(0);
        if n == 0 { Vec::new() } else { vec![BucketSpan { offset, length }] }
    };
    h.positive_spans = span(offset, h.positive_buckets.len());
    h.negative_spans = span(negative_offset, h.negative_buckets.len());
    Some((h, hint_written))
}

/// Start timestamps of a `…@st` line, as offsets from their samples in milliseconds.
pub(crate) fn start_offsets(text: &str) -> Option<Vec<Option<i64>>> {
    let mut out = Vec::new();
    for w in text.split_whitespace() {
        if w == "_" {
            out.push(None);
        } else if let Some(n) = w.strip_prefix("_x") {
            out.extend(std::iter::repeat_n(None, n.parse().ok()?));
        } else {
            let (head, times) = match w.rsplit_once('x') {
                Some((h, n)) => (h, n.parse::<usize>().ok()?),
                None => (w, 0),
            };
            let split = head.get(1..)?.find(['+', '-']).map(|i| i + 1);
            let (base, step) = match split {
                Some(i) => (signed(head.get(..i)?)?, signed(head.get(i..)?)?),
                None => (signed(head)?, 0),
            };
            out.extend((0..=times as i64).map(|i| Some(base + i * step)));
        }
    }
    Some(out)
}

fn signed(s: &str) -> Option<i64> {
    match s.strip_prefix('-') {
        Some(b) => parse_duration_ms(b).ok().map(|v| -v),
        None => parse_duration_ms(s.strip_prefix('+').unwrap_or(s)).ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show(text: &str) -> Vec<String> {
        let one = |i| match i {
            Item::Omitted => "_".to_owned(),
            Item::Float(v) if obs_types::is_stale(v) => "stale".to_owned(),
            Item::Float(v) => v.to_string(),
            Item::Hist(h, _) => format!("h{}", h.count),
        };
        parse_values(text).unwrap().into_iter().map(one).collect()
    }

    #[test]
    fn expands_what_promtool_does() {
        assert_eq!(show("1 _ 3"), ["1", "_", "3"]);
        assert_eq!(show("0+10x2"), ["0", "10", "20"]);
        assert_eq!(show("10-2x2 _x2 stale"), ["10", "8", "6", "_", "_", "stale"]);
        assert_eq!(show("1x2"), ["1", "1", "1"]);
        assert_eq!(show("1e-1+1e1x1"), ["0.1", "10.1"]);
        assert_eq!(
            show("{{count:2 sum:3 buckets:[2]}}+{{count:1 sum:1 buckets:[1]}}x2"),
            ["h2", "h3", "h4"]
        );
        for bad in ["a", "1+x2", "{{count:x}}", "{{count:1", "1x99999999", "{{count:1}}?", "{{}}é"]
        {
            assert!(parse_values(bad).is_err(), "{bad}");
        }
        assert!(parse_metric("up{a=\"b\"").is_err());
        assert!(parse_metric("up{a=~\"b\"}").is_err());
        assert!(parse_metric("up down").is_err());
        assert_eq!(parse_metric("{}").unwrap(), LabelSet::empty());
        assert_eq!(parse_metric("a:b{c=\"d\"}").unwrap().to_string(), "a:b{c=\"d\"}");
    }
}
