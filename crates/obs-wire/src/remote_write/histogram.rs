//! Native histograms: bucket counts are differences on the wire for integers, absolute for floats.

use obs_types::{BucketSpan, CounterResetHint, NativeHistogram};

use super::messages;

/// `Err` says what is wrong with the shape.
pub(crate) fn from_wire(h: &messages::Histogram) -> Result<NativeHistogram, String> {
    let spans = |all: &[messages::BucketSpan]| -> Vec<BucketSpan> {
        all.iter().map(|s| BucketSpan { offset: s.offset, length: s.length }).collect()
    };
    let (positive_buckets, negative_buckets, count, zero_count) = match h.count_float {
        Some(count) => (
            h.positive_counts.clone(),
            h.negative_counts.clone(),
            count,
            h.zero_count_float.unwrap_or_default(),
        ),
        None => (
            absolute(&h.positive_deltas),
            absolute(&h.negative_deltas),
            h.count_int.unwrap_or_default() as f64,
            h.zero_count_int.unwrap_or_default() as f64,
        ),
    };
    let out = NativeHistogram {
        counter_reset_hint: match h.reset_hint {
            1 => CounterResetHint::Reset,
            2 => CounterResetHint::NotReset,
            3 => CounterResetHint::Gauge,
            _ => CounterResetHint::Unknown,
        },
        schema: h.schema,
        zero_threshold: h.zero_threshold,
        zero_count,
        count,
        sum: h.sum,
        positive_spans: spans(&h.positive_spans),
        negative_spans: spans(&h.negative_spans),
        positive_buckets,
        negative_buckets,
        custom_values: h.custom_values.clone(),
    };
    out.validate().map(|()| out)
}

/// Always as a float histogram, because that is how we hold it.
pub(crate) fn to_wire(h: &NativeHistogram, timestamp: i64) -> messages::Histogram {
    let spans = |all: &[BucketSpan]| {
        all.iter().map(|s| messages::BucketSpan { offset: s.offset, length: s.length }).collect()
    };
    messages::Histogram {
        count_int: None,
        count_float: Some(h.count),
        sum: h.sum,
        schema: h.schema,
        zero_threshold: h.zero_threshold,
        zero_count_int: None,
        zero_count_float: Some(h.zero_count),
        negative_spans: spans(&h.negative_spans),
        negative_deltas: Vec::new(),
        negative_counts: h.negative_buckets.clone(),
        positive_spans: spans(&h.positive_spans),
        positive_deltas: Vec::new(),
        positive_counts: h.positive_buckets.clone(),
        reset_hint: match h.counter_reset_hint {
            CounterResetHint::Unknown => 0,
            CounterResetHint::Reset => 1,
            CounterResetHint::NotReset => 2,
            CounterResetHint::Gauge => 3,
        },
        timestamp,
        custom_values: h.custom_values.clone(),
    }
}

fn absolute(deltas: &[i64]) -> Vec<f64> {
    let mut running = 0_i64;
    deltas
        .iter()
        .map(|d| {
            running = running.saturating_add(*d);
            running as f64
        })
        .collect()
}
