//! Alertmanager's API v2 over vm-obs' own alerts and silences.
//! Source: Alertmanager 0.34 `api/v2/openapi.yaml`. Not here: alerts pushed from elsewhere, alert
//! groups and receivers.

use std::sync::Arc;

use axum::Json;
use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use obs_ops::{RoutedAlert, SilenceMatcher, SilenceRequest};
use obs_query::{format_time, parse_time};
use obs_rules::{Silence, SilenceStatus, time_text};
use obs_types::{LabelSet, Matcher, TimestampMs};
use serde_json::{Map, Value, json};

use crate::params::Params;
use crate::run::blocking;
use crate::{ApiError, ApiState};

/// The Alertmanager version whose API this is.
const COMPATIBLE_WITH: &str = "0.34.0";

/// The routes under `/alertmanager`.
pub(crate) fn routes() -> Router<Arc<ApiState>> {
    Router::new()
        .route("/api/v2/status", get(status))
        .route("/api/v2/alerts", get(alerts))
        .route("/api/v2/silences", get(silences).post(create))
        .route("/api/v2/silence/{id}", get(show).delete(expire))
        .route("/-/healthy", get(|| async { "OK" }))
        .route("/-/ready", get(|| async { "OK" }))
        .fallback(|| async { answer(Err(ApiError::not_found("no such endpoint"))) })
}

/// Errors of this dialect are JSON strings.
fn answer(result: Result<Response, ApiError>) -> Response {
    result.unwrap_or_else(|e| (e.status(), Json(json!(e.message))).into_response())
}

async fn status(State(state): State<Arc<ApiState>>) -> Response {
    Json(json!({
        "cluster": {"status": "disabled"},
        "versionInfo": {
            "version": COMPATIBLE_WITH, "revision": format!("vm-obs {}", state.info.version),
            "branch": "vm-obs", "buildUser": "", "buildDate": "", "goVersion": "",
        },
        "config": {"original": ""},
        "uptime": format_time(state.info.started),
    }))
    .into_response()
}

/// `true` unless the parameter says otherwise.
fn wanted(params: &Params, name: &str) -> Result<bool, ApiError> {
    match params.get(name) {
        None | Some("true") => Ok(true),
        Some("false") => Ok(false),
        Some(other) => Err(ApiError::invalid(format!("{name} is {other:?}, not true or false"))),
    }
}

/// `filter` parameters such as `alertname="NodeDown"`, all of which must hold.
fn filters(params: &Params) -> Result<Vec<Matcher>, ApiError> {
    let mut all = Vec::new();
    for text in params.all("filter") {
        let inner = text.trim().trim_start_matches('{').trim_end_matches('}');
        let parsed = obs_promql::parse_selector(&format!("{{{inner}}}"))
            .map_err(|e| ApiError::invalid(format!("bad matcher format: {text}: {e}")))?;
        all.extend(parsed);
    }
    Ok(all)
}

fn alert_json(routed: &RoutedAlert, labels: &LabelSet, now: TimestampMs) -> Value {
    let a = &routed.alert;
    let suppressed = !routed.silenced_by.is_empty() || !routed.inhibited_by.is_empty();
    let pairs: Map<String, Value> = labels.iter().map(|(n, v)| (n.to_owned(), json!(v))).collect();
    let receivers: Vec<Value> = a.notified.iter().map(|name| json!({"name": name})).collect();
    json!({
        "annotations": a.annotations,
        "receivers": receivers,
        "fingerprint": format!("{:016x}", labels.stable_hash()),
        "startsAt": time_text(a.fired_at.unwrap_or(a.active_at)),
        "updatedAt": time_text(now),
        // A firing alert ends when it resolves; until then a date shows that it lives.
        "endsAt": time_text(TimestampMs(now.0.saturating_add(240_000))),
        "status": {
            "state": if suppressed { "suppressed" } else { "active" },
            "silencedBy": routed.silenced_by,
            "inhibitedBy": routed.inhibited_by,
            "mutedBy": [],
        },
        "labels": pairs,
        "generatorURL": "",
    })
}

async fn alerts(State(state): State<Arc<ApiState>>, params: Params) -> Response {
    let work = async {
        let filters = filters(&params)?;
        let (active, silenced, inhibited) = (
            wanted(&params, "active")?,
            wanted(&params, "silenced")?,
            wanted(&params, "inhibited")?,
        );
        let found = blocking(&state, move |s| {
            let now = s.front.now();
            let mut found: Vec<Value> = Vec::new();
            for routed in s.alerts.routed(now) {
                let held = !routed.silenced_by.is_empty() || !routed.inhibited_by.is_empty();
                if (!silenced && !routed.silenced_by.is_empty())
                    || (!inhibited && !routed.inhibited_by.is_empty())
                    || (!active && !held)
                {
                    continue;
                }
                let labels = routed.alert.routing_labels();
                if obs_types::matches_all(&filters, &labels) {
                    found.push(alert_json(&routed, &labels, now));
                }
            }
            found
        })
        .await?;
        Ok(Json(found).into_response())
    };
    answer(work.await)
}

