use std::collections::BTreeMap;

use crate::format::formatted;
use crate::kinds::VariableKind;
use crate::model::{Dashboard, Query, Variable};

/// Passes of substitution: a variable's value may name another variable, not without end.
const PASSES: usize = 4;
/// What Grafana calls the choice of everything.
const ALL: &str = "$__all";

/// What the page shows: range, step and the chosen values of variables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueryScope {
    /// Milliseconds since the epoch.
    pub from_ms: i64,
    pub to_ms: i64,
    pub step_ms: i64,
    /// How often the metrics are scraped; `$__rate_interval` is at least four times this.
    pub scrape_interval_ms: i64,
    /// Choices that replace the dashboard's own, by variable.
    pub values: BTreeMap<String, Vec<String>>,
}

impl QueryScope {
    /// The hour up to `to_ms`, scraped and stepped every 15 s, with the dashboard's own choices;
    /// for readers to whom range and step do not matter.
    pub fn hour_until(to_ms: i64) -> Self {
        Self {
            from_ms: to_ms.saturating_sub(3_600_000),
            to_ms,
            step_ms: 15_000,
            scrape_interval_ms: 15_000,
            values: BTreeMap::new(),
        }
    }
}

/// One query of one panel, ready to be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PanelQuery {
    pub panel_id: i64,
    pub panel_title: String,
    /// The panel's query with its expression and legend filled in.
    pub query: Query,
    /// At least the query's own interval.
    pub step_ms: i64,
}

/// Every query of the dashboard with its variables filled in, in reading order. A `$name` that is
/// no variable is left as it is: `$` ends a regular expression. Targets that ask nothing are left
/// out.
pub fn panel_queries(dashboard: &Dashboard, scope: &QueryScope) -> Vec<PanelQuery> {
    let mut out = Vec::new();
    for panel in dashboard.all_panels() {
        for query in panel.queries.iter().filter(|q| !q.expr.trim().is_empty()) {
            let filler = Filler { dashboard, scope, step_ms: step_ms(dashboard, scope, query) };
            out.push(PanelQuery {
                panel_id: panel.id,
                panel_title: filler.fill(&panel.title),
                query: Query {
                    expr: filler.fill(&query.expr),
                    legend: filler.fill(&query.legend),
                    ..query.clone()
                },
                step_ms: filler.step_ms,
            });
        }
    }
    out
}

/// A text of the dashboard, such as a title, with its variables filled in.
pub fn filled(dashboard: &Dashboard, scope: &QueryScope, text: &str) -> String {
    Filler { dashboard, scope, step_ms: scope.step_ms.max(1) }.fill(text)
}

fn step_ms(dashboard: &Dashboard, scope: &QueryScope, query: &Query) -> i64 {
    let own = Filler { dashboard, scope, step_ms: scope.step_ms }.fill(&query.interval);
    let least = parse_duration_ms(own.trim_start_matches('>')).unwrap_or(0);
    scope.step_ms.max(least).max(1)
}

struct Filler<'a> {
    dashboard: &'a Dashboard,
    scope: &'a QueryScope,
    step_ms: i64,
}

