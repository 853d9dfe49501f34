//! Turns an indicator into two PromQL queries that count good (or bad) and all events of a
//! window, weighted by events and not by time.
//!
//! What may stand in `good_query`, `error_query` and `total_query`:
//! 1. `{{.window}}` anywhere: it becomes the window; the result is taken as a number of events,
//!    or, if it is a `rate`, as events per second.
//! 2. A plain counter selector (`requests_total{code="200"}`): its increase, summed over series.
//! 3. An expression with `rate`: events per second, added up over the window in steps.
//! 4. Anything else (`oracle_up == 1`, `count(oracle_requests)`, `sum(tests_total)` of a gauge): a
//!    number of good (all) things at an instant, added up over the window in steps.

use obs_types::DurationMs;

use crate::slo::definition::Indicator;
use crate::slo::duration::duration_text;

/// Two queries to be evaluated at the end of the window; each gives one number, or nothing when
/// there is no data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventQueries {
    pub part: Part,
    pub total: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    Good(String),
    Bad(String),
}

const COUNTER_SUFFIXES: [&str; 4] = ["_total", "_count", "_bucket", "_sum"];
const PLACEHOLDERS: [&str; 3] = ["{{.window}}", "{{ .window }}", "$window"];

/// The queries for one window of an indicator.
pub fn event_queries(indicator: &Indicator, window: DurationMs) -> EventQueries {
    let text = duration_text(window);
    let step = duration_text(step_of(window));
    match indicator {
        Indicator::Ratio { good_query, error_query, total_query } => EventQueries {
            part: match (good_query, error_query) {
                (Some(good), _) => Part::Good(count_events(good, window)),
                (None, Some(bad)) => Part::Bad(count_events(bad, window)),
                // Not reachable through a definition file; all events good is the neutral answer.
                (None, None) => Part::Bad("vector(0)".to_owned()),
            },
            total: count_events(total_query, window),
        },
        Indicator::Histogram { histogram, threshold } => {
            let bucket = with_suffix(histogram, "_bucket", Some(&le_matcher(*threshold)));
            let count = with_suffix(histogram, "_count", None);
            EventQueries {
                part: Part::Good(format!("sum(increase({bucket}[{text}]))")),
                total: format!("sum(increase({count}[{text}]))"),
            }
        }
        Indicator::NativeHistogram { histogram, threshold } => {
            let all = format!("sum(increase({histogram}[{text}]))");
            EventQueries {
                part: Part::Good(format!(
                    "histogram_fraction(-Inf, {threshold}, {all}) * histogram_count({all})"
                )),
                total: format!("histogram_count({all})"),
            }
        }
        Indicator::Value { query, threshold } => EventQueries {
            part: Part::Good(format!(
                "sum(count_over_time((({query}) <= {threshold})[{text}:{step}]))"
            )),
            total: format!("sum(count_over_time(({query})[{text}:{step}]))"),
        },
    }
}

/// Fine enough that an outage of minutes is seen, coarse enough that 30 days are 8 640 points.
fn step_of(window: DurationMs) -> DurationMs {
    match window.0 {
        w if w <= DurationMs::DAY.0 => DurationMs::MINUTE,
        _ => DurationMs(5 * DurationMs::MINUTE.0),
    }
}

fn count_events(query: &str, window: DurationMs) -> String {
    let text = duration_text(window);
    if PLACEHOLDERS.iter().any(|p| query.contains(p)) {
        let filled = PLACEHOLDERS.iter().fold(query.to_owned(), |query, p| query.replace(p, &text));
        return match is_rate(query) {
            true => format!("sum({filled}) * {}", window.0 / 1000),
            false => format!("sum({filled})"),
        };
    }
    if let Some(selector) = counter_selector(query) {
        return format!("sum(increase({selector}[{text}]))");
    }
    let step = step_of(window);
    let sum = format!("sum(sum_over_time(({query})[{text}:{}]))", duration_text(step));
    match is_rate(query) {
        true => format!("{sum} * {}", step.0 / 1000),
        false => sum,
    }
}

