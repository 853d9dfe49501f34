use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use obs_types::Matcher;
use serde_json::{Value, json};

use super::{answer, matchers, success};
use crate::params::Params;
use crate::run::blocking;
use crate::{ApiError, ApiState};

/// Which rules are shown, and how many groups at a time.
struct Filter {
    kind: Option<String>,
    names: Vec<String>,
    groups: Vec<String>,
    files: Vec<String>,
    /// A rule is shown whose own labels fit one of these sets.
    matchers: Vec<Vec<Matcher>>,
    alerts_excluded: bool,
    groups_max: Option<usize>,
    /// Of the group to begin with.
    token: Option<String>,
}

impl Filter {
    fn read(params: &Params) -> Result<Self, ApiError> {
        let all = |name: &str| params.all(name).map(str::to_owned).collect::<Vec<_>>();
        let kind = match params.get("type") {
            None => None,
            Some(kind @ ("alert" | "record")) => Some(kind.to_owned()),
            Some(other) => {
                return Err(ApiError::invalid(format!("not supported value {other:?}")));
            }
        };
        let alerts_excluded = match params.get("exclude_alerts") {
            None => false,
            Some(text) => text.parse().map_err(|_wrong| {
                ApiError::invalid(format!("exclude_alerts is {text:?}, not true or false"))
            })?,
        };
        let groups_max = params.number("group_limit", 1)?;
        let token = params.get("group_next_token").map(str::to_owned);
        if token.is_some() && groups_max.is_none() {
            return Err(ApiError::invalid(
                "group_limit needs to be present in order to paginate over the groups",
            ));
        }
        Ok(Self {
            kind,
            names: all("rule_name[]"),
            groups: all("rule_group[]"),
            files: all("file[]"),
            matchers: matchers(params, false)?,
            alerts_excluded,
            groups_max,
            token,
        })
    }

    fn shows(&self, rule: &Value) -> bool {
        let label = |name: &str| {
            let labels = rule.get("labels");
            labels.and_then(|l| l.get(name)).and_then(Value::as_str).unwrap_or("")
        };
        let set = |set: &Vec<Matcher>| set.iter().all(|m| m.matches(label(m.name())));
        fits(&self.names, rule, "name")
            && (self.matchers.is_empty() || self.matchers.iter().any(set))
    }

    /// Without the groups and rules that were not asked for; a group that loses all is left out.
    fn apply(&self, groups: &mut Vec<Value>) {
        groups.retain(|g| fits(&self.groups, g, "name") && fits(&self.files, g, "file"));
        for rules in groups.iter_mut().filter_map(|g| g.get_mut("rules")?.as_array_mut()) {
            rules.retain(|rule| self.shows(rule));
            if self.alerts_excluded {
                for alerts in rules.iter_mut().filter_map(|r| r.get_mut("alerts")?.as_array_mut()) {
                    alerts.clear();
                }
            }
        }
        if !self.names.is_empty() || !self.matchers.is_empty() {
            groups.retain(|g| {
                g.get("rules").and_then(Value::as_array).is_some_and(|r| !r.is_empty())
            });
        }
    }

    /// Cuts to one page; the token of the group that the next one begins with.
    fn page(&self, groups: &mut Vec<Value>) -> Result<Option<String>, ApiError> {
        if let Some(wanted) = &self.token {
            let at = groups.iter().position(|g| token(g) == *wanted).ok_or_else(|| {
                ApiError::invalid(format!(
                    "invalid group_next_token {wanted:?}: have the rule groups changed?"
                ))
            })?;
            groups.drain(..at);
        }
        let next = self.groups_max.and_then(|max| groups.get(max)).map(token);
        groups.truncate(self.groups_max.unwrap_or(usize::MAX));
        Ok(next)
    }
}

fn fits(wanted: &[String], value: &Value, field: &str) -> bool {
    let held = value.get(field).and_then(Value::as_str);
    wanted.is_empty() || held.is_some_and(|held| wanted.iter().any(|w| w == held))
}

/// File and name of a group, as hexadecimal digits: a client need not escape them.
fn token(group: &Value) -> String {
    let text = |name: &str| group.get(name).and_then(Value::as_str).unwrap_or_default();
    format!("{};{}", text("file"), text("name")).bytes().map(|b| format!("{b:02x}")).collect()
}

pub(super) async fn rules(State(state): State<Arc<ApiState>>, params: Params) -> Response {
    let work = async {
        let filter = Filter::read(&params)?;
        let kind = filter.kind.clone();
        let mut data =
            blocking(&state, move |s| s.alerts.prometheus_rules(kind.as_deref())).await?;
        let mut next = None;
        if let Some(groups) = data.get_mut("groups").and_then(Value::as_array_mut) {
            filter.apply(groups);
            next = filter.page(groups)?;
        }
        if let (Some(next), Some(data)) = (next, data.as_object_mut()) {
            data.insert("groupNextToken".to_owned(), json!(next));
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