impl Filler<'_> {
    fn fill(&self, text: &str) -> String {
        let mut out = text.to_owned();
        for _ in 0..PASSES {
            let next = self.pass(&out);
            if next == out {
                break;
            }
            out = next;
        }
        out
    }

    /// Replaces `$name`, `${name}`, `${name:format}` and `[[name]]`.
    fn pass(&self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find(['$', '[']) {
            let (before, after) = rest.split_at(at);
            out.push_str(before);
            match reference(after) {
                Some((name, format, taken)) => {
                    let (whole, tail) = after.split_at(taken);
                    match self.value(name, format) {
                        Some(value) => out.push_str(&value),
                        None => out.push_str(whole),
                    }
                    rest = tail;
                }
                None => {
                    let (mark, tail) = after.split_at(1);
                    out.push_str(mark);
                    rest = tail;
                }
            }
        }
        out.push_str(rest);
        out
    }

    fn value(&self, name: &str, format: &str) -> Option<String> {
        let range_ms = self.scope.to_ms.saturating_sub(self.scope.from_ms).max(1);
        let rate_ms = (self.step_ms.saturating_add(self.scope.scrape_interval_ms))
            .max(self.scope.scrape_interval_ms.saturating_mul(4));
        let text = match name {
            "__interval" => duration(self.step_ms),
            "__interval_ms" => self.step_ms.to_string(),
            "__rate_interval" => duration(rate_ms),
            "__rate_interval_ms" => rate_ms.to_string(),
            "__range" => format!("{}s", (range_ms + 999) / 1000),
            "__range_s" => ((range_ms + 999) / 1000).to_string(),
            "__range_ms" => range_ms.to_string(),
            "__auto" | "__auto_interval" => duration(self.step_ms),
            "__from" => self.scope.from_ms.to_string(),
            "__to" => self.scope.to_ms.to_string(),
            "__dashboard" => self.dashboard.title.clone(),
            _ => return self.variable(name, format),
        };
        Some(text)
    }

    fn variable(&self, name: &str, format: &str) -> Option<String> {
        let known = self.dashboard.variables.iter().find(|v| v.name == name);
        let given = self.scope.values.get(name);
        let values: &[String] = match (given, known) {
            (Some(values), _) => values,
            (None, Some(v)) if !v.current.is_empty() => &v.current,
            (None, Some(v)) => match v.kind {
                VariableKind::Constant | VariableKind::TextBox => {
                    return Some(formatted(std::slice::from_ref(&v.query), format, false));
                }
                VariableKind::Query | VariableKind::Custom if v.include_all || v.multi => {
                    return Some(self.all(v, format));
                }
                VariableKind::Query => return Some(String::new()),
                _ => v.options.get(..1).unwrap_or(&[]),
            },
            (None, None) => return None,
        };
        if values.iter().any(|v| v == ALL || v == "All") {
            return Some(match known {
                Some(v) => self.all(v, format),
                None => ".*".to_owned(),
            });
        }
        let many = known.is_some_and(|v| v.multi || v.include_all) || values.len() > 1;
        // An interval variable set to auto follows the page.
        if known.is_some_and(|v| v.kind == VariableKind::Interval)
            && values.first().is_some_and(|v| v.starts_with("$__auto"))
        {
            return Some(duration(self.step_ms));
        }
        // Labels to group by stand between commas.
        let usual = match known.map(|v| v.kind) {
            Some(VariableKind::GroupBy) if format.is_empty() => "csv",
            _ => format,
        };
        Some(formatted(values, usual, many))
    }

    fn all(&self, v: &Variable, format: &str) -> String {
        let options: Vec<String> = v.options.iter().filter(|o| *o != ALL).cloned().collect();
        if !v.all_value.is_empty() {
            v.all_value.clone()
        } else if options.is_empty() {
            ".*".to_owned()
        } else {
            formatted(&options, format, true)
        }
    }
}

/// The name, the format and the length of a reference at the start of the text.
pub(crate) fn reference(text: &str) -> Option<(&str, &str, usize)> {
    let (inner, taken) = if let Some(rest) = text.strip_prefix("${") {
        let (inner, _) = rest.split_once('}')?;
        (inner, inner.len() + 3)
    } else if let Some(rest) = text.strip_prefix("[[") {
        let (inner, _) = rest.split_once("]]")?;
        (inner, inner.len() + 4)
    } else {
        let rest = text.strip_prefix('$')?;
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
        let (name, _) = rest.split_at(end);
        (name, end + 1)
    };
    let (name, format) = inner.split_once(':').unwrap_or((inner, ""));
    // `.text` and `.value` name what is shown and what is meant.
    let name = name.strip_suffix(".text").or_else(|| name.strip_suffix(".value")).unwrap_or(name);
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    (!name.is_empty() && name.chars().all(word)).then_some((name, format, taken))
}

fn duration(ms: i64) -> String {
    if ms % 1000 == 0 { format!("{}s", ms / 1000) } else { format!("{ms}ms") }
}

/// `30s`, `5m`, `1h30m`; `None` for anything else.
fn parse_duration_ms(text: &str) -> Option<i64> {
    let mut total = 0i64;
    let mut rest = text.trim();
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let (digits, tail) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit())?);
        let (unit, tail) =
            tail.split_at(tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len()));
        let size = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            "w" => 604_800_000,
            _ => return None,
        };
        total = total.checked_add(digits.parse::<i64>().ok()?.checked_mul(size)?)?;
        rest = tail;
    }
    Some(total)
}
