use std::borrow::Cow;
use std::collections::VecDeque;

use obs_types::{NodeName, TimestampNs};
use serde_json::Value;

use crate::{Filter, parse_time};

/// Which receipts are wanted (ENGINE 4).
#[derive(Clone, Debug, Default)]
pub struct ReceiptQuery {
    /// Receipt types, with or without `obs_`; empty means all.
    pub types: Vec<String>,
    pub filter: Option<Filter>,
    /// Keeps receipts that name the node in `node`, `nodes_involved` or `nodes`.
    pub node: Option<NodeName>,
    /// Half-open over the receipt's `timestamp`.
    pub from: Option<TimestampNs>,
    pub to: Option<TimestampNs>,
    pub limit: Option<usize>,
    /// Oldest first instead of newest first.
    pub ascending: bool,
}

impl ReceiptQuery {
    /// Reads a comma list such as `alert_fired,alert_resolved`.
    pub fn types_from_text(text: &str) -> Vec<String> {
        text.split(',')
            .map(str::trim)
            .filter(|t| !t.is_empty())
            .map(|t| if t.starts_with("obs_") { t.to_owned() } else { format!("obs_{t}") })
            .collect()
    }

    /// Whether the line is worth parsing: a cheap look that never passes over a match.
    fn may_match(&self, line: &str) -> bool {
        let type_fits = self.types.is_empty()
            || type_of_line(line).is_some_and(|t| self.types.iter().any(|w| *w == t));
        // A name that JSON would escape is not looked for.
        let node_fits = self.node.as_ref().is_none_or(|n| {
            let name = n.short();
            name.chars().any(|c| c.is_control() || "\"\\/".contains(c) || !c.is_ascii())
                || line.contains(name)
        });
        type_fits && node_fits
    }

    pub fn matches(&self, receipt: &Value) -> bool {
        let text = |name: &str| receipt.get(name).and_then(Value::as_str);
        if !self.types.is_empty()
            && !text("type").is_some_and(|t| self.types.iter().any(|w| w == t))
        {
            return false;
        }
        if self.from.is_some() || self.to.is_some() {
            let Some(at) =
                text("timestamp").and_then(|t| parse_time(t, obs_types::TimestampMs(0)).ok())
            else {
                return false;
            };
            if self.from.is_some_and(|f| at < f) || self.to.is_some_and(|t| at >= t) {
                return false;
            }
        }
        if let Some(node) = &self.node
            && !["node", "nodes_involved", "nodes"].iter().any(|name| match receipt.get(*name) {
                Some(Value::String(s)) => NodeName::new(s) == *node,
                Some(Value::Array(all)) => {
                    all.iter().filter_map(Value::as_str).any(|s| NodeName::new(s) == *node)
                }
                _ => false,
            })
        {
            return false;
        }
        self.filter.as_ref().is_none_or(|f| f.matches(receipt))
    }
}

/// The value of a receipt's own `type`. Ledger lines are canonical JSON, where the bytes
/// `"type":"obs_` cannot be part of a text; the line is parsed only if an inner object has such a
/// field too, or it is written differently.
pub(crate) fn type_of_line(line: &str) -> Option<Cow<'_, str>> {
    const MARK: &str = "\"type\":\"obs_";
    let mut found = line.match_indices(MARK);
    if let (Some((at, _)), None) = (found.next(), found.next()) {
        let rest = line.get(at + MARK.len() - 4..)?;
        let name = rest.split('"').next()?;
        if name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
            return Some(Cow::Borrowed(name));
        }
    }
    let receipt: Value = serde_json::from_str(line).ok()?;
    receipt.get("type").and_then(Value::as_str).map(|t| Cow::Owned(t.to_owned()))
}

/// Runs the query over ledger lines, which `read` hands out oldest first (returning `false` stops
/// it). Gives the receipts in the wanted order, and how many matched in all.
pub fn select_receipts<E>(
    query: &ReceiptQuery,
    read: impl FnOnce(&mut dyn FnMut(u64, &str) -> bool) -> Result<(), E>,
) -> Result<(Vec<Value>, usize), E> {
    let limit = query.limit.unwrap_or(usize::MAX);
    let mut kept: VecDeque<Value> = VecDeque::new();
    let mut total = 0;
    read(&mut |_seq, line| {
        if !query.may_match(line) {
            return true;
        }
        let Ok(receipt) = serde_json::from_str::<Value>(line) else { return true };
        if query.matches(&receipt) {
            total += 1;
            if query.ascending {
                if kept.len() < limit {
                    kept.push_back(receipt);
                }
            } else {
                kept.push_front(receipt);
                kept.truncate(limit);
            }
        }
        true
    })?;
    Ok((kept.into(), total))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;

    const LINES: [&str; 3] = [
        r#"{"type":"obs_log_batch","timestamp":"2025-12-06T13:00:00Z","log_counts":{"error":0}}"#,
        r#"{"type":"obs_alert_fired","timestamp":"2025-12-06T14:35:00Z","node":"did:vm:node:brick-02"}"#,
        r#"{"type":"obs_log_batch","timestamp":"2025-12-06T15:00:00Z","log_counts":{"error":3}}"#,
    ];

    fn run(query: &ReceiptQuery) -> (Vec<Value>, usize) {
        select_receipts(query, |take| {
            for (i, line) in LINES.iter().enumerate() {
                if !take(i as u64, line) {
                    break;
                }
            }
            Ok::<(), Infallible>(())
        })
        .unwrap()
    }

    #[test]
    fn by_type_node_filter_and_time() {
        let all = run(&ReceiptQuery { limit: Some(2), ..Default::default() });
        assert_eq!((all.0.len(), all.1), (2, 3));
        assert_eq!(all.0[0]["timestamp"], "2025-12-06T15:00:00Z");
        let alerts = ReceiptQuery {
            types: ReceiptQuery::types_from_text("alert_fired,alert_resolved"),
            node: Some(NodeName::new("brick-02")),
            ..Default::default()
        };
        assert_eq!(run(&alerts).1, 1);
        let errors = ReceiptQuery {
            filter: Some(Filter::parse("log_counts.error > 0").unwrap()),
            ..Default::default()
        };
        assert_eq!(run(&errors).1, 1);
        let early = ReceiptQuery {
            to: Some(TimestampNs(1_765_029_600_000_000_000)),
            ascending: true,
            ..Default::default()
        };
        assert_eq!(run(&early).1, 1);
    }

    #[test]
    fn the_type_of_a_line_without_parsing() {
        let of = |line: &str| type_of_line(line).map(Cow::into_owned);
        assert_eq!(of(r#"{"a":1,"type":"obs_gap"}"#).as_deref(), Some("obs_gap"));
        // A text that looks like a field is escaped, an inner field is told apart by parsing.
        let text = r#"{"comment":"\"type\":\"obs_silence\"","type":"obs_alert_ack"}"#;
        assert_eq!(of(text).as_deref(), Some("obs_alert_ack"));
        let inner = r#"{"slo":{"type":"obs_silence"},"type":"obs_slo_definition"}"#;
        assert_eq!(of(inner).as_deref(), Some("obs_slo_definition"));
        let only_inner = r#"{"slo":{"type":"obs_silence"}}"#;
        let query = ReceiptQuery { types: vec!["obs_silence".to_owned()], ..Default::default() };
        assert!(!query.matches(&serde_json::from_str(only_inner).unwrap()));
        assert_eq!(of(r#"{ "type" : "obs_gap" }"#).as_deref(), Some("obs_gap"));
        assert_eq!(of("no JSON"), None);
    }
}
