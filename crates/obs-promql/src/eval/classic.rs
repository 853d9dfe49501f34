//! Functions of classic histograms over series: which series are the buckets of one histogram is
//! settled once, the buckets of a step are gathered without looking at labels.

use std::collections::HashMap;

use obs_types::LabelSet;

use super::{Cursor, Evaluator, Matrix, Series, Steps, total};
use crate::EngineError;
use crate::ast::PosRange;
use crate::histogram::ClassicBucket;

/// The buckets of one histogram.
struct Buckets<'a> {
    /// Without `le`.
    labels: LabelSet,
    members: Vec<(f64, &'a Series)>,
}

impl Evaluator<'_> {
    /// Calls `f(step, time, metric name, buckets)` for every histogram and step where it has
    /// buckets. The series must be floats.
    pub(super) fn classic_histograms(
        &mut self,
        input: &Matrix,
        pos: PosRange,
        steps: Steps,
        mut f: impl FnMut(&mut Self, usize, i64, &str, &mut [ClassicBucket]) -> f64,
    ) -> Result<Matrix, EngineError> {
        let kept = self.options.delayed_name_removal;
        let name = |l: &LabelSet| if kept { l.metric_name().to_owned() } else { String::new() };
        let mut index: HashMap<LabelSet, usize> = HashMap::new();
        let mut groups: Vec<Buckets<'_>> = Vec::new();
        for s in input {
            let le = s.labels.get("le").unwrap_or("");
            let Ok(upper) = le.parse::<f64>() else {
                self.annos.bad_bucket_label(&name(&s.labels), le, pos);
                continue;
            };
            let at = *index.entry(s.labels.without(&["le"])).or_insert_with_key(|labels| {
                groups.push(Buckets { labels: labels.clone(), members: Vec::new() });
                groups.len() - 1
            });
            if let Some(g) = groups.get_mut(at) {
                g.members.push((upper, s));
            }
        }
        let mut out = Vec::with_capacity(groups.len());
        let mut buckets: Vec<ClassicBucket> = Vec::new();
        for g in groups {
            self.check()?;
            let mut cursors = vec![Cursor::default(); g.members.len()];
            let metric = name(&g.labels);
            let labels = self.nameless(&g.labels);
            let mut s = Series { labels, drop_name: true, ..Series::default() };
            for (n, t) in steps.iter().enumerate() {
                buckets.clear();
                for ((upper, member), c) in g.members.iter().zip(&mut cursors) {
                    if let Some(count) = c.float_at(member, t) {
                        buckets.push(ClassicBucket { upper: *upper, count });
                    }
                }
                if !buckets.is_empty() {
                    let v = f(self, n, t, &metric, &mut buckets);
                    s.floats.push((t, v));
                }
            }
            self.hold(s.len())?;
            out.extend((!s.floats.is_empty()).then_some(s));
        }
        self.release(total(input));
        self.unique(out, steps)
    }
}
