//! `histogram_*` over vectors that mix native histograms and classic `le` series.

use std::collections::HashMap;

use obs_types::{LabelSet, NativeHistogram};

use crate::annotations::Annotations;
use crate::ast::PosRange;
use crate::eval::{Hist, Sample};
use crate::histogram::{ClassicBucket, all_buckets, kahan};

/// A vector taken apart.
#[derive(Debug, Default)]
pub(crate) struct Histograms {
    pub(crate) native: Vec<(LabelSet, Hist)>,
    /// Labels without `le`, buckets in order of appearance.
    pub(crate) classic: Vec<(LabelSet, Vec<ClassicBucket>)>,
}

pub(crate) fn take_apart(
    vector: &[Sample],
    names_kept: bool,
    pos: PosRange,
    annos: &mut Annotations,
) -> Histograms {
    let mut out = Histograms::default();
    let mut index: HashMap<LabelSet, usize> = HashMap::new();
    let name = |l: &LabelSet| if names_kept { l.metric_name().to_owned() } else { String::new() };
    for s in vector {
        if let Some(h) = s.hist() {
            out.native.push((s.labels.clone(), h.clone()));
            continue;
        }
        let le = s.labels.get("le").unwrap_or("");
        let Ok(upper) = le.parse::<f64>() else {
            annos.bad_bucket_label(&name(&s.labels), le, pos);
            continue;
        };
        let labels = s.labels.without(&["le"]);
        let at = *index.entry(labels.clone()).or_insert_with(|| {
            out.classic.push((labels, Vec::new()));
            out.classic.len() - 1
        });
        if let Some((_, buckets)) = out.classic.get_mut(at) {
            buckets.push(ClassicBucket { upper, count: s.float() });
        }
    }
    // Both kinds under one name and time: neither can be trusted.
    let mut conflicts: Vec<usize> = Vec::new();
    out.native.retain(|(labels, _)| match index.get(labels) {
        Some(at) => {
            annos.mixed_classic_native(&name(labels), pos);
            conflicts.push(*at);
            false
        }
        None => true,
    });
    let mut at = 0;
    out.classic.retain(|_| {
        at += 1;
        !conflicts.contains(&(at - 1))
    });
    out
}

/// Variance of the observations, each bucket represented by one value.
pub(crate) fn variance(h: &NativeHistogram) -> f64 {
    let mean = h.sum / h.count;
    let (mut sum, mut c) = (0.0, 0.0);
    for b in all_buckets(h) {
        if b.count == 0.0 {
            continue;
        }
        let value = if h.uses_custom_buckets() {
            f64::midpoint(b.upper, b.lower)
        } else if b.lower <= 0.0 && b.upper >= 0.0 {
            0.0
        } else {
            let v = (b.upper * b.lower).sqrt();
            if b.upper < 0.0 { -v } else { v }
        };
        let delta = value - mean;
        (sum, c) = kahan(b.count * delta * delta, sum, c);
    }
    (sum + c) / h.count
}
