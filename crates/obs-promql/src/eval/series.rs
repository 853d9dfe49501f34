//! Steps, series and vectors as they travel through an evaluation.

use std::collections::HashMap;
use std::sync::Arc;

use obs_types::{LabelSet, NativeHistogram};

use super::{SAME_LABELSET, failed};
use crate::{EngineError, SampleValue};

/// The instants of an evaluation, `end` included where the step reaches it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Steps {
    pub(crate) start: i64,
    pub(crate) end: i64,
    pub(crate) step: i64,
}

impl Steps {
    pub(crate) fn count(self) -> usize {
        if self.end < self.start {
            return 0;
        }
        let span = self.end.saturating_sub(self.start) / self.step.max(1);
        usize::try_from(span).unwrap_or(usize::MAX).saturating_add(1)
    }

    pub(crate) fn iter(self) -> impl Iterator<Item = i64> {
        (0..self.count() as i64).map(move |i| self.start + i * self.step)
    }

    pub(crate) fn index(self, t: i64) -> usize {
        usize::try_from((t - self.start) / self.step.max(1)).unwrap_or(0)
    }

    pub(crate) fn is_instant(self) -> bool {
        self.start == self.end
    }

    /// Finds the step of ascending times without dividing.
    pub(crate) fn walk(self) -> Walk {
        Walk { at: 0, time: self.start, step: self.step.max(1) }
    }

    /// The steps of ascending times.
    pub(crate) fn places(self, times: impl Iterator<Item = i64>) -> impl Iterator<Item = usize> {
        let mut walk = self.walk();
        times.map(move |t| walk.place(t))
    }
}

/// A place among the steps that only moves forward.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Walk {
    at: usize,
    time: i64,
    step: i64,
}

impl Walk {
    pub(crate) fn place(&mut self, t: i64) -> usize {
        if t > self.time.saturating_add(self.step.saturating_mul(64)) {
            let skip = (t - self.time) / self.step;
            self.at += usize::try_from(skip).unwrap_or(0);
            self.time += skip * self.step;
        }
        while self.time < t {
            self.at += 1;
            self.time = self.time.saturating_add(self.step);
        }
        self.at
    }
}

/// A yes or no for every step; all no until grown.
#[derive(Clone, Debug, Default)]
pub(crate) struct StepBits {
    words: Vec<u64>,
}

impl StepBits {
    pub(crate) fn grow(&mut self, steps: Steps) {
        self.words.resize(steps.count().div_ceil(64), 0);
    }

    pub(crate) fn set(&mut self, step: usize) {
        if let Some(w) = self.words.get_mut(step / 64) {
            *w |= 1 << (step % 64);
        }
    }

    pub(crate) fn get(&self, step: usize) -> bool {
        self.words.get(step / 64).is_some_and(|w| w >> (step % 64) & 1 == 1)
    }

    pub(crate) fn and(mut self, other: &Self) -> Self {
        self.words.iter_mut().zip(&other.words).for_each(|(a, b)| *a &= b);
        self
    }

    pub(crate) fn or(mut self, other: &Self) -> Self {
        self.words.iter_mut().zip(&other.words).for_each(|(a, b)| *a |= b);
        self
    }
}

pub(crate) type Hist = Arc<NativeHistogram>;

/// A series with its points in ascending time; a time has a float or a histogram.
#[derive(Clone, Debug, Default)]
pub(crate) struct Series {
    pub(crate) labels: LabelSet,
    /// The name goes when the query is done (delayed name removal).
    pub(crate) drop_name: bool,
    pub(crate) floats: Vec<(i64, f64)>,
    pub(crate) hists: Vec<(i64, Hist)>,
}

pub(crate) type Matrix = Vec<Series>;

impl Series {
    pub(crate) fn len(&self) -> usize {
        self.floats.len() + self.hists.iter().map(|(_, h)| hist_size(h)).sum::<usize>()
    }

    pub(crate) fn push(&mut self, t: i64, value: SampleValue) {
        match value {
            SampleValue::Float(f) => self.floats.push((t, f)),
            SampleValue::Histogram(h) => self.hists.push((t, h)),
        }
    }
}

/// What a histogram counts against the sample limit: its size in units of a float sample.
pub(crate) fn hist_size(h: &NativeHistogram) -> usize {
    (h.size_bytes() + 8) / 16
}

pub(crate) fn total(matrix: &[Series]) -> usize {
    matrix.iter().map(Series::len).sum()
}

/// One element of a vector at one step.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    pub(crate) labels: LabelSet,
    pub(crate) drop_name: bool,
    pub(crate) value: SampleValue,
}

