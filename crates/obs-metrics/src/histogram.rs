//! Native histograms as bytes, for the log and for blocks.

use obs_types::{BucketSpan, CounterResetHint, NativeHistogram};

use crate::codec::{get_values, put_values};
use obs_disk::bytes::{Reader, put_bytes, put_f64, put_i64, put_u64};

pub(crate) fn put_histogram(out: &mut Vec<u8>, h: &NativeHistogram) {
    out.push(match h.counter_reset_hint {
        CounterResetHint::Unknown => 0,
        CounterResetHint::Reset => 1,
        CounterResetHint::NotReset => 2,
        CounterResetHint::Gauge => 3,
    });
    put_i64(out, i64::from(h.schema));
    for v in [h.zero_threshold, h.zero_count, h.count, h.sum] {
        put_f64(out, v);
    }
    for spans in [&h.positive_spans, &h.negative_spans] {
        put_u64(out, spans.len() as u64);
        for s in spans {
            put_i64(out, i64::from(s.offset));
            put_u64(out, u64::from(s.length));
        }
    }
    for column in [&h.positive_buckets, &h.negative_buckets, &h.custom_values] {
        put_u64(out, column.len() as u64);
        let mut bytes = Vec::new();
        put_values(&mut bytes, column);
        put_bytes(out, &bytes);
    }
}

pub(crate) fn get_histogram(r: &mut Reader<'_>) -> Option<NativeHistogram> {
    let counter_reset_hint = match r.byte()? {
        0 => CounterResetHint::Unknown,
        1 => CounterResetHint::Reset,
        2 => CounterResetHint::NotReset,
        3 => CounterResetHint::Gauge,
        _ => return None,
    };
    let schema = i32::try_from(r.i64()?).ok()?;
    let (zero_threshold, zero_count, count, sum) = (r.f64()?, r.f64()?, r.f64()?, r.f64()?);
    let mut spans = || {
        let n = r.count()?;
        (0..n)
            .map(|_| Some(BucketSpan { offset: i32::try_from(r.i64()?).ok()?, length: r.u32()? }))
            .collect::<Option<Vec<_>>>()
    };
    let (positive_spans, negative_spans) = (spans()?, spans()?);
    let mut column = || {
        // A constant column takes few bytes for many buckets; nobody has a million buckets.
        let n = usize::try_from(r.u64()?).ok().filter(|n| *n <= 1 << 20)?;
        let bytes = r.bytes()?;
        if n == 0 { bytes.is_empty().then(Vec::new) } else { get_values(bytes, n) }
    };
    let (positive_buckets, negative_buckets, custom_values) = (column()?, column()?, column()?);
    Some(NativeHistogram {
        counter_reset_hint,
        schema,
        zero_threshold,
        zero_count,
        count,
        sum,
        positive_spans,
        negative_spans,
        positive_buckets,
        negative_buckets,
        custom_values,
    })
}

/// Equal to the bit; the comparison of floats would call a staleness marker unequal to itself.
pub(crate) fn same(a: &NativeHistogram, b: &NativeHistogram) -> bool {
    let bytes = |h: &NativeHistogram| {
        let mut out = Vec::new();
        put_histogram(&mut out, h);
        out
    };
    bytes(a) == bytes(b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_comes_back_and_cuts_are_refused() {
        let h = NativeHistogram {
            counter_reset_hint: CounterResetHint::Gauge,
            schema: 3,
            zero_threshold: 1e-128,
            zero_count: 2.0,
            count: 21.5,
            sum: obs_types::stale_nan(),
            positive_spans: vec![
                BucketSpan { offset: -3, length: 2 },
                BucketSpan { offset: 4, length: 1 },
            ],
            positive_buckets: vec![1.0, 2.5, 9.0],
            ..NativeHistogram::default()
        };
        let mut bytes = Vec::new();
        put_histogram(&mut bytes, &h);
        let back = get_histogram(&mut Reader::new(&bytes)).unwrap();
        assert!(same(&h, &back) && back.is_stale());
        for cut in 0..bytes.len() {
            assert!(get_histogram(&mut Reader::new(&bytes[..cut])).is_none(), "cut at {cut}");
        }
    }
}
