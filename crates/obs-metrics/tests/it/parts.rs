//! Answers in parts, and of which only the newest sample is wanted.

use obs_types::{
    Matcher, MetricSink, NEWEST_SAMPLE, QueryContext, SeriesData, SeriesSelect, SeriesSource,
    TimestampMs,
};

use crate::{HOUR, T0, World, batch, everything, labels, range};

fn read(
    engine: &dyn SeriesSource,
    select: &SeriesSelect<'_>,
    parts_max: usize,
) -> (usize, Vec<SeriesData>) {
    let context = QueryContext::unlimited();
    let parts = engine.select_parts(select, &context, parts_max).unwrap();
    (parts.len(), parts.into_iter().flatten().map(Result::unwrap).collect())
}

#[test]
fn parts_one_after_the_other_are_the_whole() {
    let world = World::new();
    let engine = world.open();
    // Over an hour's end, so that every series is found in a block and in the head.
    for at in [T0 - 600_000, T0 + 10_000] {
        let series: Vec<_> = (0..1_500)
            .map(|i| (labels("m", &[("i", &i.to_string())]), vec![(at, f64::from(i))]))
            .collect();
        engine.append(batch(&series)).unwrap();
    }
    world.clock.set(TimestampMs(T0 + 3 * HOUR));
    engine.maintain(TimestampMs(T0 + HOUR / 2)).unwrap();
    let all = [Matcher::equal("__name__", "m")];
    let select =
        SeriesSelect { matchers: &all, range: everything(), function: None, step_ms: None };
    let (one, whole) = read(engine.as_ref(), &select, 1);
    assert_eq!((one, whole.len()), (1, 1_500));
    assert!(whole.iter().all(|s| s.timestamps == [T0 - 600_000, T0 + 10_000]));
    for parts_max in [2, 3, 7] {
        let (parts, again) = read(engine.as_ref(), &select, parts_max);
        assert!((2..=parts_max).contains(&parts), "{parts} of {parts_max}");
        let same = |a: &SeriesData, b: &SeriesData| {
            a.labels == b.labels && a.timestamps == b.timestamps && a.values == b.values
        };
        assert_eq!(again.len(), whole.len());
        assert!(again.iter().zip(&whole).all(|(a, b)| same(a, b)), "{parts_max} parts");
    }
    let few = [Matcher::equal("__name__", "m"), Matcher::equal("i", "7")];
    let select = SeriesSelect { matchers: &few, ..select };
    assert_eq!(read(engine.as_ref(), &select, 4).0, 1);
}

#[test]
fn the_newest_sample_is_the_last_of_all() {
    let world = World::new();
    let engine = world.open();
    let m = |i: &str| labels("m", &[("i", i)]);
    let t = |n: i64| T0 - 600_000 + n * 10_000;
    // `late` has its newest sample in order and one that came late; `block` continues in the head.
    for (series, samples) in [
        ("plain", vec![(t(0), 1.0), (t(1), 2.0)]),
        ("late", vec![(t(0), 1.0), (t(3), 4.0)]),
        ("late", vec![(t(2), 3.0)]),
        ("stale", vec![(t(0), 1.0), (t(1), obs_types::stale_nan())]),
        ("block", vec![(t(0), 1.0)]),
    ] {
        engine.append(batch(&[(m(series), samples)])).unwrap();
    }
    let all = [Matcher::equal("__name__", "m")];
    let check = |end: i64| {
        let select = SeriesSelect {
            matchers: &all,
            range: range(T0 - HOUR, end),
            function: Some(NEWEST_SAMPLE),
            step_ms: None,
        };
        let (_, newest) = read(engine.as_ref(), &select, 1);
        let (_, whole) = read(engine.as_ref(), &SeriesSelect { function: None, ..select }, 1);
        assert_eq!(newest.len(), whole.len(), "before {end}");
        for (a, b) in newest.iter().zip(&whole) {
            let last = |s: &SeriesData| {
                (
                    s.labels.clone(),
                    s.timestamps.last().copied(),
                    s.values.last().map(|v| v.to_bits()),
                )
            };
            assert_eq!(last(a), last(b), "before {end}");
        }
    };
    let ends = [t(0) + 1, t(1), t(1) + 1, t(2) + 1, t(3), t(3) + 1, T0, T0 + HOUR];
    ends.into_iter().for_each(check);
    // Once blocks hold the hour, and then the head something newer of one series.
    world.clock.set(TimestampMs(T0 + HOUR));
    engine.maintain(TimestampMs(T0 + HOUR / 2)).unwrap();
    ends.into_iter().for_each(check);
    engine.append(batch(&[(m("block"), vec![(T0 + 5, 9.0)])])).unwrap();
    ends.into_iter().for_each(check);
}
