//! Series that are kept for a shorter or a longer time than the rest.

use std::sync::Arc;
use std::time::Duration;

use obs_disk::{Clock, Fault};
use obs_metrics::{MetricsEngine, RetentionPlan, Sealable};
use obs_types::{
    DurationMs, Exemplar, LabelSet, Matcher, MetricSink, QueryContext, RetentionRules,
    SeriesRetention, SeriesSelect, SeriesSource, TimestampMs,
};

use crate::{Content, HOUR, T0, World, batch, everything, labels, range, select};

const DAY: i64 = 24 * HOUR;
/// The first hour of a day.
const START: i64 = (T0 / DAY + 1) * DAY;

fn rule(job: &str, keep: i64) -> SeriesRetention {
    SeriesRetention {
        selectors: vec![vec![Matcher::equal("job", job)]],
        text: vec![format!("{{job={job:?}}}")],
        keep: DurationMs(keep),
    }
}

fn world(rules: Vec<SeriesRetention>, standard: i64) -> World {
    let mut world = World::new();
    world.limits.retention = RetentionRules::new(rules, DurationMs(standard));
    world.clock.set(TimestampMs(START));
    world
}

fn series(job: &str) -> LabelSet {
    labels("m", &[("job", job)])
}

/// Two samples an hour for each job; moved to blocks as the hours pass.
fn run(engine: &MetricsEngine, world: &World, jobs: &[&str], hours: i64) {
    for _ in 0..hours {
        let t = world.clock.now().0;
        let all: Vec<_> = jobs
            .iter()
            .map(|job| (series(job), vec![(t, t as f64), (t + HOUR / 12, job.len() as f64)]))
            .collect();
        engine.append(batch(&all)).unwrap();
        world.clock.advance(Duration::from_secs(3_600));
        engine.maintain(world.clock.now()).ok();
    }
}

fn plan(engine: &MetricsEngine, world: &World) -> RetentionPlan {
    engine.retention_plan(world.clock.now(), world.clock.now()).unwrap()
}

/// First time and number of samples of each job.
fn firsts(content: &Content) -> Vec<(&str, i64, usize)> {
    let hours = |t: i64| (t - START) / HOUR;
    content.iter().map(|(l, s)| (l.get("job").unwrap(), hours(s[0].0), s.len())).collect()
}

#[test]
fn a_day_leaves_the_disk_at_once_and_the_rest_stays() {
    let world = world(vec![rule("debug", DAY), rule("never", 9 * DAY)], 30 * DAY);
    let engine = world.open();
    run(&engine, &world, &["debug", "web"], 47);
    assert!(plan(&engine, &world).is_empty(), "the second day is not over");
    run(&engine, &world, &["debug", "web"], 4);
    let before = select(&engine, &[], everything());
    let due = plan(&engine, &world);
    let d = &due.due[0];
    assert_eq!((due.due.len(), d.partitions, d.whole, d.series, d.samples), (1, 1, 0, 1, 48));
    assert_eq!((d.first.0, d.end.0), (START, START + DAY));
    assert_eq!(d.selectors, ["{job=\"debug\"}"]);
    assert_eq!(select(&engine, &[], everything()), before, "a plan changes nothing");
    let bytes = engine.stats().block_bytes;
    assert_eq!(engine.retain(due).unwrap(), 1);
    let stats = engine.stats();
    assert!(stats.block_bytes < bytes && stats.retention_samples == 48);
    let mut want = before;
    want[0].1.retain(|(t, _)| *t >= START + DAY);
    assert_eq!(select(&engine, &[], everything()), want);
    // Not again for the rest of the day.
    for _ in 0..20 {
        run(&engine, &world, &["debug", "web"], 1);
        assert!(plan(&engine, &world).is_empty());
    }
    let want = select(&engine, &[], everything());
    drop(engine);
    world.disk.crash();
    let engine = world.open();
    assert_eq!(select(&engine, &[], everything()), want);
    assert!(plan(&engine, &world).is_empty());
    // Of what is not on record yet nothing goes.
    run(&engine, &world, &["debug", "web"], 4);
    let until = TimestampMs(START + 2 * DAY - 1);
    assert!(engine.retention_plan(world.clock.now(), until).unwrap().is_empty());
    assert!(!plan(&engine, &world).is_empty());
}

