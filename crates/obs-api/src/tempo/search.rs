use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use obs_traceql::TraceMatch;
use serde_json::{Map, Value, json};

use super::{answer, key_values, window};
use crate::ApiState;
use crate::params::Params;
use crate::run::run;

/// The TraceQL of the older parameters `tags`, `minDuration` and `maxDuration`.
fn legacy(params: &Params) -> String {
    let mut tests: Vec<String> = Vec::new();
    for word in params.get("tags").unwrap_or("").split_whitespace() {
        if let Some((name, value)) = word.split_once('=') {
            let value = Value::from(value.trim_matches('"'));
            tests.push(match name {
                "service.name" => format!("resource.service.name={value}"),
                "name" | "status" => format!("{name}={value}"),
                _ => format!(".{name}={value}"),
            });
        }
    }
    for (param, op) in [("minDuration", ">="), ("maxDuration", "<=")] {
        if let Some(d) = params.get(param) {
            tests.push(format!("duration{op}{d}"));
        }
    }
    format!("{{ {} }}", tests.join(" && "))
}

pub(super) async fn search(State(state): State<Arc<ApiState>>, params: Params) -> Response {
    let work = async {
        let range = window(&params, &state)?;
        let limit = params.number("limit", 1)?.unwrap_or(20);
        let spans = params.number("spss", 0)?.unwrap_or(3);
        let text = params.get("q").map_or_else(|| legacy(&params), str::to_owned);
        let query = obs_traceql::parse(&text)?;
        let found = run(&state, None, move |s, context| {
            Ok(obs_traceql::search(s.front.traces.as_ref(), &query, range, limit, spans, context)?)
        })
        .await?;
        let traces: Vec<Value> = found.iter().map(trace).collect();
        Ok(Json(json!({
            "traces": traces,
            "metrics": {"inspectedTraces": found.len(), "completedJobs": 1, "totalJobs": 1},
        }))
        .into_response())
    };
    answer(work.await)
}

fn trace(t: &TraceMatch) -> Value {
    let sets: Vec<Value> = t
        .span_sets
        .iter()
        .map(|set| {
            let spans: Vec<Value> = set
                .spans
                .iter()
                .map(|s| {
                    json!({
                        "spanID": s.span_id.to_string(),
                        "name": s.name,
                        "startTimeUnixNano": s.start.0.to_string(),
                        "durationNanos": s.duration_ns.to_string(),
                        "attributes": key_values(&s.attributes),
                    })
                })
                .collect();
            let mut out = json!({"spans": spans, "matched": set.matched});
            if !set.attributes.is_empty()
                && let Some(map) = out.as_object_mut()
            {
                map.insert("attributes".to_owned(), json!(key_values(&set.attributes)));
            }
            out
        })
        .collect();
    let services: Map<String, Value> = t
        .services
        .iter()
        .map(|s| {
            (s.service.clone(), json!({"spanCount": s.span_count, "errorCount": s.error_count}))
        })
        .collect();
    let mut out = json!({
        "traceID": t.trace_id.to_string(),
        "rootServiceName": t.root_service,
        "rootTraceName": t.root_name,
        "startTimeUnixNano": t.start.0.to_string(),
        "durationMs": t.duration_ns / 1_000_000,
        "spanSets": sets,
        "serviceStats": services,
    });
    // The single set also under its old name, which older data sources read.
    if let (Some(map), Some(first)) = (out.as_object_mut(), sets.first()) {
        map.insert("spanSet".to_owned(), first.clone());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn older_parameters_become_traceql() {
        let p = Params::from_encoded(
            "tags=service.name%3Dportal%20http.status_code%3D500&minDuration=1s",
        );
        let text = legacy(&p);
        assert_eq!(
            text,
            r#"{ resource.service.name="portal" && .http.status_code="500" && duration>=1s }"#
        );
        assert!(obs_traceql::parse(&text).is_ok());
        assert!(obs_traceql::parse(&legacy(&Params::default())).is_ok());
    }
}
