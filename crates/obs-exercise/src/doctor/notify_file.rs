//! Reads `alertmanager.yml` of any Alertmanager for its routes: receivers of every kind, old
//! spellings of matchers, and the settings that have nothing to do with routing passed over.

use std::collections::{BTreeMap, BTreeSet};

use obs_notify::NotifyConfig;
use serde_json::{Map, Value, json};

use super::world::{Integration, NotifyInput};

/// `Err` says what is wrong, without secrets.
pub fn read_notify(path: &str, text: &str) -> Result<NotifyInput, String> {
    let yaml: Value = serde_saphyr::from_str(text)
        .map_err(|e| e.to_string().lines().next().unwrap_or_default().to_owned())?;
    let route = yaml.get("route").filter(|r| r.is_object()).ok_or("there is no `route`")?;
    let mut integrations = BTreeMap::new();
    let mut receivers = Vec::new();
    for receiver in list(&yaml, "receivers") {
        let name = text_of(receiver, "name");
        receivers.push(json!({"name": name}));
        integrations.insert(name, integrations_of(receiver));
    }
    let inhibit: Vec<Value> = list(&yaml, "inhibit_rules").iter().map(inhibit_rule).collect();
    let plain = json!({
        "route": plain_route(route),
        "receivers": receivers,
        "inhibit_rules": inhibit,
    });
    let config = NotifyConfig::parse(path, &plain.to_string(), "").map_err(|e| e.to_string())?;
    let always_on_intervals = always_on(&yaml);
    let mut muted_routes = Vec::new();
    find_muted(route, "", &always_on_intervals, &mut muted_routes);
    Ok(NotifyInput {
        path: path.to_owned(),
        text: text.to_owned(),
        config,
        integrations,
        always_on_intervals,
        muted_routes,
    })
}

/// What a delivery drill can send to: a configuration with the receivers' webhooks and Slack
/// channels, and the ways out that vm-obs cannot use (`email of ops`). `Err` says which address is
/// none.
pub fn drillable(notify: &NotifyInput) -> Result<(NotifyConfig, Vec<String>), String> {
    let yaml: Value = serde_saphyr::from_str(&notify.text)
        .map_err(|e| e.to_string().lines().next().unwrap_or_default().to_owned())?;
    let global = yaml.get("global").map(|g| text_of(g, "slack_api_url")).unwrap_or_default();
    let mut left_out = Vec::new();
    let mut receivers = Vec::new();
    for receiver in list(&yaml, "receivers") {
        let name = text_of(receiver, "name");
        let mut plain = Map::new();
        plain.insert("name".to_owned(), json!(name));
        for (key, value) in receiver.as_object().into_iter().flatten() {
            let Some(kind) = key.strip_suffix("_configs") else { continue };
            let all = value.as_array().into_iter().flatten();
            let own: Vec<Value> = match kind {
                "webhook" => {
                    all.map(|c| Value::Object(keep(c, &["url", "send_resolved"]))).collect()
                }
                "slack" => all
                    .map(|c| {
                        let mut c = keep(c, &["api_url", "channel", "send_resolved"]);
                        // Alertmanager tells Slack of ends only where it is asked to.
                        c.entry("send_resolved").or_insert_with(|| json!(false));
                        c.entry("api_url").or_insert_with(|| json!(global));
                        c
                    })
                    .map(Value::Object)
                    .collect(),
                _ => {
                    left_out.push(format!("{kind} of {name}"));
                    continue;
                }
            };
            plain.insert(key.clone(), Value::Array(own));
        }
        receivers.push(Value::Object(plain));
    }
    let route = json!({"receiver": notify.config.route.receiver});
    let plain = json!({"route": route, "receivers": receivers});
    let config = NotifyConfig::parse(&notify.path, &plain.to_string(), "");
    config.map(|c| (c, left_out)).map_err(|e| e.to_string())
}

fn keep(from: &Value, names: &[&str]) -> Map<String, Value> {
    let all = from.as_object().into_iter().flatten();
    all.filter(|(n, v)| names.contains(&n.as_str()) && !v.is_null())
        .map(|(n, v)| (n.clone(), v.clone()))
        .collect()
}

fn list<'a>(from: &'a Value, name: &str) -> &'a [Value] {
    from.get(name).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn text_of(from: &Value, name: &str) -> String {
    match from.get(name) {
        Some(Value::String(s)) => s.clone(),
        Some(Value::Number(n)) => n.to_string(),
        Some(Value::Bool(b)) => b.to_string(),
        _ => String::new(),
    }
}

fn integrations_of(receiver: &Value) -> Vec<Integration> {
    let mut out = Vec::new();
    let all = receiver.as_object().into_iter().flatten();
    for (key, value) in all {
        let Some(kind) = key.strip_suffix("_configs") else { continue };
        for one in value.as_array().into_iter().flatten() {
            // Alertmanager tells of the end by default, but not by mail, Slack and the like.
            let default = !matches!(kind, "email" | "slack" | "wechat");
            out.push(Integration {
                kind: kind.to_owned(),
                address: address(kind, one),
                send_resolved: one.get("send_resolved").and_then(Value::as_bool).unwrap_or(default),
            });
        }
    }
    out
}

/// The part of the address that is no secret: scheme, host and port.
fn address(kind: &str, one: &Value) -> String {
    if kind == "email" {
        return text_of(one, "to");
    }
    let url = ["url", "api_url", "webhook_url"]
        .iter()
        .map(|k| text_of(one, k))
        .find(|u| !u.is_empty())
        .unwrap_or_default();
    let Some((scheme, rest)) = url.split_once("://") else { return String::new() };
    let host = rest.split(['/', '?']).next().unwrap_or_default();
    let host = host.rsplit('@').next().unwrap_or_default();
    format!("{scheme}://{host}")
}

