use std::collections::BTreeMap;

use obs_types::{DurationMs, TimestampMs};

use super::{AlertSpan, Compared, RuleFact};
use crate::slo::InstantQuery;

const MINUTE: i64 = 60_000;
/// What `for` may be raised by.
const HOLDS: [i64; 7] = [1, 2, 5, 10, 15, 30, 60];
/// An alert that fires so many times is looked at.
const OFTEN: usize = 5;
/// Share of an alert's firings that a longer `for` must remove to be worth it.
const REMOVED_MIN: f64 = 0.7;
/// Share of the period beyond which an alert says how things are, not what is wrong.
const ALWAYS: f64 = 0.5;
/// Firings of two alerts that begin within this time belong together.
const TOGETHER_MS: i64 = MINUTE;
/// Pairs of that many firings at least, and this share of all of both, for a link.
const PAIRS_MIN: usize = 3;
const PAIRED_MIN: f64 = 0.8;

/// What the history of an alert says about its rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advice {
    pub alert: String,
    /// `flapping`, `always-firing`, `unheard`, `ignored`, `together`, `never-fired`
    pub code: &'static str,
    pub text: String,
}

fn spans_ms(spans: &[&AlertSpan], start: TimestampMs, end: TimestampMs) -> Vec<i64> {
    spans
        .iter()
        .map(|s| (s.resolved_at.unwrap_or(end).0.min(end.0) - s.fired_at.0.max(start.0)).max(0))
        .collect()
}

/// Advice by alert, from `spans` that overlap `start..end`. `never`: whether rules that did not fire
/// are named. Queries that fail leave a sentence out.
pub fn advise(
    spans: &[AlertSpan],
    rules: &[RuleFact],
    start: TimestampMs,
    end: TimestampMs,
    never: bool,
    query: &dyn InstantQuery,
) -> Vec<Advice> {
    let mut by_name: BTreeMap<&str, Vec<&AlertSpan>> = BTreeMap::new();
    for span in spans {
        by_name.entry(&span.name).or_default().push(span);
    }
    let mut out = Vec::new();
    for (name, spans) in &by_name {
        let rule = rules.iter().find(|r| r.name == *name);
        let mut add = |code, text| out.push(Advice { alert: (*name).to_owned(), code, text });
        if let Some(text) = flapping(spans, rule, end) {
            add("flapping", text);
        }
        if let Some(text) = always(spans, rule, start, end, query) {
            add("always-firing", text);
        }
        let unheard = spans.iter().filter(|s| s.receivers == 0).count();
        if unheard > 0 {
            let text = format!(
                "{unheard} of {} firings reached nobody: give it a route, or remove it",
                spans.len()
            );
            add("unheard", text);
        }
        let over: Vec<_> = spans.iter().filter(|s| s.resolved_at.is_some()).collect();
        let pages = spans.iter().any(|s| s.severity == "critical");
        if pages && over.len() >= 3 && over.iter().all(|s| !s.acknowledged) {
            let text = format!(
                "nobody acknowledged any of {} firings, and they ended by themselves: lower its severity or say in its runbook what is to be done",
                over.len()
            );
            add("ignored", text);
        }
    }
    out.extend(together(&by_name));
    if never {
        for rule in rules.iter().filter(|r| !by_name.contains_key(r.name.as_str())) {
            let text = "did not fire: see with `vm-obs doctor` whether it can".to_owned();
            out.push(Advice { alert: rule.name.clone(), code: "never-fired", text });
        }
    }
    out
}

/// How much longer `for` has to be for most of the firings not to have been.
fn flapping(spans: &[&AlertSpan], rule: Option<&RuleFact>, end: TimestampMs) -> Option<String> {
    if spans.len() < OFTEN {
        return None;
    }
    // Whole lengths: a condition that held before the period held all the same.
    let lengths = spans_ms(spans, TimestampMs::MIN, end);
    let (add, removed) = HOLDS.iter().find_map(|minutes| {
        let removed = lengths.iter().filter(|l| **l < minutes * MINUTE).count();
        (removed as f64 >= REMOVED_MIN * lengths.len() as f64).then_some((*minutes, removed))
    })?;
    let hold = rule.map_or(0, |r| r.hold_ms) + add * MINUTE;
    let shown = crate::slo::duration_text(DurationMs(hold));
    Some(format!(
        "fired {} times, mostly for less than {add}m: with `for: {shown}` {} would have been left",
        lengths.len(),
        lengths.len() - removed
    ))
}

fn always(
    spans: &[&AlertSpan],
    rule: Option<&RuleFact>,
    start: TimestampMs,
    end: TimestampMs,
    query: &dyn InstantQuery,
) -> Option<String> {
    let period = (end.0 - start.0).max(1);
    let mut by_instance: BTreeMap<&str, i64> = BTreeMap::new();
    for (span, length) in spans.iter().zip(spans_ms(spans, start, end)) {
        *by_instance.entry(&span.labels).or_default() += length;
    }
    let longest = by_instance.values().copied().max().unwrap_or(0);
    let share = longest as f64 / period as f64;
    if share < ALWAYS {
        return None;
    }
    let mut text = format!("fired for {:.0} % of the period: mend it, or", share * 100.0);
    match rule.and_then(|r| r.compared.as_ref()).and_then(|c| usual(c, start, end, query)) {
        Some((value, compared)) => {
            let (word, place) = if compared.above { ("above", "95 %") } else { ("below", "5 %") };
            text += &format!(
                " move its threshold {word} {}, where {place} of its values were below (it is {})",
                plain(value),
                plain(compared.threshold)
            );
        }
        None => text += " change its threshold: it says how things are, not that they changed",
    }
    Some(text)
}

