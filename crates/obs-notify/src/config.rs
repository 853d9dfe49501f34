//! Routes and receivers, in the words of `alertmanager.yml`.

use std::collections::BTreeSet;

use obs_rules::{InhibitRule, parse_duration};
use obs_types::{LabelSet, MatchOp, Matcher, matches_all};
use serde::Deserialize;

use crate::{NotifyError, SecretUrl};

/// Checked configuration.
#[derive(Clone, Debug)]
pub struct NotifyConfig {
    pub route: Route,
    pub receivers: Vec<Receiver>,
    pub inhibit: Vec<InhibitRule>,
    /// Base address of the portal, for links.
    pub external_url: String,
}

#[derive(Clone, Debug)]
pub struct Route {
    pub receiver: String,
    /// `None`: all labels.
    pub group_by: Option<Vec<String>>,
    pub group_wait_ms: i64,
    pub group_interval_ms: i64,
    pub repeat_interval_ms: i64,
    pub matchers: Vec<Matcher>,
    pub go_on: bool,
    pub routes: Vec<Route>,
}

#[derive(Clone, Debug)]
pub struct Receiver {
    pub name: String,
    pub targets: Vec<Target>,
}

#[derive(Clone, Debug)]
pub enum Target {
    Webhook { url: SecretUrl, send_resolved: bool },
    Slack { url: SecretUrl, channel: String, send_resolved: bool },
}

impl Target {
    /// As in ENGINE's `notified`: `slack:ops-channel`, `webhook:RECEIVER`.
    pub fn shown_name(&self, receiver: &str) -> String {
        match self {
            Self::Webhook { .. } => format!("webhook:{receiver}"),
            Self::Slack { channel, .. } => {
                let channel = channel.trim_start_matches('#');
                format!("slack:{}", if channel.is_empty() { receiver } else { channel })
            }
        }
    }