fn silence_json(silence: &Silence, now: TimestampMs) -> Value {
    let matchers: Vec<Value> = silence
        .matchers
        .iter()
        .map(|m| {
            json!({
                "name": m.name, "value": m.value,
                "isRegex": m.op.ends_with('~'), "isEqual": !m.op.starts_with('!'),
            })
        })
        .collect();
    json!({
        "id": silence.id,
        "status": {"state": silence.status(now).as_str()},
        "matchers": matchers,
        "startsAt": time_text(silence.starts_at),
        "endsAt": time_text(silence.ends_at),
        "updatedAt": time_text(silence.updated_at),
        "createdBy": silence.created_by,
        "comment": silence.reason,
    })
}

async fn silences(State(state): State<Arc<ApiState>>, params: Params) -> Response {
    let work = async {
        let filters = filters(&params)?;
        let active = wanted(&params, "active")?;
        let expired = wanted(&params, "expired")?;
        let pending = wanted(&params, "pending")?;
        let found: Vec<Value> = blocking(&state, move |s| {
            let now = s.front.now();
            s.alerts
                .silence_records(now)
                .iter()
                .filter(|silence| match silence.status(now) {
                    SilenceStatus::Active => active,
                    SilenceStatus::Expired => expired,
                    SilenceStatus::Pending => pending,
                })
                .filter(|silence| {
                    filters.iter().all(|f| {
                        silence.matchers.iter().any(|m| m.name == f.name() && f.matches(&m.value))
                    })
                })
                .map(|silence| silence_json(silence, now))
                .collect()
        })
        .await?;
        Ok(Json(found).into_response())
    };
    answer(work.await)
}

async fn show(State(state): State<Arc<ApiState>>, Path(id): Path<String>) -> Response {
    let work = async {
        let now = state.front.now();
        let all = blocking(&state, move |s| s.alerts.silence_records(now)).await?;
        all.iter()
            .find(|s| s.id == id)
            .map(|s| Json(silence_json(s, now)).into_response())
            .ok_or_else(|| ApiError::not_found(format!("silence {id} not found")))
    };
    answer(work.await)
}

async fn expire(State(state): State<Arc<ApiState>>, Path(id): Path<String>) -> Response {
    let work = async {
        let now = state.front.now();
        blocking(&state, move |s| s.alerts.expire_silence(&id, "alertmanager-api", None, now))
            .await??;
        Ok(().into_response())
    };
    answer(work.await)
}

fn text<'a>(body: &'a Value, name: &str) -> Result<&'a str, ApiError> {
    body.get(name)
        .and_then(Value::as_str)
        .ok_or_else(|| ApiError::invalid(format!("{name} in body is required")))
}

fn matcher(given: &Value) -> Result<SilenceMatcher, ApiError> {
    let flag = |name: &str, default: bool| match given.get(name) {
        None | Some(Value::Null) => Ok(default),
        Some(Value::Bool(b)) => Ok(*b),
        Some(_) => Err(ApiError::invalid(format!("matchers.{name} must be a boolean"))),
    };
    let op = match (flag("isEqual", true)?, flag("isRegex", false)?) {
        (true, false) => "=",
        (false, false) => "!=",
        (true, true) => "=~",
        (false, true) => "!~",
    };
    Ok(SilenceMatcher {
        name: text(given, "name")?.to_owned(),
        op: op.to_owned(),
        value: text(given, "value")?.to_owned(),
    })
}

/// Makes a silence. With an `id` it takes the place of that one, which ends now: what was in force
/// stays on record as it was.
async fn create(State(state): State<Arc<ApiState>>, body: Bytes) -> Response {
    let work = async {
        let body: Value = serde_json::from_slice(&body)
            .map_err(|e| ApiError::invalid(format!("parsing body failed: {e}")))?;
        let now = state.front.now();
        let time =
            |name: &str| Ok::<_, ApiError>(parse_time(text(&body, name)?, now)?.floor_to_ms());
        let (starts, ends) = (time("startsAt")?, time("endsAt")?);
        if ends <= starts {
            return Err(ApiError::invalid("start time must be before end time"));
        }
        if ends <= now {
            return Err(ApiError::invalid("end time can't be in the past"));
        }
        let starts = starts.max(now);
        let matchers = body.get("matchers").and_then(Value::as_array);
        let request = SilenceRequest {
            node: None,
            matchers: matchers.into_iter().flatten().map(matcher).collect::<Result<_, _>>()?,
            starts_at: Some(starts),
            duration_ms: ends.0.saturating_sub(starts.0),
            reason: text(&body, "comment")?.to_owned(),
            created_by: text(&body, "createdBy")?.to_owned(),
        };
        let replaced = body.get("id").and_then(Value::as_str).filter(|id| !id.is_empty());
        let replaced = replaced.map(str::to_owned);
        let made = blocking(&state, move |s| {
            if let Some(id) = &replaced
                && !s.alerts.silence_records(now).iter().any(|known| known.id == *id)
            {
                return Err(ApiError::not_found(format!("silence {id} not found")));
            }
            let by = request.created_by.clone();
            let (silence, _seq) = s.alerts.silence(request, None, now)?;
            if let Some(id) = &replaced {
                s.alerts.expire_silence(id, &by, None, now)?;
            }
            Ok(silence)
        })
        .await??;
        Ok(Json(json!({"silenceID": made.get("id")})).into_response())
    };
    answer(work.await)
}
