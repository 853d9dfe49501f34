use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use obs_promql::testing::{MemorySource, parse_histogram, parse_metric, parse_series};
use obs_types::{DurationMs, LabelSet, NativeHistogram, QueryContext, SeriesSource, TimestampMs};

use super::file::{AlertTest, QueryTest, Test, TestFile};
use super::{TestOptions, TestOutcome};
use crate::number::go_float;
use crate::overlay::Overlay;
use crate::promql::{self, SampleValue};
use crate::{
    AlertState, Effect, GroupOptions, ReadOptions, RuleFile, RuleGroup, RuleKind, RulesError,
    StepContext,
};

/// Most evaluations of one test; a slip in an `eval_time` must not run for hours.
const STEPS_MAX: i64 = 1_000_000;

pub(super) fn run(
    file: &TestFile,
    folder: &Path,
    options: &TestOptions,
) -> Result<Vec<TestOutcome>, RulesError> {
    let read = ReadOptions {
        ignore_unknown_fields: options.ignore_unknown_fields,
        ..ReadOptions::default()
    };
    let mut rules = Vec::new();
    for name in &file.rule_files {
        for path in matching_files(&folder.join(name)) {
            rules.push(RuleFile::load(&path, read)?);
        }
    }
    let wanted = |t: &&Test| options.run.as_ref().is_none_or(|part| t.name.contains(part));
    Ok(file
        .tests
        .iter()
        .filter(wanted)
        .map(|test| TestOutcome {
            name: test.name.clone(),
            failures: run_test(file, test, &rules).unwrap_or_else(|e| vec![e]),
        })
        .collect())
}

/// A `*` in the last part of the path stands for any text, as in Prometheus' `rule_files`.
fn matching_files(path: &Path) -> Vec<std::path::PathBuf> {
    let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
    let Some((before, after)) = name.split_once('*') else { return vec![path.to_path_buf()] };
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut found: Vec<std::path::PathBuf> = std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|p| {
            let name = p.file_name().and_then(|n| n.to_str()).unwrap_or_default();
            name.len() >= before.len() + after.len()
                && name.starts_with(before)
                && name.ends_with(after)
        })
        .collect();
    found.sort();
    found
}

fn run_test(file: &TestFile, test: &Test, rules: &[RuleFile]) -> Result<Vec<String>, String> {
    let mut source = MemorySource::default();
    for (name, values) in &test.input {
        source.append(parse_series(name, values, test.start, test.interval.0)?);
    }
    let options = GroupOptions {
        interval: file.interval,
        query_offset: DurationMs(0),
        external_labels: LabelSet::from_pairs(test.external_labels.clone()),
        external_url: test.external_url.clone(),
    };
    let mut groups: Vec<RuleGroup> = rules
        .iter()
        .flat_map(|f| f.groups.iter().map(|g| RuleGroup::new(&f.path, g, &options)))
        .collect();
    let place = |g: &RuleGroup| {
        file.group_order.iter().position(|name| *name == g.name).unwrap_or(usize::MAX)
    };
    groups.sort_by_key(place);
    // Thousands of steps over little data: threads would cost more than they save.
    groups.iter_mut().for_each(|g| g.set_concurrency(1));

    let last = test.alerts.iter().map(|t| t.at).chain(test.queries.iter().map(|t| t.at)).max();
    let last = last.unwrap_or_default().0;
    if last / file.interval.0 > STEPS_MAX {
        return Err(format!("more than {STEPS_MAX} evaluations"));
    }
    let query = QueryContext::unlimited();
    let context = StepContext { query: &query, monotonic: &|| Duration::ZERO };
    let mut failures = Vec::new();
    let mut stored = Overlay::new(&source);
    for at in (0..=last).step_by(usize::try_from(file.interval.0).unwrap_or(usize::MAX)) {
        let now = test.start.saturating_add(DurationMs(at));
        for group in &mut groups {
            for effect in group.step(now, &stored, &context) {
                match effect {
                    Effect::Write(batch) => stored.add(&batch.series),
                    Effect::Alert(_) => {}
                    Effect::Failed(f) => failures.push(format!(
                        "rule {:?} of group {:?} at {}s: {}",
                        f.rule,
                        f.group,
                        at / 1000,
                        f.message
                    )),
                }
            }
        }
        let due = |t: &&AlertTest| at <= t.at.0 && t.at.0 < at + file.interval.0;
        for check in test.alerts.iter().filter(due) {
            failures.extend(check_alerts(check, &groups));
        }
        if failures.len() > 100 {
            failures.push("more failures are not shown".to_owned());
            return Ok(failures);
        }
    }
    for check in &test.queries {
        let at = test.start.saturating_add(check.at);
        if let Err(e) = check_query(check, &stored, at, &query, file.fuzzy) {
            failures.push(format!("expr {:?} at {}s: {e}", check.expr, check.at.0 / 1000));
        }
    }
    Ok(failures)
}