#[test]
fn a_partition_with_nothing_else_goes_whole_and_stays_away() {
    let world = world(vec![rule("debug", 6 * HOUR)], 30 * DAY);
    let engine = world.open();
    run(&engine, &world, &["debug"], 12);
    let exemplar = |t: i64| Exemplar {
        labels: LabelSet::empty(),
        value: 1.0,
        timestamp: TimestampMs(t),
        trace_id: None,
        span_id: None,
    };
    let mut one = batch(&[(series("debug"), vec![])]);
    one.series[0].exemplars.push(exemplar(world.clock.now().0 - 1));
    engine.append(one).unwrap();
    let due = plan(&engine, &world);
    assert_eq!((due.due[0].partitions, due.due[0].whole), (6, 6));
    assert_eq!(engine.retain(due).unwrap(), 6);
    assert_eq!(firsts(&select(&engine, &[], everything())), [("debug", 6, 12)]);
    assert_eq!(engine.stats().exemplars, 1);
    // The log still has some of it.
    drop(engine);
    world.disk.crash();
    let engine = world.open();
    assert_eq!(firsts(&select(&engine, &[], everything())), [("debug", 6, 12)]);
    // A day's block waits until all of it is past.
    run(&engine, &world, &["debug"], 16);
    assert!(plan(&engine, &world).is_empty());
    run(&engine, &world, &["debug"], 3);
    let due = plan(&engine, &world);
    assert_eq!((due.due[0].partitions, due.due[0].whole), (2, 2));
    engine.retain(due).unwrap();
    let left = select(&engine, &[], everything());
    assert_eq!(firsts(&left)[0].1, 25);
    assert_eq!(engine.stats().exemplars, 0);
}

#[test]
fn aggregates_go_with_the_samples() {
    let mut world = world(vec![rule("debug", DAY)], 30 * DAY);
    world.limits.aggregate_hours = true;
    let engine = world.open();
    run(&engine, &world, &["debug", "web"], 52);
    let hours = |engine: &MetricsEngine, job: &str| -> usize {
        let matchers = [Matcher::equal("job", job)];
        let range = range(START - HOUR + 1, START + DAY + 1);
        let select = SeriesSelect { matchers: &matchers, range, function: None, step_ms: None };
        let answer = engine.aggregates(&select, &QueryContext::unlimited()).unwrap().unwrap();
        answer.series.map(|s| s.unwrap().hours.len()).sum()
    };
    // The sample of midnight is of the hour before it.
    assert_eq!((hours(&engine, "debug"), hours(&engine, "web")), (24, 24));
    engine.retain(plan(&engine, &world)).unwrap();
    assert_eq!((hours(&engine, "debug"), hours(&engine, "web")), (0, 24));
    engine.maintain(world.clock.now()).unwrap();
    assert!(plan(&engine, &world).is_empty());
    drop(engine);
    let engine = world.open();
    assert_eq!((hours(&engine, "debug"), hours(&engine, "web")), (0, 24));
    // Where the samples of all series are gone, listings ask the aggregates.
    engine.drop_before(TimestampMs(START + DAY)).unwrap();
    let day = range(START, START + DAY - HOUR);
    let jobs = engine.label_values("job", &[], day, &QueryContext::unlimited()).unwrap();
    assert_eq!(jobs, ["web"]);
}

