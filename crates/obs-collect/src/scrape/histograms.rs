//! Histograms made to fit: coarser native ones, and classic ones turned into native ones with
//! custom buckets.

use std::collections::{BTreeMap, HashSet};

use obs_types::{
    BucketSpan, CUSTOM_BUCKETS_SCHEMA, LabelSet, METRIC_NAME, MetricKind, NativeHistogram,
    TimestampMs,
};
use obs_wire::exposition::{Exposition, ExpositionExemplar, ExpositionHistogram, ExpositionSample};
use obs_wire::float::parse_go_float;

use super::config::{ScrapeFormats, ScrapeLimits};

/// Coarsest resolution of a native histogram.
const SCHEMA_MIN: i32 = -4;

/// Merges buckets until the histogram keeps to the job's resolution and number of buckets. `Err`
/// when the coarsest resolution still has too many.
pub(super) fn fit(
    h: &mut NativeHistogram,
    limits: &ScrapeLimits,
    formats: &ScrapeFormats,
) -> Result<(), String> {
    let custom = h.uses_custom_buckets();
    if let Some(schema) = schema_of_factor(formats.bucket_factor_min)
        && !custom
        && h.schema > schema
    {
        coarsen(h, (h.schema - schema).unsigned_abs());
    }
    let max = limits.native_histogram_buckets;
    let buckets = |h: &NativeHistogram| h.positive_buckets.len() + h.negative_buckets.len();
    while max > 0 && buckets(h) > max {
        if custom || h.schema <= SCHEMA_MIN {
            return Err(format!(
                "histogram bucket limit exceeded: {} buckets, the limit is {max}",
                buckets(h)
            ));
        }
        coarsen(h, 1);
    }
    Ok(())
}

/// The finest schema whose buckets grow at least by `factor`; `None` leaves the resolution alone.
fn schema_of_factor(factor: f64) -> Option<i32> {
    (factor > 1.0).then(|| (-factor.log2().log2()).floor().clamp(-4.0, 8.0) as i32)
}

/// Halves the resolution `times` times: bucket `i` covers `(base^(i-1), base^i]`, so two neighbours
/// become bucket `ceil(i / 2)`.
fn coarsen(h: &mut NativeHistogram, times: u32) {
    for (spans, buckets) in [
        (&mut h.positive_spans, &mut h.positive_buckets),
        (&mut h.negative_spans, &mut h.negative_buckets),
    ] {
        let mut merged: Vec<(i64, f64)> = Vec::with_capacity(buckets.len());
        let mut index = 0_i64;
        let mut counts = buckets.iter();
        for span in spans.iter() {
            index += i64::from(span.offset);
            for count in counts.by_ref().take(span.length as usize) {
                let at = ((index - 1) >> times.min(62)) + 1;
                match merged.last_mut() {
                    Some((last, sum)) if *last == at => *sum += count,
                    _ => merged.push((at, *count)),
                }
                index += 1;
            }
        }
        (*spans, *buckets) = runs(merged.into_iter());
    }
    h.schema -= i32::try_from(times).unwrap_or(0);
}

/// Ascending buckets as spans and counts.
fn runs(buckets: impl Iterator<Item = (i64, f64)>) -> (Vec<BucketSpan>, Vec<f64>) {
    let (mut spans, mut counts) = (Vec::<BucketSpan>::new(), Vec::new());
    let mut end = 0_i64;
    for (at, count) in buckets {
        match spans.last_mut() {
            Some(span) if at == end => span.length += 1,
            _ => {
                let offset = i32::try_from(at - end).unwrap_or(i32::MAX);
                spans.push(BucketSpan { offset, length: 1 });
            }
        }
        end = at + 1;
        counts.push(count);
    }
    (spans, counts)
}

/// The parts of one classic histogram, and where they stand among the samples.
#[derive(Default)]
struct Classic {
    /// Upper bound and cumulative count.
    buckets: Vec<(f64, f64)>,
    count: Option<f64>,
    sum: Option<f64>,
    timestamp: Option<TimestampMs>,
    start: Option<TimestampMs>,
    exemplars: Vec<ExpositionExemplar>,
    places: Vec<usize>,
}

/// Turns the classic histograms of a body into native ones with custom buckets, in place of their
/// series, or beside them where `keep`. What has a native form already, or is no whole histogram,
/// stays as it is.
pub(super) fn to_custom_buckets(exposition: &mut Exposition, keep: bool) {
    let native: HashSet<LabelSet> =
        exposition.histograms.iter().map(|h| h.labels.clone()).collect();
    let families: HashSet<&str> = exposition
        .metadata
        .iter()
        .filter(|m| m.kind == MetricKind::Histogram)
        .map(|m| m.family.as_str())
        .collect();
    let mut found: BTreeMap<LabelSet, Classic> = BTreeMap::new();
    for (place, sample) in exposition.series.iter().enumerate() {
        let name = sample.labels.metric_name();
        let Some((family, part)) = ["_bucket", "_sum", "_count"]
            .iter()
            .find_map(|suffix| Some((name.strip_suffix(suffix)?, *suffix)))
        else {
            continue;
        };
        if !families.contains(family) {
            continue;
        }
        let bare = sample.labels.without(&["le"]).with(METRIC_NAME, family);
        let classic = found.entry(bare).or_default();
        classic.places.push(place);
        classic.timestamp = sample.timestamp;
        classic.start = sample.start.or(classic.start);
        classic.exemplars.extend(sample.exemplar.clone());
        match (part, sample.labels.get("le").and_then(parse_go_float)) {
            ("_bucket", Some(bound)) => classic.buckets.push((bound, sample.value)),
            ("_sum", _) => classic.sum = Some(sample.value),
            ("_count", _) => classic.count = Some(sample.value),
            _ => {}
        }
    }
    let mut gone = vec![false; exposition.series.len()];
    for (labels, mut classic) in found {
        if native.contains(&labels) {
            continue;
        }
        let Some(histogram) = convert(&mut classic) else { continue };
        classic.places.iter().for_each(|place| gone[*place] = !keep);
        exposition.histograms.push(ExpositionHistogram {
            labels,
            histogram,
            timestamp: classic.timestamp,
            start: classic.start,
            exemplars: classic.exemplars,
        });
    }
    let mut places = gone.iter();
    exposition.series.retain(|_: &ExpositionSample| !places.next().is_some_and(|g| *g));
}