    pub fn send_resolved(&self) -> bool {
        match self {
            Self::Webhook { send_resolved, .. } | Self::Slack { send_resolved, .. } => {
                *send_resolved
            }
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileText {
    route: RouteText,
    receivers: Vec<ReceiverText>,
    #[serde(default)]
    inhibit_rules: Vec<InhibitText>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RouteText {
    receiver: Option<String>,
    group_by: Option<Vec<String>>,
    group_wait: Option<String>,
    group_interval: Option<String>,
    repeat_interval: Option<String>,
    #[serde(default)]
    matchers: Vec<String>,
    #[serde(default, rename = "continue")]
    go_on: bool,
    #[serde(default)]
    routes: Vec<RouteText>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ReceiverText {
    name: String,
    #[serde(default)]
    webhook_configs: Vec<WebhookText>,
    #[serde(default)]
    slack_configs: Vec<SlackText>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WebhookText {
    url: String,
    #[serde(default = "yes")]
    send_resolved: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SlackText {
    api_url: String,
    #[serde(default)]
    channel: String,
    #[serde(default = "yes")]
    send_resolved: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct InhibitText {
    #[serde(default)]
    source_matchers: Vec<String>,
    #[serde(default)]
    target_matchers: Vec<String>,
    #[serde(default)]
    equal: Vec<String>,
}

fn yes() -> bool {
    true
}

impl NotifyConfig {
    /// Nobody is notified: one route to a receiver without targets.
    pub fn silent(external_url: &str) -> Self {
        Self {
            route: Route {
                receiver: "none".to_owned(),
                group_by: Some(vec!["alertname".to_owned()]),
                group_wait_ms: 30_000,
                group_interval_ms: 300_000,
                repeat_interval_ms: 4 * 3_600_000,
                matchers: Vec::new(),
                go_on: false,
                routes: Vec::new(),
            },
            receivers: vec![Receiver { name: "none".to_owned(), targets: Vec::new() }],
            inhibit: Vec::new(),
            external_url: external_url.trim_end_matches('/').to_owned(),
        }
    }

    /// Reads YAML with `route`, `receivers` and `inhibit_rules`. `file` names the place in errors.
    pub fn parse(file: &str, text: &str, external_url: &str) -> Result<Self, NotifyError> {
        let mut yaml = serde_saphyr::Options::default();
        yaml.with_snippet = false;
        let raw: FileText = serde_saphyr::from_str_with_options(text, yaml)
            .map_err(|e| NotifyError::Config(format!("{file}: {e}")))?;
        let fail = |message: String| NotifyError::Config(format!("{file}: {message}"));
        let mut names = BTreeSet::new();
        let mut receivers = Vec::new();
        for receiver in raw.receivers {
            if receiver.name.is_empty() || !names.insert(receiver.name.clone()) {
                return Err(fail(format!("receiver {:?} is empty or repeated", receiver.name)));
            }
            receivers.push(read_receiver(receiver).map_err(fail)?);
        }
        let base = Self::silent(external_url).route;
        if !raw.route.matchers.is_empty() {
            return Err(fail("the root route must not have matchers".to_owned()));
        }
        if raw.route.receiver.is_none() {
            return Err(fail("the root route needs a receiver".to_owned()));
        }
        let route = read_route(raw.route, &base, &names).map_err(fail)?;
        let mut inhibit = Vec::new();
        for rule in raw.inhibit_rules {
            inhibit.push(InhibitRule {
                source: matchers(&rule.source_matchers).map_err(fail)?,
                target: matchers(&rule.target_matchers).map_err(fail)?,
                equal: rule.equal,
            });
        }
        let external_url = external_url.trim_end_matches('/').to_owned();
        Ok(Self { route, receivers, inhibit, external_url })
    }

    pub fn receiver(&self, name: &str) -> Option<&Receiver> {
        self.receivers.iter().find(|r| r.name == name)
    }

    /// The routes that take an alert, in order, each with its place in the tree (`0/2`).
    pub fn routes_for(&self, labels: &LabelSet) -> Vec<(String, &Route)> {
        let mut out = Vec::new();
        walk(&self.route, "0", labels, &mut out);
        out
    }

    /// Who will be told of an alert, as in ENGINE's `notified`; sorted, unique.
    pub fn notified_names(&self, labels: &LabelSet) -> Vec<String> {
        let mut names = BTreeSet::new();
        for (_, route) in self.routes_for(labels) {
            if let Some(receiver) = self.receiver(&route.receiver) {
                names.extend(receiver.targets.iter().map(|t| t.shown_name(&receiver.name)));
            }
        }
        names.into_iter().collect()
    }
}

/// Depth first; the first child that matches takes the alert unless it says `continue`; a route
/// whose children all refuse takes it itself.
fn walk<'a>(
    route: &'a Route,
    place: &str,
    labels: &LabelSet,
    out: &mut Vec<(String, &'a Route)>,
) -> bool {
    if !matches_all(&route.matchers, labels) {
        return false;
    }
    let before = out.len();
    for (i, child) in route.routes.iter().enumerate() {
        if walk(child, &format!("{place}/{i}"), labels, out) && !child.go_on {
            break;
        }
    }
    if out.len() == before {
        out.push((place.to_owned(), route));
    }
    true
}

fn read_receiver(text: ReceiverText) -> Result<Receiver, String> {
    let name = text.name;
    let url =
        |u: &str| SecretUrl::new(u).map_err(|e| format!("receiver {name:?}: the address {e}"));
    let mut targets = Vec::new();
    for w in &text.webhook_configs {
        targets.push(Target::Webhook { url: url(&w.url)?, send_resolved: w.send_resolved });
    }
    for s in text.slack_configs {
        let send_resolved = s.send_resolved;
        targets.push(Target::Slack { url: url(&s.api_url)?, channel: s.channel, send_resolved });
    }
    Ok(Receiver { name, targets })
}

fn read_route(text: RouteText, parent: &Route, names: &BTreeSet<String>) -> Result<Route, String> {
    let ms = |field: &str, text: Option<String>, default: i64| match text {
        Some(t) => parse_duration(&t).map(|d| d.0).map_err(|e| format!("route: {field}: {e}")),
        None => Ok(default),
    };
    let receiver = text.receiver.unwrap_or_else(|| parent.receiver.clone());
    if !names.contains(&receiver) {
        return Err(format!("route: receiver {receiver:?} does not exist"));
    }
    let group_by = match text.group_by {
        Some(labels) if labels.iter().any(|l| l == "...") => None,
        Some(labels) => Some(labels),
        None => parent.group_by.clone(),
    };
    let mut route = Route {
        receiver,
        group_by,
        group_wait_ms: ms("group_wait", text.group_wait, parent.group_wait_ms)?,
        group_interval_ms: ms("group_interval", text.group_interval, parent.group_interval_ms)?,
        repeat_interval_ms: ms("repeat_interval", text.repeat_interval, parent.repeat_interval_ms)?,
        matchers: matchers(&text.matchers)?,
        go_on: text.go_on,
        routes: Vec::new(),
    };
    if route.group_interval_ms <= 0 || route.repeat_interval_ms <= 0 {
        return Err("route: group_interval and repeat_interval must be longer than 0".to_owned());
    }
    let children: Result<Vec<Route>, String> =
        text.routes.into_iter().map(|child| read_route(child, &route, names)).collect();
    route.routes = children?;
    Ok(route)
}

fn matchers(texts: &[String]) -> Result<Vec<Matcher>, String> {
    texts.iter().map(|t| matcher(t)).collect()
}

/// `severity="critical"`, `team =~ a|b`; the quotes may be left out.
fn matcher(text: &str) -> Result<Matcher, String> {
    let fail = || format!("matcher {text:?} is not of the form name=\"value\"");
    let at = text.find(['=', '!']).ok_or_else(fail)?;
    let (name, rest) = text.split_at(at);
    let ops = [
        ("=~", MatchOp::Regex),
        ("!~", MatchOp::NotRegex),
        ("!=", MatchOp::NotEqual),
        ("=", MatchOp::Equal),
    ];
    let (op, value) = ops
        .iter()
        .find_map(|(sign, op)| rest.strip_prefix(sign).map(|value| (*op, value.trim())))
        .ok_or_else(fail)?;
    let value = match value.strip_prefix('"') {
        Some(_) => serde_json::from_str::<String>(value).map_err(|_e| fail())?,
        None => value.to_owned(),
    };
    let name = name.trim().trim_matches('"');
    if name.is_empty() {
        return Err(fail());
    }
    Matcher::new(name, op, value).map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TREE: &str = r##"
route:
  receiver: ops
  group_by: [alertname]
  routes:
  - matchers: ['severity="critical"']
    receiver: critical
    group_wait: 0s
    continue: true
  - matchers: ['severity=~"critical|warning"']
    receiver: alerts
receivers:
- name: ops
  slack_configs: [{api_url: "http://127.0.0.1:1/secret-token", channel: "#ops-channel"}]
- name: alerts
  slack_configs: [{api_url: "http://127.0.0.1:1/secret-token", channel: "#alerts"}]
- name: critical
  webhook_configs: [{url: "http://127.0.0.1:1/secret-token"}]
"##;

    #[test]
    fn the_tree_routes_by_severity() {
        let config = NotifyConfig::parse("n.yml", TREE, "http://obs/").unwrap();
        let names = |s: &str| config.notified_names(&LabelSet::from_pairs([("severity", s)]));
        assert_eq!(names("critical"), ["slack:alerts", "webhook:critical"]);
        assert_eq!(names("warning"), ["slack:alerts"]);
        assert_eq!(names("info"), ["slack:ops-channel"]);
        assert!(!format!("{config:?}").contains("secret-token"));
    }

    #[test]
    fn mistakes_are_named_and_secrets_are_not() {
        for (from, to) in [
            ("receiver: ops", "receiver: nobody"),
            ("group_wait: 0s", "group_wait: soon"),
            ("- name: alerts", "- name: ops"),
            ("severity=\"critical\"", "severity"),
            ("webhook_configs", "pager_configs"),
            ("url: \"http://127.0.0.1:1/secret-token\"}]\n", "url: \"secret-token\"}]\n"),
        ] {
            assert!(TREE.contains(from), "{from}");
            let text = TREE.replace(from, to);
            let message = NotifyConfig::parse("n.yml", &text, "").unwrap_err().to_string();
            assert!(message.contains("n.yml"), "{message}");
            assert!(!message.contains("secret-token"), "{message}");
        }
    }
}