impl Sample {
    pub(crate) fn float(&self) -> f64 {
        self.value.as_float().unwrap_or(f64::NAN)
    }

    pub(crate) fn hist(&self) -> Option<&Hist> {
        match &self.value {
            SampleValue::Float(_) => None,
            SampleValue::Histogram(h) => Some(h),
        }
    }
}

/// Walks a series step by step.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cursor {
    float: usize,
    hist: usize,
}

impl Cursor {
    /// The float at `t`; calls must ascend in time.
    pub(crate) fn float_at(&mut self, s: &Series, t: i64) -> Option<f64> {
        while s.floats.get(self.float).is_some_and(|p| p.0 < t) {
            self.float += 1;
        }
        s.floats.get(self.float).filter(|p| p.0 == t).map(|p| p.1)
    }

    /// The value at `t`; calls must ascend in time.
    pub(crate) fn at(&mut self, s: &Series, t: i64) -> Option<SampleValue> {
        while s.floats.get(self.float).is_some_and(|p| p.0 < t) {
            self.float += 1;
        }
        if let Some((_, f)) = s.floats.get(self.float).filter(|p| p.0 == t) {
            return Some(SampleValue::Float(*f));
        }
        while s.hists.get(self.hist).is_some_and(|p| p.0 < t) {
            self.hist += 1;
        }
        s.hists
            .get(self.hist)
            .filter(|p| p.0 == t)
            .map(|(_, h)| SampleValue::Histogram(Arc::clone(h)))
    }
}

/// Collects vectors of successive steps into series.
pub(crate) struct Collector {
    series: Matrix,
    index: HashMap<LabelSet, (usize, i64)>,
    instant: bool,
    check_duplicates: bool,
}

impl Collector {
    pub(crate) fn new(steps: Steps, delayed_name_removal: bool) -> Self {
        Self {
            series: Vec::new(),
            index: HashMap::new(),
            instant: steps.is_instant(),
            check_duplicates: !delayed_name_removal,
        }
    }

    pub(crate) fn add(&mut self, t: i64, vector: Vec<Sample>) -> Result<usize, EngineError> {
        let mut added = 0;
        for sample in vector {
            added += sample.hist().map_or(1, |h| hist_size(h));
            let known = self.index.get_mut(&sample.labels);
            if self.instant {
                if known.is_some() && self.check_duplicates {
                    return failed(SAME_LABELSET);
                }
                if self.check_duplicates {
                    self.index.insert(sample.labels.clone(), (0, t));
                }
                let mut s = Series {
                    labels: sample.labels,
                    drop_name: sample.drop_name,
                    ..Series::default()
                };
                s.push(t, sample.value);
                self.series.push(s);
                continue;
            }
            let at = match known {
                Some((_, last)) if *last == t => return failed(SAME_LABELSET),
                Some((at, last)) => {
                    *last = t;
                    *at
                }
                None => {
                    self.series.push(Series {
                        labels: sample.labels.clone(),
                        drop_name: sample.drop_name,
                        ..Series::default()
                    });
                    self.index.insert(sample.labels, (self.series.len() - 1, t));
                    self.series.len() - 1
                }
            };
            if let Some(s) = self.series.get_mut(at) {
                s.push(t, sample.value);
            }
        }
        Ok(added)
    }

    pub(crate) fn finish(self) -> Matrix {
        self.series
    }
}

/// Merges series with equal labels; `Err` where they share a time.
pub(crate) fn merge_same(matrix: Matrix) -> Result<Matrix, EngineError> {
    let mut index: HashMap<LabelSet, usize> = HashMap::with_capacity(matrix.len());
    let mut out: Matrix = Vec::with_capacity(matrix.len());
    let mut merged = Vec::new();
    for s in matrix {
        match index.get(&s.labels).and_then(|at| out.get_mut(*at).map(|o| (*at, o))) {
            None => {
                index.insert(s.labels.clone(), out.len());
                out.push(s);
            }
            Some((at, o)) => {
                o.floats.extend(s.floats);
                o.hists.extend(s.hists);
                merged.push(at);
            }
        }
    }
    merged.sort_unstable();
    merged.dedup();
    for at in merged {
        let Some(s) = out.get_mut(at) else { continue };
        s.floats.sort_by_key(|p| p.0);
        s.hists.sort_by_key(|p| p.0);
        if s.floats.windows(2).any(|w| w[0].0 == w[1].0)
            || s.hists.windows(2).any(|w| w[0].0 == w[1].0)
        {
            return failed(SAME_LABELSET);
        }
    }
    Ok(out)
}
