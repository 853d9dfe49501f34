//! Dashboards: listing, reading, checking, saving, their versions.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, RawQuery, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use obs_dash::{Dashboard, Linted, Problem};
use obs_ops::{
    DashboardOrigin, DashboardVersion, FaultyFile, InstalledDashboard, OpsError, SaveError,
    SaveRequest,
};
use obs_types::ErrorKind;
use serde_json::{Value, json};

use crate::params::Params;
use crate::run::blocking;
use crate::{ApiError, ApiState};

const BY: &str = "did:vm:user:sovereign";

fn summary(d: &InstalledDashboard) -> Value {
    let (file, provider, editable) = match &d.origin {
        DashboardOrigin::File { path, provider, editable } => {
            (Some(path.display().to_string()), Some(provider.as_str()), *editable)
        }
        DashboardOrigin::Pack(_) | DashboardOrigin::Saved => (None, None, true),
    };
    json!({
        "id": d.dashboard.uid,
        "title": d.dashboard.title,
        "description": d.dashboard.description,
        "tags": d.dashboard.tags,
        "pack": d.pack(),
        "panels": d.dashboard.all_panels().iter().filter(|p| p.kind != obs_dash::PanelKind::Row).count(),
        "origin": d.origin.kind(),
        "file": file,
        "provider": provider.filter(|p| !p.is_empty()),
        "editable": editable,
        "version": d.version,
        "covers": d.covers,
    })
}

fn problems_json(all: &[Problem]) -> Vec<Value> {
    all.iter().map(Problem::to_json).collect()
}

fn faulty_json(f: &FaultyFile) -> Value {
    json!({
        "file": f.path.display().to_string(), "older_shown": f.older_shown,
        "problems": problems_json(&f.problems),
    })
}

pub(super) async fn list(State(state): State<Arc<ApiState>>) -> Json<Value> {
    let all: Vec<Value> = state.dashboards.list().iter().map(|d| summary(d)).collect();
    let faulty: Vec<Value> = state.dashboards.faulty().iter().map(faulty_json).collect();
    Json(json!({"dashboards": all, "faulty": faulty, "notices": state.dashboards.notices()}))
}

fn missing(id: &str) -> ApiError {
    ApiError::not_found(format!("there is no dashboard {id:?}"))
}

/// The dashboard as it is shown, or one of its saved versions.
pub(super) async fn find(
    state: &Arc<ApiState>,
    id: &str,
    params: &Params,
) -> Result<Arc<InstalledDashboard>, ApiError> {
    let Some(number) = params.number("version", 1)? else {
        return state.dashboards.get(id).ok_or_else(|| missing(id));
    };
    let uid = id.to_owned();
    let found = blocking(state, move |s| s.dashboards.version(&uid, number as u64)).await??;
    let gone = || ApiError::not_found(format!("dashboard {id:?} has no version {number}"));
    let json = found.and_then(|v| v.dashboard).ok_or_else(gone)?;
    let dashboard = Dashboard::from_grafana_value(&json)
        .map_err(|e| ApiError::new(ErrorKind::Corrupt, e.to_string()))?;
    let mut old = InstalledDashboard::new(dashboard, DashboardOrigin::Saved);
    old.version = number as u64;
    Ok(Arc::new(old))
}

/// What the portal draws, with where it comes from.
fn view(d: &InstalledDashboard) -> Value {
    let mut view = d.dashboard.to_view();
    if let (Some(view), Value::Object(origin)) = (view.as_object_mut(), summary(d)) {
        for name in ["origin", "pack", "file", "editable", "version", "covers"] {
            view.insert(name.to_owned(), origin.get(name).cloned().unwrap_or_default());
        }
    }
    view
}

pub(super) async fn show(
    State(state): State<Arc<ApiState>>,
    Path(id): Path<String>,
    params: Params,
) -> Result<Json<Value>, ApiError> {
    Ok(Json(view(find(&state, &id, &params).await?.as_ref())))
}

/// Grafana JSON of the generation that `schema` names: `classic` (the usual) or `v2`.
pub(super) async fn grafana(
    State(state): State<Arc<ApiState>>,
    Path(id): Path<String>,
    params: Params,
) -> Result<Json<Value>, ApiError> {
    let found = find(&state, &id, &params).await?;
    match params.get("schema").unwrap_or("classic") {
        "classic" => Ok(Json(found.dashboard.to_grafana())),
        "v2" => Ok(Json(found.dashboard.to_grafana_v2())),
        other => Err(ApiError::invalid(format!("schema {other:?} is neither classic nor v2"))),
    }
}