#[test]
fn what_outlives_the_rest_stays_alone() {
    for aggregate_hours in [false, true] {
        let mut world = world(vec![rule("bill", 5 * DAY), rule("web", 2 * DAY)], 3 * DAY);
        world.limits.aggregate_hours = aggregate_hours;
        let engine = world.open();
        run(&engine, &world, &["bill", "web"], 52);
        let sets = [vec![Matcher::equal("job", "bill")]];
        engine.delete_series(&sets, range(START + HOUR, START + 2 * HOUR)).unwrap();
        let want = select(&engine, &sets[0], everything());
        assert_eq!(engine.drop_before(TimestampMs(START + DAY + 5 * HOUR)).unwrap(), 0);
        let expect = [("bill", 0, 102), ("web", 24, 56)];
        assert_eq!(firsts(&select(&engine, &[], everything())), expect);
        let samples = engine.stats().block_samples;
        assert_eq!(engine.drop_before(TimestampMs(START + DAY + 6 * HOUR)).unwrap(), 0);
        assert_eq!(engine.stats().block_samples, samples, "once is enough");
        assert_eq!(select(&engine, &sets[0], everything()), want);
        drop(engine);
        world.disk.crash();
        let engine = world.open();
        assert_eq!(firsts(&select(&engine, &[], everything())), expect);
        engine.maintain(world.clock.now()).unwrap();
        engine.drop_before(TimestampMs(START + DAY + 7 * HOUR)).unwrap();
        assert_eq!(firsts(&select(&engine, &[], everything())), expect);
        // Seals do not see it: it is on record.
        let sealable = Sealable(Arc::clone(&engine));
        let day = range(START, START + DAY);
        let context = QueryContext::unlimited();
        assert!(sealable.series(&[], day, &context).unwrap().is_empty());
        let part = SeriesSelect { matchers: &[], range: day, function: None, step_ms: None };
        assert_eq!(sealable.select(&part, &context).unwrap().count(), 0);
        assert_eq!(sealable.series(&[], everything(), &context).unwrap().len(), 2);
        // At the end of its own time it goes.
        world.clock.set(TimestampMs(START + 6 * DAY));
        engine.retain(plan(&engine, &world)).unwrap();
        assert_eq!(firsts(&select(&engine, &[], day)), []);
        drop(engine);
        // Without the rule it goes with the rest.
        world.limits.retention = RetentionRules::default();
        let engine = world.open();
        engine.drop_before(TimestampMs(START + 2 * DAY)).unwrap();
        let all = select(&engine, &[], everything());
        assert!(firsts(&all).iter().all(|(_, first, _)| *first >= 48), "{:?}", firsts(&all));
    }
}

#[test]
fn retention_that_breaks_anywhere_loses_nothing_else() {
    for fault in [Fault::Fail, Fault::Tear, Fault::FailStored, Fault::Crash] {
        let mut n = 0;
        loop {
            let world = world(vec![rule("debug", 2 * HOUR), rule("bill", 90 * DAY)], 30 * DAY);
            let engine = world.open();
            run(&engine, &world, &["bill", "debug", "web"], 6);
            let want = select(&engine, &[], everything());
            world.disk.fault_after(n, fault);
            let done = plan_and_retain(&engine, &world)
                .and_then(|()| engine.drop_before(TimestampMs(START + HOUR)).map(drop));
            let reached = world.disk.fault_reached();
            assert!(reached || done.is_ok());
            drop(engine);
            world.disk.crash_torn(n);
            let engine = world.open();
            check(&select(&engine, &[], everything()), &want, &format!("{fault:?} at {n}"));
            engine.maintain(world.clock.now()).unwrap();
            plan_and_retain(&engine, &world).unwrap();
            engine.drop_before(TimestampMs(START + HOUR)).unwrap();
            let left = select(&engine, &[], everything());
            assert_eq!(firsts(&left), [("bill", 0, 12), ("debug", 4, 4), ("web", 1, 10)]);
            if !reached {
                break;
            }
            n += 1;
        }
        assert!(n > 10, "{fault:?}: {n} operations");
    }
}

fn plan_and_retain(engine: &MetricsEngine, world: &World) -> Result<(), obs_metrics::MetricsError> {
    let plan = engine.retention_plan(world.clock.now(), world.clock.now())?;
    engine.retain(plan).map(drop)
}

/// Whether every series has what it must have, and nothing else than it had.
fn check(found: &Content, want: &Content, when: &str) {
    let since = [("bill", START), ("debug", START + 4 * HOUR), ("web", START + HOUR)];
    for ((job, since), (series, samples)) in since.iter().zip(want) {
        assert_eq!(series.get("job"), Some(*job));
        let left = found.iter().find(|(l, _)| l == series).map(|(_, s)| s.clone());
        let left = left.unwrap_or_default();
        let must: Vec<_> = samples.iter().filter(|(t, _)| t >= since).collect();
        assert!(must.iter().all(|s| left.contains(s)), "{when}: {job}");
        assert!(left.iter().all(|s| samples.contains(s)), "{when}: {job}");
    }
}
