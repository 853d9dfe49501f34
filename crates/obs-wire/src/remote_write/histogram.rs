//! Native histograms: bucket counts are differences on the wire for integers, absolute for floats.

use obs_types::{BucketSpan, CounterResetHint, NativeHistogram, TimestampMs};

use super::messages;
use crate::WireError;
use crate::caps::Budget;
use crate::protobuf::{Fields, Value, broken, doubles, unzigzag, unzigzag_i32, varints};

/// Reads a histogram of either version: its time, its start timestamp (0 without one). The inner
/// `Err` says what is wrong with its shape.
pub(super) fn read(
    what: &'static str,
    bytes: &[u8],
    budget: &mut Budget,
) -> Result<(TimestampMs, i64, Result<NativeHistogram, String>), WireError> {
    let mut h = NativeHistogram::default();
    let (mut at, mut start) = (TimestampMs(0), 0);
    let (mut count_float, mut zero_float) = (None, None);
    let (mut negative_deltas, mut positive_deltas) = (Vec::new(), Vec::new());
    for field in Fields::new(bytes) {
        match field.map_err(|left| broken(what, left))? {
            (1, Value::Varint(n)) => h.count = n as f64,
            (2, Value::Fixed64(bits)) => count_float = Some(f64::from_bits(bits)),
            (3, Value::Fixed64(bits)) => h.sum = f64::from_bits(bits),
            (4, Value::Varint(n)) => h.schema = unzigzag_i32(n),
            (5, Value::Fixed64(bits)) => h.zero_threshold = f64::from_bits(bits),
            (6, Value::Varint(n)) => h.zero_count = n as f64,
            (7, Value::Fixed64(bits)) => zero_float = Some(f64::from_bits(bits)),
            (8, Value::Bytes(b)) => h.negative_spans.push(span(what, b, budget)?),
            (9, value) => varints(what, value, budget, &mut negative_deltas)?,
            (10, value) => doubles(what, value, budget, &mut h.negative_buckets)?,
            (11, Value::Bytes(b)) => h.positive_spans.push(span(what, b, budget)?),
            (12, value) => varints(what, value, budget, &mut positive_deltas)?,
            (13, value) => doubles(what, value, budget, &mut h.positive_buckets)?,
            (14, Value::Varint(n)) => {
                h.counter_reset_hint = match n {
                    1 => CounterResetHint::Reset,
                    2 => CounterResetHint::NotReset,
                    3 => CounterResetHint::Gauge,
                    _ => CounterResetHint::Unknown,
                }
            }
            // A protobuf int64 is its two's complement.
            (15, Value::Varint(n)) => at = TimestampMs(n as i64),
            (16, value) => doubles(what, value, budget, &mut h.custom_values)?,
            // Version 2 alone.
            (17, Value::Varint(n)) => start = n as i64,
            _ => {}
        }
    }
    match count_float {
        Some(count) => {
            h.count = count;
            h.zero_count = zero_float.unwrap_or_default();
        }
        None => {
            h.positive_buckets = absolute(&positive_deltas);
            h.negative_buckets = absolute(&negative_deltas);
        }
    }
    let checked = h.validate();
    Ok((at, start, checked.map(|()| h)))
}

pub(crate) fn span(
    what: &'static str,
    bytes: &[u8],
    budget: &mut Budget,
) -> Result<BucketSpan, WireError> {
    budget.spend(size_of::<BucketSpan>())?;
    let mut span = BucketSpan { offset: 0, length: 0 };
    for field in Fields::new(bytes) {
        match field.map_err(|left| broken(what, left))? {
            (1, Value::Varint(n)) => span.offset = unzigzag_i32(n),
            (2, Value::Varint(n)) => span.length = n as u32,
            _ => {}
        }
    }
    Ok(span)
}

/// Always as a float histogram, because that is how we hold it.
pub(crate) fn to_wire(h: &NativeHistogram, timestamp: i64) -> messages::Histogram {
    let spans = |all: &[BucketSpan]| {
        all.iter().map(|s| messages::BucketSpan { offset: s.offset, length: s.length }).collect()
    };
    messages::Histogram {
        count_float: Some(h.count),
        sum: h.sum,
        schema: h.schema,
        zero_threshold: h.zero_threshold,
        zero_count_float: Some(h.zero_count),
        negative_spans: spans(&h.negative_spans),
        negative_counts: h.negative_buckets.clone(),
        positive_spans: spans(&h.positive_spans),
        positive_counts: h.positive_buckets.clone(),
        reset_hint: match h.counter_reset_hint {
            CounterResetHint::Unknown => 0,
            CounterResetHint::Reset => 1,
            CounterResetHint::NotReset => 2,
            CounterResetHint::Gauge => 3,
        },
        timestamp,
        custom_values: h.custom_values.clone(),
        ..Default::default()
    }
}

/// Running sums of the zigzag-coded differences.
pub(crate) fn absolute(deltas: &[u64]) -> Vec<f64> {
    let mut running = 0_i64;
    deltas
        .iter()
        .map(|d| {
            running = running.saturating_add(unzigzag(*d));
            running as f64
        })
        .collect()
}
