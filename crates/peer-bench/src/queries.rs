//! The questions, their answers in a comparable form, and how long they take.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::Context;
use obs_testkit::Client;
use serde_json::Value;

/// Engines sum floats in different orders.
const TOLERANCE: f64 = 1e-9;

/// A question.
#[derive(Clone, Debug)]
pub(crate) struct Query {
    pub(crate) name: &'static str,
    pub(crate) expression: String,
    /// `None`: instant at the end; else start and step in seconds.
    pub(crate) range: Option<(f64, i64)>,
    pub(crate) end: f64,
    /// No series at all is an answer too.
    pub(crate) may_be_empty: bool,
}

/// An engine's answer to one question.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) values: Values,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
}

/// Series, by sorted labels, to time and value.
pub(crate) type Values = BTreeMap<String, Vec<(i64, f64)>>;

/// Rounds before the timed ones.
const WARM_UP: usize = 2;
/// A query is asked again for at most so long, but this often in any case.
const QUERY_PATIENCE: Duration = Duration::from_secs(5);
const ROUNDS_MIN: usize = 5;

/// Asks everything up to `repeat` times after a warm-up, whose first round is what is compared.
pub(crate) fn ask(address: &str, queries: &[Query], repeat: usize) -> anyhow::Result<Vec<Answer>> {
    let mut client = Client::new(address);
    let mut out = Vec::new();
    for query in queries {
        let mut times = Vec::new();
        let mut values = Values::new();
        let begun = Instant::now();
        for round in 0..repeat.max(1) + WARM_UP {
            if round >= ROUNDS_MIN + WARM_UP && begun.elapsed() > QUERY_PATIENCE {
                break;
            }
            let started = Instant::now();
            let reply = once(&mut client, query)
                .with_context(|| format!("{}: {}", query.name, query.expression))?;
            if round >= WARM_UP {
                times.push(started.elapsed().as_secs_f64() * 1000.0);
            }
            if round == 0 {
                values = parse(&reply)
                    .with_context(|| format!("{}: {}", query.name, query.expression))?;
            }
        }
        anyhow::ensure!(
            query.may_be_empty || !values.is_empty(),
            "{}: no answer to {}",
            query.name,
            query.expression
        );
        times.sort_by(f64::total_cmp);
        out.push(Answer { values, p50_ms: quantile(&times, 0.5), p99_ms: quantile(&times, 0.99) });
    }
    Ok(out)
}

/// Whether the engine answers every question as before.
pub(crate) fn is_whole(address: &str, queries: &[Query], answers: &[Answer]) -> bool {
    let mut client = Client::new(address);
    queries.iter().zip(answers).all(|(query, answer)| {
        let reply = once(&mut client, query).and_then(|reply| parse(&reply));
        reply.is_ok_and(|values| same(&values, &answer.values))
    })
}

fn once(client: &mut Client, query: &Query) -> anyhow::Result<Value> {
    let end = format!("{:.3}", query.end);
    let reply = match query.range {
        None => client.query("/api/v1/query", &[("query", &query.expression), ("time", &end)])?,
        Some((start, step)) => client.query(
            "/api/v1/query_range",
            &[
                ("query", &query.expression),
                ("start", &format!("{start:.3}")),
                ("end", &end),
                ("step", &step.to_string()),
                // VictoriaMetrics moves the bounds of cached ranges; the others ignore this.
                ("nocache", "1"),
            ],
        )?,
    };
    anyhow::ensure!(reply.status == 200, "status {}: {}", reply.status, reply.text());
    Ok(reply.json())
}

pub(crate) fn parse(reply: &Value) -> anyhow::Result<Values> {
    let result = reply.pointer("/data/result").and_then(Value::as_array).context("no result")?;
    // Some engines keep the metric name where others drop it, so it counts only where series
    // cannot be told apart without it.
    let without = keyed(result, false);
    Ok(if without.len() == result.len() { without } else { keyed(result, true) })
}

fn keyed(result: &[Value], named: bool) -> Values {
    let mut out = Values::new();
    for series in result {
        let labels: BTreeMap<&str, &str> = series
            .get("metric")
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
            .filter_map(|(k, v)| Some((k.as_str(), v.as_str()?)))
            .filter(|(k, _)| named || *k != "__name__")
            .collect();
        let one = series.get("value").into_iter();
        let many = series.get("values").and_then(Value::as_array).into_iter().flatten();
        let points = one.chain(many).filter_map(point).collect();
        out.insert(format!("{labels:?}"), points);
    }
    out
}

fn point(pair: &Value) -> Option<(i64, f64)> {
    let time = pair.get(0)?.as_f64()?;
    let value = pair.get(1)?.as_str()?.parse().ok()?;
    Some(((time * 1000.0).round() as i64, value))
}

/// Same series, same times, values within rounding.
pub(crate) fn same(a: &Values, b: &Values) -> bool {
    a.len() == b.len()
        && a.iter().zip(b).all(|((ka, va), (kb, vb))| {
            ka == kb
                && va.len() == vb.len()
                && va.iter().zip(vb).all(|((ta, x), (tb, y))| {
                    ta == tb && (x - y).abs() <= TOLERANCE * x.abs().max(y.abs()).max(1.0)
                })
        })
}

/// Nearest rank of a sorted list.
fn quantile(sorted: &[f64], q: f64) -> f64 {
    let rank = (sorted.len() as f64 * q).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).or(sorted.last()).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn answers_compare_by_labels_times_and_values() {
        let reply = |v: &str| {
            parse(&json!({"data": {"result": [
                {"metric": {"__name__": "x", "b": "2", "a": "1"}, "value": [10, v]}]}}))
            .unwrap()
        };
        assert!(same(&reply("3"), &reply("3.0000000000001")));
        assert!(!same(&reply("3"), &reply("3.1")));
        assert!(!same(&reply("3"), &Values::new()));
        let named = |a: &str, b: &str| {
            parse(&json!({"data": {"result": [
                {"metric": {"__name__": a}, "value": [1, "1"]},
                {"metric": {"__name__": b}, "value": [1, "2"]}]}}))
            .unwrap()
        };
        assert_eq!(named("x", "y").len(), 2);
        assert!(!same(&named("x", "y"), &named("x", "z")));
        assert!(parse(&json!({"status": "error"})).is_err());
    }

    #[test]
    fn quantiles_are_values_of_the_list() {
        let list = [1.0, 2.0, 3.0, 4.0];
        assert_eq!((quantile(&list, 0.5), quantile(&list, 0.99)), (2.0, 4.0));
        assert!(quantile(&[], 0.5).is_nan());
    }
}