pub(super) async fn versions(
    State(state): State<Arc<ApiState>>,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let uid = id.clone();
    let all = blocking(&state, move |s| s.dashboards.versions(&uid)).await??;
    if all.is_empty() && state.dashboards.get(&id).is_none() {
        return Err(missing(&id));
    }
    let one = |v: &DashboardVersion| {
        json!({
            "version": v.version, "saved_at": obs_query::format_time(v.saved_at), "by": v.by,
            "message": v.message, "hash": v.hash.map(|h| h.to_string()),
            "deleted": v.hash.is_none(),
        })
    };
    Ok(Json(json!({"id": id, "versions": all.iter().map(one).collect::<Vec<_>>()})))
}

fn text_of(body: &Bytes) -> Result<String, ApiError> {
    match std::str::from_utf8(body) {
        Ok(text) => Ok(text.to_owned()),
        Err(e) => {
            Err(ApiError::invalid(format!("the body is not UTF-8 from byte {}", e.valid_up_to())))
        }
    }
}

/// Everything wrong with the body, and how it would be shown; saves nothing.
pub(super) async fn check(
    State(state): State<Arc<ApiState>>,
    body: Bytes,
) -> Result<Json<Value>, ApiError> {
    let text = text_of(&body)?;
    let Linted { imported, problems } = blocking(&state, move |s| s.dashboards.lint(&text)).await?;
    let fatal = problems.iter().any(|p| p.fatal);
    let dashboard = imported.map(|i| i.dashboard);
    Ok(Json(json!({
        "ok": problems.iter().all(|p| p.severity != obs_dash::Severity::Error),
        "fatal": fatal,
        "problems": problems_json(&problems),
        "view": dashboard.as_ref().map(Dashboard::to_view),
        "dashboard": dashboard.as_ref().map(Dashboard::to_grafana),
    })))
}

pub(super) async fn create(
    State(state): State<Arc<ApiState>>,
    RawQuery(query): RawQuery,
    body: Bytes,
) -> Response {
    let params = Params::from_encoded(&query.unwrap_or_default());
    save(&state, String::new(), &params, &body).await.unwrap_or_else(IntoResponse::into_response)
}

pub(super) async fn replace(
    State(state): State<Arc<ApiState>>,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
    body: Bytes,
) -> Response {
    let params = Params::from_encoded(&query.unwrap_or_default());
    save(&state, id, &params, &body).await.unwrap_or_else(IntoResponse::into_response)
}

async fn save(
    state: &Arc<ApiState>,
    uid: String,
    params: &Params,
    body: &Bytes,
) -> Result<Response, ApiError> {
    let flag = |name: &str| match params.get(name) {
        None | Some("false" | "0") => Ok(false),
        Some("true" | "1") => Ok(true),
        Some(other) => {
            Err(ApiError::invalid(format!("parameter {name:?} is {other:?}, not true or false")))
        }
    };
    let request = SaveRequest {
        text: text_of(body)?,
        uid: params.get("uid").map_or(uid, str::to_owned),
        by: params.get("by").unwrap_or(BY).to_owned(),
        message: params.get("message").unwrap_or_default().to_owned(),
        based_on: params.number("based_on", 0)?.map(|n| n as u64),
        force: flag("force")?,
    };
    let now = state.front.now();
    let saved = blocking(state, move |s| s.dashboards.save(&request, now)).await?;
    match saved {
        Ok(saved) => {
            let body = json!({
                "id": saved.uid, "version": saved.version, "receipt_seq": saved.receipt,
                "created": saved.created, "url": format!("/dashboards/{}", saved.uid),
                "problems": problems_json(&saved.problems),
            });
            Ok(Json(body).into_response())
        }
        Err(SaveError::Other(e)) => Err(e.into()),
        Err(SaveError::Problems(problems)) => Ok(refusal(&problems)),
    }
}

/// The envelope of an error, with every problem beside the message.
fn refusal(problems: &[Problem]) -> Response {
    let worst = problems.first().map_or_else(String::new, |p| match p.line {
        0 => p.to_string(),
        line => format!("line {line}: {p}"),
    });
    let more = match problems.len() {
        0 | 1 => String::new(),
        n => format!(" (and {} more)", n - 1),
    };
    let body = json!({"error": {
        "kind": "invalid_input", "message": format!("{worst}{more}"),
        "problems": problems_json(problems),
    }});
    (StatusCode::UNPROCESSABLE_ENTITY, Json(body)).into_response()
}

pub(super) async fn delete(
    State(state): State<Arc<ApiState>>,
    Path(id): Path<String>,
    params: Params,
) -> Result<Json<Value>, ApiError> {
    let now = state.front.now();
    let by = params.get("by").unwrap_or(BY).to_owned();
    let uid = id.clone();
    let seq = blocking(&state, move |s| s.dashboards.delete(&uid, &by, now)).await?;
    let seq = seq.map_err(|e: OpsError| ApiError::from(e))?;
    let shown = state.dashboards.get(&id).map(|d| d.origin.kind());
    Ok(Json(json!({"deleted": true, "receipt_seq": seq, "shown_instead": shown})))
}