fn convert(classic: &mut Classic) -> Option<NativeHistogram> {
    classic.buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
    let infinite = classic.buckets.last().filter(|(bound, _)| *bound == f64::INFINITY);
    let count = infinite.map(|(_, n)| *n).or(classic.count)?;
    let finite = || classic.buckets.iter().filter(|(bound, _)| bound.is_finite());
    let mut before = 0.0;
    let mut filled = Vec::new();
    let cumulative = finite().map(|(_, n)| *n).chain([count]);
    for (i, n) in cumulative.enumerate() {
        if n.is_nan() || n < before {
            return None;
        }
        if n > before {
            filled.push((i as i64, n - before));
        }
        before = n;
    }
    let (positive_spans, positive_buckets) = runs(filled.into_iter());
    let histogram = NativeHistogram {
        schema: CUSTOM_BUCKETS_SCHEMA,
        count,
        sum: classic.sum.unwrap_or(0.0),
        positive_spans,
        positive_buckets,
        custom_values: finite().map(|(bound, _)| *bound).collect(),
        ..NativeHistogram::default()
    };
    histogram.validate().ok().map(|()| histogram)
}

#[cfg(test)]
mod tests {
    use obs_wire::exposition::{ExpositionFormat, ParseCaps, parse};

    use super::super::config::testing::job;
    use super::*;

    fn native(schema: i32, spans: &[(i32, u32)], buckets: &[f64]) -> NativeHistogram {
        NativeHistogram {
            schema,
            count: buckets.iter().sum(),
            positive_spans: spans
                .iter()
                .map(|(offset, length)| BucketSpan { offset: *offset, length: *length })
                .collect(),
            positive_buckets: buckets.to_vec(),
            ..NativeHistogram::default()
        }
    }

    fn spans(h: &NativeHistogram) -> Vec<(i32, u32)> {
        h.positive_spans.iter().map(|s| (s.offset, s.length)).collect()
    }

    #[test]
    fn too_many_buckets_are_merged_until_they_fit() {
        let limited = |lines: &str, h: &mut NativeHistogram| {
            let j = job(lines);
            fit(h, &j.limits, &j.formats)
        };
        // Buckets 1, 2, 3, 4 and 7: the pairs (1,2) (3,4) (7,8) become 1, 2 and 4.
        let mut h = native(2, &[(1, 4), (2, 1)], &[1.0, 2.0, 3.0, 4.0, 5.0]);
        limited("  native_histogram_bucket_limit: 3\n", &mut h).unwrap();
        assert_eq!((h.schema, spans(&h)), (1, vec![(1, 2), (1, 1)]));
        assert_eq!(h.positive_buckets, [3.0, 7.0, 5.0]);
        let mut h = native(-4, &[(-1, 2)], &[1.0, 2.0]);
        let e = limited("  native_histogram_bucket_limit: 1\n", &mut h).unwrap_err();
        assert!(e.contains("2 buckets, the limit is 1"), "{e}");
        // A factor of 2 is schema 0.
        let mut h = native(1, &[(-1, 3)], &[1.0, 2.0, 4.0]);
        limited("  native_histogram_min_bucket_factor: 2\n", &mut h).unwrap();
        assert_eq!((h.schema, spans(&h)), (0, vec![(0, 2)]));
        assert_eq!(h.positive_buckets, [3.0, 4.0]);
    }

    #[test]
    fn classic_histograms_become_custom_buckets() {
        let text = "# TYPE h histogram\n\
            h_bucket{a=\"1\",le=\"0.5\"} 2\nh_bucket{a=\"1\",le=\"1\"} 2\n\
            h_bucket{a=\"1\",le=\"+Inf\"} 5\nh_sum{a=\"1\"} 7.5\nh_count{a=\"1\"} 5\n\
            h_bucket{a=\"2\",le=\"1\"} 3\nh_bucket{a=\"2\",le=\"+Inf\"} 2\nh_sum{a=\"2\"} 1\n\
            # TYPE other gauge\nother_sum 1\n";
        let read = || {
            let caps = ParseCaps::default();
            parse(text.as_bytes(), ExpositionFormat::Prometheus, caps).unwrap()
        };
        let mut got = read();
        to_custom_buckets(&mut got, false);
        let h = &got.histograms[0];
        assert_eq!(h.labels.to_string(), "h{a=\"1\"}");
        assert_eq!(
            (h.histogram.count, h.histogram.sum, spans(&h.histogram)),
            (5.0, 7.5, vec![(0, 1), (1, 1)])
        );
        assert_eq!(h.histogram.positive_buckets, [2.0, 3.0]);
        assert_eq!(h.histogram.custom_values, [0.5, 1.0]);
        // The second falls and is kept as it came.
        assert_eq!((got.histograms.len(), got.series.len()), (1, 4));
        let mut both = read();
        to_custom_buckets(&mut both, true);
        assert_eq!((both.histograms.len(), both.series.len()), (1, 9));
    }
}
