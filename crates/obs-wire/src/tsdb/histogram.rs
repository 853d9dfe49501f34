//! Chunks of native histograms: the shape once, then the samples field by field.

use obs_types::{BucketSpan, CounterResetHint, NativeHistogram, stale_nan};

use super::bits::{BitReader, BitWriter, Xor};

const CUSTOM_MAX: f64 = 33_554_430.0;
/// More spans or bounds than this in one chunk are damage.
const PARTS_MAX: u64 = 1 << 16;

/// `Err` carries the byte and the number of the sample in which the data ends.
pub(super) fn read(
    mut bits: BitReader<'_>,
    flags: u8,
    count: usize,
    float: bool,
) -> Result<Vec<(i64, NativeHistogram)>, (usize, usize)> {
    let Some(shape) = shape(&mut bits) else { return Err((bits.position(), 0)) };
    let first_hint = match flags >> 6 {
        0b10 => CounterResetHint::Reset,
        // That there was no reset says nothing where the chunk before may have been deleted.
        0b11 => CounterResetHint::Gauge,
        _ => CounterResetHint::Unknown,
    };
    let buckets = |spans: &[BucketSpan]| spans.iter().map(|s| s.length as usize).sum::<usize>();
    let (positive, negative) = (buckets(&shape.positive_spans), buckets(&shape.negative_spans));
    let mut fields = if float {
        Fields::Floats(Vec::new())
    } else {
        Fields::Integers { values: Vec::new(), sum: Xor::default() }
    };
    let mut out = Vec::with_capacity(count);
    let (mut t, mut delta) = (0_i64, 0_i64);
    for index in 0..count {
        let read = (|| {
            let difference = bits.varbit_int()?;
            if index == 0 {
                t = difference;
            } else {
                delta = delta.wrapping_add(difference);
                t = t.wrapping_add(delta);
            }
            fields.next(index == 0, positive, negative, &mut bits)
        })();
        let Some(sample) = read else { return Err((bits.position(), index)) };
        let hint = match first_hint {
            CounterResetHint::Gauge => CounterResetHint::Gauge,
            // Within a chunk a counter never falls.
            _ if index > 0 => CounterResetHint::NotReset,
            hint => hint,
        };
        let mut histogram = match sample {
            Some((count, zero_count, sum, positive_buckets, negative_buckets)) => NativeHistogram {
                zero_count,
                count,
                sum,
                positive_buckets,
                negative_buckets,
                ..shape.clone()
            },
            None => NativeHistogram { sum: stale_nan(), ..NativeHistogram::default() },
        };
        histogram.counter_reset_hint = hint;
        out.push((t, histogram));
    }
    Ok(out)
}

/// Count, zero count, sum, positive and negative buckets; `None` for a staleness marker.
type Sample = Option<(f64, f64, f64, Vec<f64>, Vec<f64>)>;

enum Fields {
    /// Count, zero count, then every bucket: the value, its last difference. Buckets hold the
    /// difference from their left neighbour.
    Integers { values: Vec<(i64, i64)>, sum: Xor },
    /// Count, zero count, sum, then every bucket.
    Floats(Vec<Xor>),
}

impl Fields {
    fn next(
        &mut self,
        first: bool,
        positive: usize,
        negative: usize,
        bits: &mut BitReader<'_>,
    ) -> Option<Sample> {
        match self {
            Self::Integers { values, sum } => {
                if first {
                    values.push((bits.varbit_uint()? as i64, 0));
                    values.push((bits.varbit_uint()? as i64, 0));
                    *sum = Xor::new(bits.float()?);
                    for _ in 0..positive + negative {
                        values.push((bits.varbit_int()?, 0));
                    }
                } else {
                    let mut step = |value: &mut (i64, i64)| {
                        value.1 = value.1.wrapping_add(bits.varbit_int()?);
                        value.0 = value.0.wrapping_add(value.1);
                        Some(())
                    };
                    let (heads, buckets) = values.split_at_mut_checked(2)?;
                    heads.iter_mut().try_for_each(&mut step)?;
                    let total = sum.read(bits)?;
                    if obs_types::is_stale(total) {
                        return Some(None);
                    }
                    for bucket in buckets {
                        bucket.1 = bucket.1.wrapping_add(bits.varbit_int()?);
                        bucket.0 = bucket.0.wrapping_add(bucket.1);
                    }
                }
                if obs_types::is_stale(sum.value) {
                    return Some(None);
                }
                let (heads, buckets) = values.split_at_checked(2)?;
                let [count, zero] = heads else { return None };
                let absolute = |all: &[(i64, i64)]| -> Vec<f64> {
                    let mut running = 0_i64;
                    all.iter()
                        .map(|(d, _)| {
                            running = running.wrapping_add(*d);
                            running as f64
                        })
                        .collect()
                };
                let (p, n) = buckets.split_at_checked(positive)?;
                let counted = |v: i64| v as u64 as f64;
                Some(Some((counted(count.0), counted(zero.0), sum.value, absolute(p), absolute(n))))
            }
            Self::Floats(values) => {
                if first {
                    for _ in 0..3 + positive + negative {
                        values.push(Xor::new(bits.float()?));
                    }
                } else {
                    let (heads, buckets) = values.split_at_mut_checked(3)?;
                    for value in heads.iter_mut() {
                        value.read(bits)?;
                    }
                    if heads.last().is_some_and(|s| obs_types::is_stale(s.value)) {
                        return Some(None);
                    }
                    for value in buckets {
                        value.read(bits)?;
                    }
                }
                let all: Vec<f64> = values.iter().map(|x| x.value).collect();
                let (heads, buckets) = all.split_at_checked(3)?;
                let [count, zero, sum] = *heads else { return None };
                if obs_types::is_stale(sum) {
                    return Some(None);
                }
                let (p, n) = buckets.split_at_checked(positive)?;
                Some(Some((count, zero, sum, p.to_vec(), n.to_vec())))
            }
        }
    }
}

