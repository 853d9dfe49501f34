//! Random queries answered by Debian's Prometheus 2.42 and by this engine, compared value by
//! value. Skipped aloud where `prometheus` and `promtool` are not installed.
//!
//! `VMOBS_DIFFERENTIAL_QUERIES` says how many (500), `VMOBS_DIFFERENTIAL_SEED` where to begin (1).

mod data;
mod generator;
mod metricsql;
mod peer;

use std::collections::BTreeMap;

use obs_promql::testing::MemorySource;
use obs_promql::{Engine, EngineError, QueryResult, Value};
use obs_types::{LabelSet, QueryContext, TimestampMs};
use peer::Peer;
use serde_json::Value as Json;

/// Values by labels and time, milliseconds.
type Points = BTreeMap<(LabelSet, i64), f64>;

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|v| v.parse().ok()).unwrap_or(default)
}

fn ours(result: Result<QueryResult, EngineError>) -> Result<Points, String> {
    let mut out = Points::new();
    match result.map_err(|e| e.to_string())?.value {
        Value::Scalar { timestamp_ms, value } => {
            out.insert((LabelSet::empty(), timestamp_ms), value);
        }
        Value::Vector(vector) => {
            for s in vector {
                out.insert((s.labels, s.timestamp_ms), s.value.as_float().unwrap_or(f64::NAN));
            }
        }
        Value::Matrix(matrix) => {
            for s in matrix {
                out.extend(s.floats.iter().map(|(t, v)| ((s.labels.clone(), *t), *v)));
            }
        }
        Value::String { .. } => {}
    }
    Ok(out)
}

fn theirs(data: Result<Json, String>) -> Result<Points, String> {
    let data = data?;
    let point = |p: &Json| {
        let text = p[1].as_str().unwrap();
        let value = match text {
            "+Inf" => f64::INFINITY,
            "-Inf" => f64::NEG_INFINITY,
            text => text.parse().unwrap(),
        };
        ((p[0].as_f64().unwrap() * 1000.0).round() as i64, value)
    };
    let mut out = Points::new();
    if data["resultType"] == "scalar" {
        let (t, v) = point(&data["result"]);
        out.insert((LabelSet::empty(), t), v);
        return Ok(out);
    }
    for s in data["result"].as_array().unwrap() {
        let labels = s["metric"].as_object().unwrap();
        let labels =
            LabelSet::from_pairs(labels.iter().map(|(n, v)| (n.as_str(), v.as_str().unwrap())));
        let points = s["values"]
            .as_array()
            .map_or_else(|| vec![point(&s["value"])], |v| v.iter().map(point).collect());
        out.extend(points.into_iter().map(|(t, v)| ((labels.clone(), t), v)));
    }
    Ok(out)
}

fn close(a: f64, b: f64) -> bool {
    a == b || a.is_nan() && b.is_nan() || (a - b).abs() <= 1e-6 + 1e-6 * a.abs().max(b.abs())
}

fn compare(ours: Result<Points, String>, theirs: Result<Points, String>) -> Result<bool, String> {
    match (ours, theirs) {
        (Err(_), Err(_)) => Ok(false),
        (Ok(_), Err(e)) => Err(format!("only the peer fails: {e}")),
        (Err(e), Ok(_)) => Err(format!("only we fail: {e}")),
        (Ok(ours), Ok(theirs)) => {
            for ((labels, t), v) in &theirs {
                match ours.get(&(labels.clone(), *t)) {
                    None => return Err(format!("{labels} at {t} is missing, should be {v}")),
                    Some(got) if !close(*got, *v) => {
                        return Err(format!("{labels} at {t}: {got}, the peer has {v}"));
                    }
                    Some(_) => {}
                }
            }
            match ours.iter().find(|(k, _)| !theirs.contains_key(k)) {
                Some(((labels, t), v)) => {
                    Err(format!("{labels} at {t} is {v}, the peer has nothing"))
                }
                None => Ok(!theirs.is_empty()),
            }
        }
    }
}

/// Whether both gave a result that is not empty; `Err` where they differ.
fn one(prometheus: &Peer, source: &MemorySource, seed: u64) -> Result<bool, String> {
    let query = generator::query(seed);
    let mut random = generator::Random::new(seed ^ 0xabcd);
    let engine = Engine::default();
    let context = QueryContext::unlimited();
    // On half seconds, where no sample and no point of a subquery lies.
    let at = data::START + 600_500 + random.below((data::LENGTH / 1000) as u64) as i64 * 1000;
    let seconds = |t: i64| format!("{}.{:03}", t / 1000, t % 1000);
    let instant = compare(
        ours(engine.instant(source, &query, TimestampMs(at), &context)),
        theirs(prometheus.query("query", &[("query", &query), ("time", &seconds(at))])),
    );
    let some = instant.map_err(|e| format!("seed {seed}: {query} at {at}: {e}"))?;
    let step = [7, 15, 60, 333][random.below(4) as usize];
    let end = at + step * 1000 * random.below(40) as i64;
    let range = compare(
        ours(engine.range(
            source,
            &query,
            TimestampMs(at),
            TimestampMs(end),
            step * 1000,
            &context,
        )),
        theirs(prometheus.query(
            "query_range",
            &[
                ("query", &query),
                ("start", &seconds(at)),
                ("end", &seconds(end)),
                ("step", &step.to_string()),
            ],
        )),
    );
    let range =
        range.map_err(|e| format!("seed {seed}: {query} from {at} to {end} by {step}s: {e}"));
    Ok(range? || some)
}

#[test]
fn random_queries_agree_with_prometheus() {
    let series = data::series();
    let Some(prometheus) = Peer::prometheus(&data::open_metrics(&series)) else {
        println!("skipped: prometheus and promtool are not installed");
        return;
    };
    let source = data::source(&series);
    let count = number("VMOBS_DIFFERENTIAL_QUERIES", 500);
    let first = number("VMOBS_DIFFERENTIAL_SEED", 1);
    let mut filled = 0;
    let mut failures = Vec::new();
    for seed in first..first + count {
        match one(&prometheus, &source, seed) {
            Ok(some) => filled += u64::from(some),
            Err(e) => {
                println!("{e}");
                failures.push(e);
            }
        }
    }
    println!("{count} queries, {filled} with a result, {} differ", failures.len());
    assert!(failures.is_empty(), "{} of {count} queries differ", failures.len());
    assert!(filled * 2 > count, "too few queries have a result: {filled} of {count}");
}
