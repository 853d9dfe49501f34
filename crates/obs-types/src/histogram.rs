/// Schema number of native histograms with custom bucket bounds (NHCB).
pub const CUSTOM_BUCKETS_SCHEMA: i32 = -53;

/// A run of consecutive buckets: `offset` empty buckets after the previous span (for the first
/// span: the index of its first bucket), then `length` buckets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Span {
    pub offset: i32,
    pub length: u32,
}

/// What is known about a counter reset between this histogram and the one before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum CounterResetHint {
    #[default]
    Unknown,
    Reset,
    NotReset,
    Gauge,
}

/// A native histogram with absolute float bucket counts.
///
/// Integer histograms are converted on the way in; counts up to 2^53 stay exact. Bucket `i` of a
/// standard schema `s` covers `(2^((i-1)/2^s), 2^(i/2^s)]`, negative buckets mirror that, the zero
/// bucket covers `[-zero_threshold, zero_threshold]`. With [`CUSTOM_BUCKETS_SCHEMA`], bucket `i`
/// covers `(custom_values[i-1], custom_values[i]]`, the last one up to +Inf.
/// Source: Prometheus native histogram specification 1.0.
#[derive(Clone, Debug, Default)]
pub struct NativeHistogram {
    pub counter_reset_hint: CounterResetHint,
    /// -4 to 8, or [`CUSTOM_BUCKETS_SCHEMA`].
    pub schema: i32,
    pub zero_threshold: f64,
    pub zero_count: f64,
    pub count: f64,
    pub sum: f64,
    pub positive_spans: Vec<Span>,
    pub negative_spans: Vec<Span>,
    /// One entry per bucket in the positive spans.
    pub positive_buckets: Vec<f64>,
    /// One entry per bucket in the negative spans.
    pub negative_buckets: Vec<f64>,
    /// Upper bounds, ascending, without +Inf; only with [`CUSTOM_BUCKETS_SCHEMA`].
    pub custom_values: Vec<f64>,
}

impl NativeHistogram {
    pub fn uses_custom_buckets(&self) -> bool {
        self.schema == CUSTOM_BUCKETS_SCHEMA
    }

    /// A histogram whose sum is the staleness NaN marks the end of its series.
    pub fn is_stale(&self) -> bool {
        crate::is_stale(self.sum)
    }

    /// Rough heap and stack size, for memory accounting.
    pub fn size_bytes(&self) -> usize {
        size_of::<Self>()
            + (self.positive_spans.len() + self.negative_spans.len()) * size_of::<Span>()
            + (self.positive_buckets.len() + self.negative_buckets.len() + self.custom_values.len())
                * size_of::<f64>()
    }

    /// Whether it has the layout and hint of the histogram before it, and nothing in it fell, so
    /// that a counter saw no reset in between. `false` where that is not plain to see.
    pub fn grew_from(&self, before: &Self) -> bool {
        use CounterResetHint::{NotReset, Unknown};
        matches!(self.counter_reset_hint, Unknown | NotReset)
            && self.counter_reset_hint == before.counter_reset_hint
            && self.schema == before.schema
            && self.zero_threshold == before.zero_threshold
            && self.custom_values == before.custom_values
            && self.positive_spans == before.positive_spans
            && self.negative_spans == before.negative_spans
            && self.count >= before.count
            && self.zero_count >= before.zero_count
            && grew(&self.positive_buckets, &before.positive_buckets)
            && grew(&self.negative_buckets, &before.negative_buckets)
    }

    /// Checks the shape: spans agree with bucket counts, schema known, counts not negative or NaN,
    /// custom bounds ascending. The text says what is wrong.
    pub fn validate(&self) -> Result<(), String> {
        let span_len = |spans: &[Span]| spans.iter().map(|s| s.length as usize).sum::<usize>();
        if self.uses_custom_buckets() {
            if !self.negative_spans.is_empty() || !self.negative_buckets.is_empty() {
                return Err("custom buckets must not have negative buckets".into());
            }
            if self.zero_count != 0.0 || self.zero_threshold != 0.0 {
                return Err("custom buckets must not have a zero bucket".into());
            }
            if self.custom_values.windows(2).any(|w| w[0] >= w[1] || w[0].is_nan() || w[1].is_nan())
            {
                return Err("custom bucket bounds must ascend".into());
            }
            if span_len(&self.positive_spans) > self.custom_values.len() + 1 {
                return Err("more buckets than custom bounds".into());
            }
        } else if !(-4..=8).contains(&self.schema) {
            return Err(format!("schema {} is not between -4 and 8", self.schema));
        } else if !self.custom_values.is_empty() {
            return Err("custom bounds with an exponential schema".into());
        }
        for (side, spans, buckets) in [
            ("positive", &self.positive_spans, &self.positive_buckets),
            ("negative", &self.negative_spans, &self.negative_buckets),
        ] {
            if span_len(spans) != buckets.len() {
                return Err(format!(
                    "{side} spans describe {} buckets, {} given",
                    span_len(spans),
                    buckets.len()
                ));
            }
            if spans.iter().skip(1).any(|s| s.offset < 0) {
                return Err(format!("{side} span with negative offset"));
            }
            if buckets.iter().any(|b| b.is_nan() || *b < 0.0) {
                return Err(format!("{side} bucket with a negative or NaN count"));
            }
        }
        if self.count < 0.0 || self.zero_count < 0.0 || self.zero_count.is_nan() {
            return Err("negative or NaN count".into());
        }
        Ok(())
    }
}

fn grew(now: &[f64], before: &[f64]) -> bool {
    now.len() == before.len() && now.iter().zip(before).all(|(a, b)| a >= b)
}
