//! Random work against a map of maps.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use obs_disk::Clock;
use obs_types::{
    LabelSet, MatchOp, Matcher, MetricSink, QueryContext, SeriesSource, TimestampMs, matches_all,
};
use proptest::prelude::*;

use crate::{Content, HOUR, T0, World, append_sent, batch, labels, range, select};

#[derive(Clone, Debug)]
enum Step {
    /// Series number, offset from now in ms (mostly back), value number; how labels are spelled,
    /// 0 for label sets.
    Append(Vec<(u8, i64, u8)>, u8),
    Advance(u64),
    Maintain,
    /// In order, or by a crash.
    Reopen(bool),
    DropBefore(i64),
    Delete(u8, i64, i64),
}

fn step() -> impl Strategy<Value = Step> {
    let offset = prop_oneof![
        4 => Just(0_i64),
        3 => (-10_i64..0).prop_map(|i| i * 60_000),
        2 => (-10_i64..2).prop_map(|i| i * HOUR / 4),
        1 => -8 * HOUR..HOUR,
    ];
    let item = (0_u8..6, offset, 0_u8..6);
    prop_oneof![
        8 => (proptest::collection::vec(item, 1..8), 0_u8..3).prop_map(|(all, spelling)| Step::Append(all, spelling)),
        5 => (1_u64..120).prop_map(|m| Step::Advance(m * 60)),
        3 => Just(Step::Maintain),
        2 => any::<bool>().prop_map(Step::Reopen),
        1 => (-12_i64..0).prop_map(Step::DropBefore),
        1 => (0_u8..6, -5_i64..0, 1_i64..4).prop_map(|(s, a, n)| Step::Delete(s, a, n)),
    ]
}

fn series(n: u8) -> LabelSet {
    match n {
        0 => labels("m", &[]),
        1 => labels("m", &[("env", "prod")]),
        2 => labels("m", &[("env", "test"), ("zone", "b")]),
        3 => labels("other", &[("env", "prod"), ("zone", "a")]),
        4 => labels("other", &[("zone", "b")]),
        _ => labels("third", &[("env", "prod-2")]),
    }
}

fn value(n: u8) -> f64 {
    [0.0, -0.0, 1.5, 1.0 / 3.0, f64::INFINITY, obs_types::stale_nan()][n as usize % 6]
}

#[derive(Default)]
struct Model {
    samples: BTreeMap<LabelSet, BTreeMap<i64, u64>>,
    /// What was deleted: hidden for good, but still in the way of duplicates while in the head.
    deleted: BTreeMap<LabelSet, Vec<(i64, i64)>>,
    newest: BTreeMap<LabelSet, i64>,
}

impl Model {
    /// Whether the engine has to accept the sample.
    fn append(&mut self, labels: &LabelSet, t: i64, v: f64, now: i64) -> bool {
        if t < now - 2 * HOUR || t > now + 600_000 {
            return false;
        }
        let of_series = self.samples.entry(labels.clone()).or_default();
        match of_series.get(&t) {
            Some(have) => *have == v.to_bits(),
            None => {
                of_series.insert(t, v.to_bits());
                let newest = self.newest.entry(labels.clone()).or_insert(t);
                *newest = t.max(*newest);
                true
            }
        }
    }

    fn visible(&self, labels: &LabelSet, t: i64) -> bool {
        let list = self.deleted.get(labels).map_or(&[][..], Vec::as_slice);
        !list.iter().any(|(start, end)| (*start..*end).contains(&t))
    }

    fn select(&self, matchers: &[Matcher], start: i64, end: i64) -> Content {
        let mut out: Content = self
            .samples
            .iter()
            .filter(|(labels, _)| matches_all(matchers, labels))
            .map(|(labels, samples)| {
                let of_range = samples.range(start..end).map(|(t, v)| (*t, *v));
                (labels.clone(), of_range.filter(|(t, _)| self.visible(labels, *t)).collect())
            })
            .filter(|(_, samples): &(LabelSet, Vec<(i64, u64)>)| !samples.is_empty())
            .collect();
        out.sort();
        out
    }
}