/// The value that the worst series had on all but 5 % of the period.
fn usual<'a>(
    compared: &'a Compared,
    start: TimestampMs,
    end: TimestampMs,
    query: &dyn InstantQuery,
) -> Option<(f64, &'a Compared)> {
    let seconds = (end.0 - start.0) / 1000;
    let step = (seconds / 300).max(15);
    let (worst, quantile) = if compared.above { ("max", 0.95) } else { ("min", 0.05) };
    let text =
        format!("quantile_over_time({quantile}, ({worst}({}))[{seconds}s:{step}s])", compared.left);
    let (_, value) = query.instant(&text, end).ok()?.into_iter().next()?;
    let beyond =
        if compared.above { value > compared.threshold } else { value < compared.threshold };
    (value.is_finite() && beyond).then_some((value, compared))
}

/// Six significant digits at most.
pub(super) fn plain(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return value.to_string();
    }
    let digits = (5 - value.abs().log10().floor() as i32).clamp(0, 12) as usize;
    let text = format!("{value:.digits$}");
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

/// Alerts that begin together, so that one could inhibit the other.
fn together(by_name: &BTreeMap<&str, Vec<&AlertSpan>>) -> Vec<Advice> {
    let mut out = Vec::new();
    let names: Vec<_> = by_name.iter().collect();
    for (i, (a, firings)) in names.iter().enumerate() {
        for (b, others) in names.get(i + 1..).unwrap_or_default() {
            let near = |s: &AlertSpan, all: &[&AlertSpan]| {
                all.iter().any(|o| (o.fired_at.0 - s.fired_at.0).abs() <= TOGETHER_MS)
            };
            let paired = firings.iter().filter(|s| near(s, others)).count();
            let back = others.iter().filter(|s| near(s, firings)).count();
            let share = |n: usize, all: usize| n as f64 / all as f64 >= PAIRED_MIN;
            if paired >= PAIRS_MIN && share(paired, firings.len()) && share(back, others.len()) {
                let text = format!(
                    "fired together with {b} in {paired} of {} cases: let one inhibit the other, or group them",
                    firings.len()
                );
                out.push(Advice { alert: (**a).to_owned(), code: "together", text });
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use obs_types::LabelSet;

    const END: TimestampMs = TimestampMs(7 * DurationMs::DAY.0);
    const START: TimestampMs = TimestampMs(0);

    fn span(name: &str, at_minutes: i64, minutes: Option<i64>) -> AlertSpan {
        let fired_at = TimestampMs(at_minutes * MINUTE);
        AlertSpan {
            name: name.to_owned(),
            severity: "warning".to_owned(),
            labels: "{}".to_owned(),
            fired_at,
            resolved_at: minutes.map(|m| TimestampMs(fired_at.0 + m * MINUTE)),
            acknowledged: false,
            receivers: 1,
        }
    }

    fn ask(spans: &[AlertSpan], rules: &[RuleFact]) -> Vec<Advice> {
        let query = |text: &str, _: TimestampMs| {
            assert_eq!(text, "quantile_over_time(0.95, (max(cpu_percent))[604800s:2016s])");
            Ok(vec![(LabelSet::empty(), 91.25)])
        };
        advise(spans, rules, START, END, true, &query)
    }

    fn rule(name: &str, hold_minutes: i64) -> RuleFact {
        RuleFact { name: name.to_owned(), hold_ms: hold_minutes * MINUTE, ..RuleFact::default() }
    }

    #[test]
    fn flapping_is_told_with_the_for_that_would_have_helped() {
        let mut spans: Vec<_> = (0..9).map(|i| span("Flap", i * 600, Some(3))).collect();
        spans.push(span("Flap", 9_000, Some(120)));
        let advice = ask(&spans, &[rule("Flap", 5)]);
        assert_eq!(advice.len(), 1, "{advice:?}");
        assert_eq!(
            advice[0].text,
            "fired 10 times, mostly for less than 5m: with `for: 10m` 1 would have been left"
        );
        // Long firings are not flapping, and four are not many.
        let long: Vec<_> = (0..9).map(|i| span("Flap", i * 600, Some(90))).collect();
        assert!(ask(&long, &[rule("Flap", 5)]).is_empty());
        assert!(ask(&spans[..4], &[rule("Flap", 5)]).is_empty());
    }

    #[test]
    fn an_alert_that_always_fires_gets_a_threshold_from_its_values() {
        let compared = Compared { left: "cpu_percent".to_owned(), above: true, threshold: 80.0 };
        let rule = RuleFact { compared: Some(compared), ..rule("CpuHigh", 0) };
        let spans = [span("CpuHigh", -500, None)];
        let advice = ask(&spans, &[rule]);
        assert_eq!(advice[0].code, "always-firing");
        assert_eq!(
            advice[0].text,
            "fired for 100 % of the period: mend it, or move its threshold above 91.25, where 95 % of its values were below (it is 80)"
        );
    }

    #[test]
    fn unheard_ignored_together_and_never() {
        let mut spans = Vec::new();
        for i in 0..4 {
            spans.push(span("NodeDown", i * 1_000, Some(30)));
            spans.push(span("RaftLost", i * 1_000, Some(30)));
        }
        for s in &mut spans {
            if s.name == "NodeDown" {
                s.receivers = 0;
                s.severity = "critical".to_owned();
            }
        }
        let rules = [rule("NodeDown", 1), rule("RaftLost", 1), rule("Quiet", 1)];
        let found: Vec<_> =
            ask(&spans, &rules).into_iter().map(|a| (a.alert.clone(), a.code)).collect();
        let named = |a: &str, code| (a.to_owned(), code);
        assert_eq!(
            found,
            [
                named("NodeDown", "unheard"),
                named("NodeDown", "ignored"),
                named("NodeDown", "together"),
                named("Quiet", "never-fired"),
            ]
        );
    }
}