/// The keys that decide who is told and when.
fn plain_route(route: &Value) -> Value {
    let mut out = Map::new();
    for key in ["group_wait", "group_interval", "repeat_interval", "continue", "group_by"] {
        if let Some(value) = route.get(key).filter(|v| !v.is_null()) {
            out.insert(key.to_owned(), value.clone());
        }
    }
    let receiver = text_of(route, "receiver");
    if !receiver.is_empty() {
        out.insert("receiver".to_owned(), json!(receiver));
    }
    out.insert("matchers".to_owned(), json!(matchers(route, "matchers", "match", "match_re")));
    let children: Vec<Value> = list(route, "routes").iter().map(plain_route).collect();
    out.insert("routes".to_owned(), json!(children));
    Value::Object(out)
}

fn inhibit_rule(rule: &Value) -> Value {
    json!({
        "source_matchers": matchers(rule, "source_matchers", "source_match", "source_match_re"),
        "target_matchers": matchers(rule, "target_matchers", "target_match", "target_match_re"),
        "equal": rule.get("equal").cloned().unwrap_or_else(|| json!([])),
    })
}

/// All three spellings as `name="value"`.
fn matchers(from: &Value, plain: &str, equal: &str, regex: &str) -> Vec<String> {
    let mut out = Vec::new();
    for text in list(from, plain).iter().filter_map(Value::as_str) {
        let inner = text.trim().trim_start_matches('{').trim_end_matches('}');
        out.extend(split_outside_quotes(inner));
    }
    for (key, op) in [(equal, "="), (regex, "=~")] {
        for (name, value) in from.get(key).and_then(Value::as_object).into_iter().flatten() {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            out.push(format!("{name}{op}{}", json!(value)));
        }
    }
    out
}

fn split_outside_quotes(text: &str) -> Vec<String> {
    let mut out = vec![String::new()];
    let (mut quoted, mut escaped) = (false, false);
    for c in text.chars() {
        if c == ',' && !quoted {
            out.push(String::new());
            continue;
        }
        quoted ^= c == '"' && !escaped;
        escaped = c == '\\' && !escaped;
        if let Some(last) = out.last_mut() {
            last.push(c);
        }
    }
    out.into_iter().map(|m| m.trim().to_owned()).filter(|m| !m.is_empty()).collect()
}

/// Names of the time intervals that leave out no minute of the week.
fn always_on(yaml: &Value) -> Vec<String> {
    let mut out = BTreeSet::new();
    for key in ["time_intervals", "mute_time_intervals"] {
        for interval in list(yaml, key) {
            if list(interval, "time_intervals").iter().any(is_always) {
                out.insert(text_of(interval, "name"));
            }
        }
    }
    out.into_iter().collect()
}

fn is_always(interval: &Value) -> bool {
    let empty = |name: &str| list(interval, name).is_empty();
    let times = list(interval, "times");
    let all_day = times.is_empty()
        || times
            .iter()
            .any(|t| text_of(t, "start_time") == "00:00" && text_of(t, "end_time") == "24:00");
    let days = list(interval, "weekdays");
    let all_week = days.is_empty()
        || days
            .iter()
            .filter_map(Value::as_str)
            .any(|d| matches!(d, "sunday:saturday" | "monday:sunday" | "0:6"));
    all_day && all_week && empty("days_of_month") && empty("months") && empty("years")
}

fn find_muted(route: &Value, inherited: &str, always: &[String], out: &mut Vec<(String, String)>) {
    let own = text_of(route, "receiver");
    let receiver = if own.is_empty() { inherited } else { &own };
    for name in list(route, "mute_time_intervals").iter().filter_map(Value::as_str) {
        if always.iter().any(|a| a == name) {
            out.push((receiver.to_owned(), name.to_owned()));
        }
    }
    for child in list(route, "routes") {
        find_muted(child, receiver, always, out);
    }
}

#[cfg(test)]
mod tests {
    use obs_types::LabelSet;

    use super::*;

    #[test]
    fn any_alertmanager_file_gives_its_routes() {
        let text = r#"
global: {smtp_smarthost: "mail:25"}
templates: ["*.tmpl"]
route:
  receiver: default
  routes:
    - match: {severity: critical}
      match_re: {team: "a|b"}
      receiver: pager
    - matchers: ['{severity="warning", team!="x,y"}']
      receiver: mail
      mute_time_intervals: [always]
receivers:
  - name: default
  - name: pager
    pagerduty_configs: [{routing_key: SECRET}]
  - name: mail
    email_configs: [{to: ops@example.org}]
    webhook_configs: [{url: "http://u:p@host:5001/path?token=SECRET"}]
time_intervals:
  - name: always
    time_intervals: [{times: [{start_time: "00:00", end_time: "24:00"}]}]
"#;
        let read = read_notify("alertmanager.yml", text).unwrap();
        let who = |labels: &[(&str, &str)]| {
            let labels = LabelSet::from_pairs(labels.iter().copied());
            read.config.routes_for(&labels)[0].1.receiver.clone()
        };
        assert_eq!(who(&[("severity", "critical"), ("team", "a")]), "pager");
        assert_eq!(who(&[("severity", "critical"), ("team", "c")]), "default");
        assert_eq!(who(&[("severity", "warning"), ("team", "z")]), "mail");
        assert!(read.integrations["default"].is_empty());
        let mail: Vec<&str> =
            read.integrations["mail"].iter().map(|i| i.address.as_str()).collect();
        assert_eq!(mail, ["ops@example.org", "http://host:5001"]);
        assert_eq!(read.muted_routes, [("mail".to_owned(), "always".to_owned())]);
    }
}