type Alert = (LabelSet, BTreeMap<String, String>);

fn check_alerts(test: &AlertTest, groups: &[RuleGroup]) -> Option<String> {
    let mut got: Vec<Alert> = groups
        .iter()
        .flat_map(|g| &g.rules)
        .filter(|r| matches!(r.spec.kind, RuleKind::Alert(_)) && r.spec.name() == test.name)
        .flat_map(|r| r.active.values())
        .filter(|a| a.state == AlertState::Firing)
        .map(|a| (a.labels.clone(), a.annotations.clone()))
        .collect();
    let mut want: Vec<Alert> = test
        .expected
        .iter()
        .map(|(labels, annotations)| {
            let labels = LabelSet::from_pairs(labels.clone()).with("alertname", &test.name);
            (labels, annotations.clone())
        })
        .collect();
    got.sort();
    want.sort();
    (got != want).then(|| {
        let show = |alerts: &[Alert]| {
            let each: Vec<String> = alerts.iter().map(|(l, a)| format!("{l} {a:?}")).collect();
            format!("[{}]", each.join("; "))
        };
        format!(
            "alertname {:?} at {}s: expected {}, got {}",
            test.name,
            test.at.0 / 1000,
            show(&want),
            show(&got)
        )
    })
}

fn check_query(
    test: &QueryTest,
    source: &dyn SeriesSource,
    at: TimestampMs,
    context: &QueryContext,
    fuzzy: bool,
) -> Result<(), String> {
    let mut got: Vec<(LabelSet, SampleValue)> = promql::instant(source, &test.expr, at, context)?
        .into_iter()
        .map(|s| (s.labels, s.value))
        .collect();
    let mut want = Vec::new();
    for sample in &test.expected {
        let value = match &sample.histogram {
            None => SampleValue::Float(sample.value),
            Some(text) => {
                let histogram = parse_histogram(text)
                    .ok_or_else(|| format!("histogram {text:?} is not understood"))?;
                SampleValue::Histogram(histogram.into())
            }
        };
        want.push((parse_metric(&sample.labels)?, value));
    }
    got.sort_by(|a, b| a.0.cmp(&b.0));
    want.sort_by(|a, b| a.0.cmp(&b.0));
    let same = got.len() == want.len()
        && got.iter().zip(&want).all(|(g, w)| g.0 == w.0 && same_value(&g.1, &w.1, fuzzy));
    if same {
        return Ok(());
    }
    let show = |samples: &[(LabelSet, SampleValue)]| {
        let each: Vec<String> = samples
            .iter()
            .map(|(l, v)| match v {
                SampleValue::Float(v) => format!("{l} {}", go_float(*v)),
                SampleValue::Histogram(h) => format!("{l} {h:?}"),
            })
            .collect();
        format!("[{}]", each.join("; "))
    };
    Err(format!("expected {}, got {}", show(&want), show(&got)))
}

fn same_value(a: &SampleValue, b: &SampleValue, fuzzy: bool) -> bool {
    match (a, b) {
        (SampleValue::Float(a), SampleValue::Float(b)) => {
            a == b
                || (a.is_nan() && b.is_nan())
                || (fuzzy && (a.next_up() == *b || a.next_down() == *b))
        }
        (SampleValue::Histogram(a), SampleValue::Histogram(b)) => {
            a.schema == b.schema
                && a.counter_reset_hint == b.counter_reset_hint
                && a.zero_threshold == b.zero_threshold
                && a.zero_count == b.zero_count
                && a.count == b.count
                && a.sum == b.sum
                && a.custom_values == b.custom_values
                && buckets(a, true) == buckets(b, true)
                && buckets(a, false) == buckets(b, false)
        }
        _ => false,
    }
}

/// Counts by bucket index, without empty buckets, so that the layout of spans does not matter.
fn buckets(h: &NativeHistogram, positive: bool) -> Vec<(i64, f64)> {
    let (spans, counts) = match positive {
        true => (&h.positive_spans, &h.positive_buckets),
        false => (&h.negative_spans, &h.negative_buckets),
    };
    let mut index = 0i64;
    let mut places = Vec::new();
    for span in spans {
        index += i64::from(span.offset);
        for _ in 0..span.length {
            places.push(index);
            index += 1;
        }
    }
    places.into_iter().zip(counts.iter().copied()).filter(|(_, count)| *count != 0.0).collect()
}
