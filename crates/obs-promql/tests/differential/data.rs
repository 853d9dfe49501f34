//! The data that both engines hold: three hours of counters, gauges, a classic histogram and an
//! info metric. No sample lies on a whole or half second, where windows of the queries end.

use std::fmt::Write as _;

use obs_promql::testing::MemorySource;
use obs_types::{LabelSet, SeriesData};

use super::generator::Random;

/// First scrape, milliseconds; a multiple of two hours.
pub(crate) const START: i64 = 1_699_999_200_000;
pub(crate) const LENGTH: i64 = 3 * 3_600_000;
const INTERVAL: i64 = 15_000;

pub(crate) fn series() -> Vec<SeriesData> {
    let mut random = Random::new(7);
    let mut out = Vec::new();
    let mut add = |labels: &[(&str, &str)], offset: i64, next: &mut dyn FnMut() -> Option<f64>| {
        let mut s = SeriesData {
            labels: LabelSet::from_pairs(labels.iter().copied()),
            ..SeriesData::default()
        };
        for i in 0..LENGTH / INTERVAL {
            if let Some(v) = next() {
                s.timestamps.push(START + i * INTERVAL + offset);
                s.values.push(v);
            }
        }
        out.push(s);
    };
    for (j, job) in ["api", "web"].into_iter().enumerate() {
        for (k, instance) in ["a:1", "b:1", "c:2"].into_iter().enumerate() {
            let offset = 117 + 1_731 * (3 * j + k) as i64;
            let base = [("job", job), ("instance", instance)];
            for code in ["200", "404", "500"] {
                let labels = [&[("__name__", "req_total"), ("code", code)], &base[..]].concat();
                // Far from zero, also after a reset: how far 2.42 extrapolates near zero differs.
                let mut v = 2_000_000.0;
                let mut gap = 0;
                add(&labels, offset, &mut || {
                    v += random.below(64) as f64 / 4.0;
                    if random.below(150) == 0 {
                        v = 1_000_000.0 + random.below(8) as f64;
                    }
                    // At times longer than the lookback.
                    gap = if gap > 0 {
                        gap - 1
                    } else if random.below(120) == 0 {
                        random.below(40)
                    } else {
                        0
                    };
                    // Recovers, so that the next reset is one by much.
                    if v < 1_900_000.0 {
                        v += 200_000.0;
                    }
                    (gap == 0).then_some(v)
                });
            }
            let labels = [&[("__name__", "info"), ("version", ["1.2", "1.3"][k % 2])], &base[..]];
            add(&labels.concat(), offset, &mut || Some(1.0));
            let labels = [&[("__name__", "temp")], &base[..]].concat();
            add(&labels, offset, &mut || {
                (random.below(25) > 0).then(|| random.below(65_536) as f64 / 64.0 - 300.0)
            });
        }
        let offset = 263 + 1_009 * j as i64;
        let mut counts = [1_000_000.0; 5];
        let mut steps: Vec<[f64; 5]> = Vec::new();
        for _ in 0..LENGTH / INTERVAL {
            let mut below = 0.0;
            for c in &mut counts {
                below += random.below(20) as f64;
                *c += below;
            }
            steps.push(counts);
        }
        for (b, le) in ["0.1", "0.5", "1", "2.5", "+Inf"].into_iter().enumerate() {
            let mut at = steps.iter();
            let labels = [("__name__", "lat_bucket"), ("job", job), ("le", le)];
            add(&labels, offset, &mut || at.next().map(|c| c[b] + 1_000.0 * b as f64));
        }
        let mut at = steps.iter();
        let labels = [("__name__", "lat_count"), ("job", job)];
        add(&labels, offset, &mut || at.next().map(|c| c[4] + 4_000.0));
    }
    for kind in ["x", "y"] {
        add(&[("__name__", "odd"), ("kind", kind)], 333, &mut || {
            Some(match random.below(12) {
                0 => f64::NAN,
                1 => 0.0,
                n => n as f64 - 6.0,
            })
        });
    }
    out
}

pub(crate) fn source(series: &[SeriesData]) -> MemorySource {
    let mut source = MemorySource::default();
    for s in series {
        source.append(s.clone());
    }
    source
}

/// The same in OpenMetrics' text form.
pub(crate) fn open_metrics(series: &[SeriesData]) -> String {
    let mut out = String::new();
    for s in series {
        let labels: Vec<String> = s
            .labels
            .iter()
            .filter(|(n, _)| *n != "__name__")
            .map(|(n, v)| format!("{n}={v:?}"))
            .collect();
        for (t, v) in s.timestamps.iter().zip(&s.values) {
            let (name, labels) = (s.labels.metric_name(), labels.join(","));
            let seconds = format!("{}.{:03}", t / 1000, t % 1000);
            let _written = writeln!(out, "{name}{{{labels}}} {v} {seconds}");
        }
    }
    out.push_str("# EOF\n");
    out
}