fn shape(bits: &mut BitReader<'_>) -> Option<NativeHistogram> {
    let zero_threshold = match bits.bits(8)? {
        0 => 0.0,
        255 => bits.float()?,
        exponent => 2.0_f64.powi(exponent as i32 - 243 - 1),
    };
    let schema = i32::try_from(bits.varbit_int()?).ok()?;
    let positive_spans = spans(bits)?;
    let negative_spans = spans(bits)?;
    let mut custom_values = Vec::new();
    if schema == obs_types::CUSTOM_BUCKETS_SCHEMA {
        for _ in 0..bits.varbit_uint().filter(|n| *n <= PARTS_MAX)? {
            custom_values.push(match bits.varbit_uint()? {
                0 => bits.float()?,
                n => (n - 1) as f64 / 1000.0,
            });
        }
    }
    Some(NativeHistogram {
        schema,
        zero_threshold,
        positive_spans,
        negative_spans,
        custom_values,
        ..NativeHistogram::default()
    })
}

fn spans(bits: &mut BitReader<'_>) -> Option<Vec<BucketSpan>> {
    let count = bits.varbit_uint().filter(|n| *n <= PARTS_MAX)?;
    let mut total = 0_u64;
    (0..count)
        .map(|_| {
            let length = u32::try_from(bits.varbit_uint()?).ok()?;
            total += u64::from(length);
            let offset = i32::try_from(bits.varbit_int()?).ok()?;
            (total <= PARTS_MAX).then_some(BucketSpan { offset, length })
        })
        .collect()
}

/// As float histograms, whatever they came as: that is how we hold them.
pub(super) fn write(samples: &[(i64, &NativeHistogram)]) -> Vec<u8> {
    let mut out = BitWriter::default();
    out.bits(samples.len() as u64, 16);
    let Some((_, first)) = samples.first() else { return out.bytes };
    let flags = match first.counter_reset_hint {
        CounterResetHint::Unknown => 0b00,
        CounterResetHint::Reset => 0b10,
        CounterResetHint::NotReset => 0b01,
        CounterResetHint::Gauge => 0b11,
    };
    out.bits(flags << 6, 8);
    write_shape(first, &mut out);
    let (mut before, mut delta) = (0_i64, 0_i64);
    let mut values: Vec<Xor> = Vec::new();
    for (index, (t, h)) in samples.iter().enumerate() {
        let step = t.wrapping_sub(before);
        out.varbit_int(if index == 0 { *t } else { step.wrapping_sub(delta) });
        if index > 0 {
            delta = step;
        }
        before = *t;
        let heads = [h.count, h.zero_count, h.sum];
        let all = heads.iter().chain(&h.positive_buckets).chain(&h.negative_buckets);
        // A staleness marker has no buckets.
        let all: Vec<f64> = all.take(if h.is_stale() { 3 } else { usize::MAX }).copied().collect();
        if index == 0 {
            all.iter().for_each(|v| out.float(*v));
            values = all.into_iter().map(Xor::new).collect();
        } else {
            values.iter_mut().zip(all).for_each(|(before, v)| before.write(v, &mut out));
        }
    }
    out.bytes
}

fn write_shape(h: &NativeHistogram, out: &mut BitWriter) {
    // A power of two whose exponent fits into a byte is that byte.
    let exponent = (1_i32..=254).find(|e| 2.0_f64.powi(e - 244) == h.zero_threshold);
    match exponent {
        _ if h.zero_threshold == 0.0 => out.bits(0, 8),
        Some(e) => out.bits(e as u64, 8),
        None => {
            out.bits(255, 8);
            out.float(h.zero_threshold);
        }
    }
    out.varbit_int(i64::from(h.schema));
    for spans in [&h.positive_spans, &h.negative_spans] {
        out.varbit_uint(spans.len() as u64);
        for span in spans {
            out.varbit_uint(u64::from(span.length));
            out.varbit_int(i64::from(span.offset));
        }
    }
    if h.uses_custom_buckets() {
        out.varbit_uint(h.custom_values.len() as u64);
        for bound in &h.custom_values {
            let scaled = bound * 1000.0;
            if (0.0..=CUSTOM_MAX).contains(&scaled) && scaled.trunc() == scaled {
                out.varbit_uint(scaled as u64 + 1);
            } else {
                out.bits(0, 1);
                out.float(*bound);
            }
        }
    }
}
