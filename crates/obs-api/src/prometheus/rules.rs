use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use serde_json::{Value, json};

use super::{answer, success};
use crate::params::Params;
use crate::run::blocking;
use crate::{ApiError, ApiState};

/// `type`, and `rule_name[]`, `rule_group[]`, `file[]` where given; a group without a rule that is
/// asked for is left out.
pub(super) async fn rules(State(state): State<Arc<ApiState>>, params: Params) -> Response {
    let work = async {
        let kind = match params.get("type") {
            None => None,
            Some(kind @ ("alert" | "record")) => Some(kind.to_owned()),
            Some(other) => {
                return Err(ApiError::invalid(format!("not supported value {other:?}")));
            }
        };
        let mut data =
            blocking(&state, move |s| s.alerts.prometheus_rules(kind.as_deref())).await?;
        let wanted = |name: &'static str| params.all(name).collect::<Vec<_>>();
        let (names, groups, files) =
            (wanted("rule_name[]"), wanted("rule_group[]"), wanted("file[]"));
        let fits = |wanted: &[&str], value: &Value, field: &str| {
            wanted.is_empty()
                || value.get(field).and_then(Value::as_str).is_some_and(|v| wanted.contains(&v))
        };
        if let Some(all) = data.get_mut("groups").and_then(Value::as_array_mut) {
            all.retain(|g| fits(&groups, g, "name") && fits(&files, g, "file"));
            if !names.is_empty() {
                for rules in all.iter_mut().filter_map(|g| g.get_mut("rules")?.as_array_mut()) {
                    rules.retain(|r| fits(&names, r, "name"));
                }
                all.retain(|g| {
                    g.get("rules").and_then(Value::as_array).is_some_and(|r| !r.is_empty())
                });
            }
        }
        Ok(success(&data.to_string(), &[], &[]))
    };
    answer(work.await)
}

pub(super) async fn alerts(State(state): State<Arc<ApiState>>) -> Response {
    let data = blocking(&state, |s| s.alerts.prometheus_alerts()).await;
    answer(data.map(|d| success(&d.to_string(), &[], &[])))
}

/// Notifications are delivered by vm-obs itself.
pub(super) async fn alertmanagers() -> Response {
    let data = json!({"activeAlertmanagers": [], "droppedAlertmanagers": []});
    success(&data.to_string(), &[], &[])
}

/// Banners of the server itself; vm-obs shows its state in `/obs/health`.
pub(super) async fn notifications() -> Response {
    success("[]", &[], &[])
}