fn matcher_sets() -> Vec<Vec<Matcher>> {
    let m = |name: &str, op, value: &str| Matcher::new(name, op, value).unwrap();
    vec![
        vec![],
        vec![Matcher::equal("__name__", "m")],
        vec![Matcher::equal("env", "")],
        vec![m("env", MatchOp::Regex, "prod.*")],
        vec![m("env", MatchOp::NotRegex, "prod|test"), Matcher::not_equal("__name__", "m")],
        vec![m("zone", MatchOp::Regex, ".+"), Matcher::not_equal("zone", "a")],
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn the_engine_is_a_map_of_maps(
        steps in proptest::collection::vec(step(), 1..60),
        snapshot_wal_bytes in prop_oneof![Just(1_u64), Just(600), Just(u64::MAX)],
    ) {
        let mut world = World::new();
        world.limits.snapshot_wal_bytes = snapshot_wal_bytes;
        let mut engine = world.open();
        let mut model = Model::default();
        let context = QueryContext::unlimited();
        for step in steps {
            let now = world.clock.now();
            match step {
                Step::Append(items, spelling) => {
                    let all: Vec<_> = items
                        .iter()
                        .map(|(s, offset, v)| (series(*s), vec![(now.0 + offset, value(*v))]))
                        .collect();
                    let mut accepted = 0;
                    for (labels, samples) in &all {
                        let (t, v) = samples[0];
                        accepted += u64::from(model.append(labels, t, v, now.0));
                    }
                    let out = match spelling {
                        0 => engine.append(batch(&all)).unwrap(),
                        _ => append_sent(&engine, &batch(&all), spelling),
                    };
                    prop_assert_eq!(out.accepted, accepted, "{:?}", out);
                    prop_assert_eq!(out.rejected_count(), all.len() as u64 - accepted);
                }
                Step::Advance(seconds) => world.clock.advance(Duration::from_secs(seconds)),
                Step::Maintain => {
                    engine.maintain(now).unwrap();
                }
                Step::Reopen(stop) => {
                    if stop {
                        engine.shutdown();
                    }
                    drop(engine);
                    world.disk.crash();
                    engine = world.open();
                }
                Step::DropBefore(hours) => {
                    // Only what must be in blocks by now is predictable.
                    engine.maintain(now).unwrap();
                    let cut = (now.0 - 3 * HOUR + hours * HOUR).div_euclid(HOUR) * HOUR;
                    engine.drop_before(TimestampMs(cut)).unwrap();
                    for samples in model.samples.values_mut() {
                        samples.retain(|t, _| *t >= cut);
                    }
                }
                Step::Delete(s, hours, n) => {
                    let (start, end) = (now.0 + hours * HOUR, now.0 + (hours + n).min(0) * HOUR);
                    let labels = series(s);
                    let matchers: Vec<Matcher> = labels
                        .iter()
                        .map(|(n, v)| Matcher::equal(n, v))
                        .chain(["env", "zone"].iter().filter(|n| labels.get(n).is_none()).map(|n| Matcher::equal(*n, "")))
                        .collect();
                    let had = usize::from(!model.select(&matchers, start, end).is_empty());
                    let deleted = engine.delete_series(&[matchers], range(start, end)).unwrap();
                    prop_assert_eq!(deleted, had);
                    if had == 1 {
                        model.deleted.entry(labels).or_default().push((start, end));
                    }
                }
            }
            let now = world.clock.now().0;
            for (start, end) in [(i64::MIN, i64::MAX), (now - 3 * HOUR, now - HOUR / 3), (T0, T0)] {
                for matchers in matcher_sets() {
                    let want = if start < end { model.select(&matchers, start, end) } else { vec![] };
                    let range = range(start, end);
                    prop_assert_eq!(&select(&engine, &matchers, range), &want);
                    let sets = [matchers];
                    let names: Vec<LabelSet> = want.iter().map(|(l, _)| l.clone()).collect();
                    prop_assert_eq!(&engine.series(&sets, range, &context).unwrap(), &names);
                    let values: BTreeSet<&str> = names.iter().filter_map(|l| l.get("env")).collect();
                    prop_assert_eq!(
                        engine.label_values("env", &sets, range, &context).unwrap(),
                        values.into_iter().collect::<Vec<_>>()
                    );
                    let keys: BTreeSet<&str> =
                        names.iter().flat_map(|l| l.iter().map(|(n, _)| n)).collect();
                    prop_assert_eq!(
                        engine.label_names(&sets, range, &context).unwrap(),
                        keys.into_iter().collect::<Vec<_>>()
                    );
                }
            }
        }
    }
}
