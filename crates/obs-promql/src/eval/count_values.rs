//! `count_values`: how many series of a group have a value.

use std::collections::HashMap;

use obs_types::LabelSet;

use super::aggregate::group_labels;
use super::{Cursor, Evaluator, Matrix, Series, Steps, failed, total};
use crate::ast::*;
use crate::histogram::text;
use crate::text::float_f;
use crate::{EngineError, SampleValue};

impl Evaluator<'_> {
    pub(super) fn count_values(
        &mut self,
        a: &AggregateExpr,
        grouping: &[&str],
        steps: Steps,
    ) -> Result<Matrix, EngineError> {
        let label = match a.param.as_ref().map(|p| &p.kind) {
            Some(ExprKind::String(s)) => s.clone(),
            _ => String::new(),
        };
        if !crate::text::is_label_name(&label) {
            return failed(format!("invalid label name {}", crate::text::quote(&label)));
        }
        let mut names: Vec<&str> = grouping.to_vec();
        if !a.without {
            names.push(&label);
        }
        let input = self.eval(&a.expr, steps)?;
        let held = total(&input);
        // What does not depend on the value is settled once: without the label, which `without`
        // may also remove from the result.
        let labelled = !a.without || !grouping.contains(&label.as_str());
        let mut bases: Vec<LabelSet> = Vec::new();
        let mut index: HashMap<LabelSet, usize> = HashMap::new();
        let of_series: Vec<usize> = input
            .iter()
            .map(|s| {
                let base = group_labels(&s.labels, &names, a.without);
                let base = if labelled { base.without(&[&label]) } else { base };
                *index.entry(base).or_insert_with_key(|base| {
                    bases.push(base.clone());
                    bases.len() - 1
                })
            })
            .collect();
        let mut out: Matrix = Vec::new();
        let mut known: HashMap<(usize, Key), usize> = HashMap::new();
        let mut by_labels: HashMap<LabelSet, usize> = HashMap::new();
        let mut cursors = vec![Cursor::default(); input.len()];
        for t in steps.iter() {
            self.check()?;
            let mut added = 0;
            for ((s, c), base) in input.iter().zip(&mut cursors).zip(&of_series) {
                let Some(value) = c.at(s, t) else { continue };
                let key = match &value {
                    SampleValue::Float(f) => Key::Float(f.to_bits()),
                    SampleValue::Histogram(h) => Key::Text(text(h)),
                };
                let at = *known.entry((*base, key)).or_insert_with_key(|(base, key)| {
                    let mut labels = bases.get(*base).cloned().unwrap_or_default();
                    if labelled {
                        labels = match key {
                            Key::Float(bits) => {
                                labels.with(&label, &float_f(f64::from_bits(*bits)))
                            }
                            Key::Text(text) => labels.with(&label, text),
                        };
                    }
                    *by_labels.entry(labels).or_insert_with_key(|labels| {
                        out.push(Series { labels: labels.clone(), ..Series::default() });
                        out.len() - 1
                    })
                });
                let Some(s) = out.get_mut(at) else { continue };
                match s.floats.last_mut() {
                    Some((last, n)) if *last == t => *n += 1.0,
                    _ => {
                        s.floats.push((t, 1.0));
                        added += 1;
                    }
                }
            }
            self.hold(added)?;
        }
        self.release(held);
        Ok(out)
    }
}

/// What counts as one value.
#[derive(PartialEq, Eq, Hash)]
enum Key {
    Float(u64),
    Text(String),
}