fn is_rate(query: &str) -> bool {
    query.contains("rate(") && !query.contains("increase(")
}

/// The query, if it is nothing but a selector of a metric named as counters are.
fn counter_selector(query: &str) -> Option<&str> {
    let query = query.trim();
    let name_len = query
        .find(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':'))
        .unwrap_or(query.len());
    let (name, rest) = query.split_at_checked(name_len)?;
    let rest = rest.trim();
    let plain = rest.is_empty()
        || (rest.starts_with('{') && rest.ends_with('}') && rest.matches(['{', '}']).count() == 2);
    (plain && COUNTER_SUFFIXES.iter().any(|s| name.ends_with(s))).then_some(query)
}

/// `name_bucket{job="a",le=~"30|30\\.0"}` from `name{job="a"}`.
fn with_suffix(selector: &str, suffix: &str, matcher: Option<&str>) -> String {
    let selector = selector.trim();
    let (name, matchers) = selector.split_once('{').unwrap_or((selector, ""));
    let inner = matchers.trim_end().trim_end_matches('}').trim().trim_end_matches(',');
    let parts: Vec<&str> =
        [inner, matcher.unwrap_or("")].into_iter().filter(|p| !p.is_empty()).collect();
    match parts.is_empty() {
        true => format!("{}{suffix}", name.trim()),
        false => format!("{}{suffix}{{{}}}", name.trim(), parts.join(",")),
    }
}

/// Clients write a bound as `30` or `30.0`; both are the same bucket.
fn le_matcher(threshold: f64) -> String {
    let plain = format!("{threshold}").replace('.', "\\\\.");
    match plain.contains("\\\\.") {
        true => format!("le=~\"{plain}\""),
        false => format!("le=~\"{plain}|{plain}\\\\.0\""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ratio(good: &str, total: &str) -> EventQueries {
        let indicator = Indicator::Ratio {
            good_query: Some(good.into()),
            error_query: None,
            total_query: total.into(),
        };
        event_queries(&indicator, DurationMs(30 * DurationMs::DAY.0))
    }

    #[test]
    fn each_shape_of_query_counts_events() {
        let q = ratio("http_requests_total{code!~\"5..\"}", "http_requests_total");
        assert_eq!(
            q.part,
            Part::Good("sum(increase(http_requests_total{code!~\"5..\"}[30d]))".into())
        );
        assert_eq!(q.total, "sum(increase(http_requests_total[30d]))");
        let q = ratio("sum(rate(a_total[{{.window}}]))", "sum(rate(b_total[5m]))");
        assert_eq!(q.part, Part::Good("sum(sum(rate(a_total[30d]))) * 2592000".into()));
        assert_eq!(q.total, "sum(sum_over_time((sum(rate(b_total[5m])))[30d:5m])) * 300");
        // A gauge with a counter's name is counted as it stands where it is summed.
        let q = ratio("sum(tests_passed_total)", "sum(tests_total)");
        assert_eq!(q.total, "sum(sum_over_time((sum(tests_total))[30d:5m]))");
        let q = ratio("oracle_up == 1", "count(oracle_requests)");
        assert_eq!(q.part, Part::Good("sum(sum_over_time((oracle_up == 1)[30d:5m]))".into()));
        assert_eq!(q.total, "sum(sum_over_time((count(oracle_requests))[30d:5m]))");
    }

    #[test]
    fn latency_counts_a_bucket_whichever_way_it_is_spelled() {
        let indicator =
            Indicator::Histogram { histogram: "anchor_seconds{job=\"g\"}".into(), threshold: 30.0 };
        let q = event_queries(&indicator, DurationMs::HOUR);
        assert_eq!(
            q.part,
            Part::Good(
                "sum(increase(anchor_seconds_bucket{job=\"g\",le=~\"30|30\\\\.0\"}[1h]))".into()
            )
        );
        assert_eq!(q.total, "sum(increase(anchor_seconds_count{job=\"g\"}[1h]))");
        assert_eq!(le_matcher(0.25), "le=~\"0\\\\.25\"");
    }
}
