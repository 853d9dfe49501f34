use obs_logql::{Labels, QueryResult, ResultStream, Value as LogValue};
use obs_types::{Direction, TimestampNs};
use serde_json::{Map, Value, json};

use crate::prometheus::number;

fn labels(labels: &Labels) -> Value {
    Value::Object(labels.iter().map(|(n, v)| (n.to_owned(), Value::from(v))).collect())
}

/// Seconds with fraction, as metric samples carry them.
fn seconds(t: TimestampNs) -> Value {
    let (whole, rest) = (t.0.div_euclid(1_000_000_000), t.0.rem_euclid(1_000_000_000));
    if rest == 0 { json!(whole) } else { json!(t.0 as f64 / 1e9) }
}

fn stream(s: &ResultStream, categorized: bool) -> Value {
    let values: Vec<Value> = s
        .entries
        .iter()
        .map(|e| {
            let mut tuple = vec![json!(e.timestamp.0.to_string()), json!(e.line)];
            if categorized {
                let mut extra = Map::new();
                for (name, set) in [("structuredMetadata", &e.metadata), ("parsed", &e.parsed)] {
                    if !set.is_empty() {
                        extra.insert(name.to_owned(), labels(set));
                    }
                }
                tuple.push(Value::Object(extra));
            }
            Value::Array(tuple)
        })
        .collect();
    json!({"stream": labels(&s.labels), "values": values})
}

/// The whole body of a query's answer. `direction` is that of the request: streams that become one
/// by categorizing keep it.
pub(super) fn body(
    result: &QueryResult,
    categorized: bool,
    direction: Direction,
    seconds_taken: f64,
) -> Value {
    let (kind, values) = match &result.value {
        LogValue::Streams(streams) => {
            let merged = categorized.then(|| {
                let mut merged = ResultStream::categorized(streams);
                for stream in &mut merged {
                    match direction {
                        Direction::Forward => stream.entries.sort_by_key(|e| e.timestamp),
                        Direction::Backward => {
                            stream.entries.sort_by_key(|e| std::cmp::Reverse(e.timestamp));
                        }
                    }
                }
                merged
            });
            let streams = merged.as_ref().unwrap_or(streams);
            ("streams", streams.iter().map(|s| stream(s, categorized)).collect::<Vec<_>>().into())
        }
        LogValue::Vector(samples) => (
            "vector",
            samples
                .iter()
                .map(|s| {
                    json!({"metric": labels(&s.labels), "value": [seconds(s.timestamp), number(s.value)]})
                })
                .collect::<Vec<_>>()
                .into(),
        ),
        LogValue::Matrix(series) => (
            "matrix",
            series
                .iter()
                .map(|s| {
                    let points: Vec<Value> =
                        s.points.iter().map(|(t, v)| json!([seconds(*t), number(*v)])).collect();
                    json!({"metric": labels(&s.labels), "values": points})
                })
                .collect::<Vec<_>>()
                .into(),
        ),
        LogValue::Scalar { timestamp, value } => {
            ("scalar", json!([seconds(*timestamp), number(*value)]))
        }
    };
    let mut data = json!({"resultType": kind, "result": values});
    if let Some(data) = data.as_object_mut() {
        if categorized && kind == "streams" {
            data.insert("encodingFlags".to_owned(), json!(["categorize-labels"]));
        }
        data.insert("stats".to_owned(), stats(result, seconds_taken));
    }
    json!({"status": "success", "data": data})
}

fn stats(result: &QueryResult, seconds_taken: f64) -> Value {
    let s = &result.stats;
    let rate = |n: u64| if seconds_taken > 0.0 { (n as f64 / seconds_taken) as u64 } else { 0 };
    json!({"summary": {
        "bytesProcessedPerSecond": rate(s.bytes_read),
        "linesProcessedPerSecond": rate(s.lines_read),
        "totalBytesProcessed": s.bytes_read,
        "totalLinesProcessed": s.lines_read,
        "execTime": seconds_taken,
        "queueTime": 0,
        "subqueries": 0,
        "totalEntriesReturned": s.returned,
        "splits": 0,
        "shards": 0,
        "totalPostFilterLines": s.lines_passed,
        "totalStructuredMetadataBytesProcessed": 0,
    }})
}
