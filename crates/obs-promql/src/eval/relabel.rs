//! Functions that change or look at labels: PromQL's, then MetricsQL's.

use std::collections::HashMap;

use obs_types::{LabelSet, METRIC_NAME, MatchOp, Matcher, capturing};
use regex::Regex;

use super::call::text;
use super::rollup::settled;
use super::transform::{in_groups, texts};
use super::{Evaluator, Matrix, Steps, failed, merge_same};
use crate::EngineError;
use crate::ast::*;
use crate::text::is_label_name;

fn pattern(text: &str, anchored: bool) -> Result<Regex, EngineError> {
    let full = if anchored { format!("^(?s:{text})$") } else { text.to_owned() };
    Regex::new(&full).or_else(|_| failed(format!("invalid regular expression: {text}")))
}

fn value<'a>(l: &'a LabelSet, name: &str) -> &'a str {
    l.get(name).unwrap_or("")
}

impl Evaluator<'_> {
    pub(super) fn label_replace(&mut self, c: &Call, steps: Steps) -> Result<Matrix, EngineError> {
        let [dst, replacement, src, pattern] = [1, 2, 3, 4].map(|i| text(c.args.get(i)));
        type Replaced<'a> = Box<dyn FnMut(&str) -> Option<String> + 'a>;
        let replaced: Option<Replaced<'_>> = if replacement.contains('$') {
            capturing(pattern).ok().map(|regex| {
                // Series of one instance, or one path, have the same value.
                let mut known: HashMap<String, Option<String>> = HashMap::new();
                Box::new(move |from: &str| {
                    if let Some(value) = known.get(from) {
                        return value.clone();
                    }
                    let value = regex.captures(from).map(|found| {
                        let mut value = String::new();
                        found.expand(replacement, &mut value);
                        value
                    });
                    known.insert(from.to_owned(), value.clone());
                    value
                }) as Replaced<'_>
            })
        } else {
            // Nothing is captured: all that counts is whether it matches.
            let matcher = Matcher::new(src, MatchOp::Regex, pattern).ok();
            matcher.map(|m| {
                Box::new(move |from: &str| m.matches(from).then(|| replacement.to_owned())) as _
            })
        };
        let Some(mut replaced) = replaced else {
            return failed(format!("invalid regular expression in label_replace(): {pattern}"));
        };
        if !is_label_name(dst) {
            return failed(format!("invalid destination label name in label_replace(): {dst}"));
        }
        let Some(arg) = c.args.first() else { return Ok(Vec::new()) };
        let mut matrix = self.eval(arg, steps)?;
        for s in &mut matrix {
            let Some(value) = replaced(s.labels.get(src).unwrap_or("")) else { continue };
            s.labels = s.labels.with(dst, &value);
            if dst == METRIC_NAME {
                s.drop_name = false;
            }
        }
        merge_same(matrix)
    }

    pub(super) fn label_join(&mut self, c: &Call, steps: Steps) -> Result<Matrix, EngineError> {
        let (dst, separator) = (text(c.args.get(1)), text(c.args.get(2)));
        let sources: Vec<&str> = c.args.iter().skip(3).map(|a| text(Some(a))).collect();
        if let Some(bad) = sources.iter().find(|s| !is_label_name(s)) {
            return failed(format!("invalid source label name in label_join(): {bad}"));
        }
        if !is_label_name(dst) {
            return failed(format!("invalid destination label name in label_join(): {dst}"));
        }
        let Some(arg) = c.args.first() else { return Ok(Vec::new()) };
        let mut matrix = self.eval(arg, steps)?;
        for s in &mut matrix {
            let values: Vec<&str> = sources.iter().map(|n| s.labels.get(n).unwrap_or("")).collect();
            s.labels = s.labels.with(dst, &values.join(separator));
            if dst == METRIC_NAME {
                s.drop_name = false;
            }
        }
        merge_same(matrix)
    }
}

impl Evaluator<'_> {
    /// `None` where the function is not one of these.
    pub(super) fn relabel(
        &mut self,
        c: &Call,
        steps: Steps,
    ) -> Result<Option<Matrix>, EngineError> {
        let name = c.func.name;
        let Some(first) = c.args.first() else { return Ok(None) };
        let known = name.starts_with("label_") && !matches!(name, "label_replace" | "label_join")
            || matches!(name, "alias" | "labels_equal" | "drop_common_labels");
        if !known {
            return Ok(None);
        }
        if name == "label_graphite_group" {
            return self.graphite_groups(c, steps).map(Some);
        }
        let arguments = texts(c);
        if name == "drop_common_labels" {
            let mut matrix = Vec::new();
            for e in &c.args {
                matrix.extend(settled(self.eval(e, steps)?));
            }
            return Ok(Some(without_common(matrix)));
        }
        let mut matrix = settled(self.eval(first, steps)?);
        let each = |matrix: &mut Matrix, f: &dyn Fn(&LabelSet) -> LabelSet| {
            matrix.iter_mut().for_each(|s| s.labels = f(&s.labels));
        };
        match name {
            "alias" => {
                let to = text(c.args.get(1));
                each(&mut matrix, &|l| l.with(METRIC_NAME, to));
            }
            "label_set" => {
                in_groups(name, &arguments, 2)?;
                each(&mut matrix, &|l| {
                    let mut b = l.to_builder();
                    for pair in arguments.chunks_exact(2) {
                        b.set(pair[0], pair[1]);
                    }
                    b.build()
                });
            }
            "label_del" => each(&mut matrix, &|l| l.without(&arguments)),
            "label_keep" => each(&mut matrix, &|l| l.keep(&arguments)),
            "label_copy" | "label_move" => {
                in_groups(name, &arguments, 2)?;
                each(&mut matrix, &|l| {
                    let mut b = l.to_builder();
                    for pair in arguments.chunks_exact(2) {
                        let Some(v) = b.get(pair[0]).filter(|v| !v.is_empty()) else { continue };
                        let v = v.to_owned();
                        b.set(pair[1], v);
                        if name == "label_move" && pair[0] != pair[1] {
                            b.remove(pair[0]);
                        }
                    }
                    b.build()
                });
            }
            "label_map" => {
                let Some((label, pairs)) = arguments.split_first() else { return Ok(None) };
                in_groups(name, pairs, 2)?;
                each(&mut matrix, &|l| {
                    let old = value(l, label);
                    let found = pairs.chunks_exact(2).find(|p| p[0] == old);
                    found.map_or_else(|| l.clone(), |p| l.with(label, p[1]))
                });
            }
            "label_uppercase" | "label_lowercase" => each(&mut matrix, &|l| {
                arguments.iter().fold(l.clone(), |l, label| {
                    let old = value(&l, label);
                    let new = match name {
                        "label_uppercase" => old.to_uppercase(),
                        _ => old.to_lowercase(),
                    };
                    l.with(label, &new)
                })
            }),
            "label_transform" => {
                let [label, from, to] = arguments.as_slice() else { return Ok(None) };
                let from = pattern(from, false)?;
                each(&mut matrix, &|l| l.with(label, &from.replace_all(value(l, label), *to)));
            }
            "label_match" | "label_mismatch" => {
                let [label, wanted] = arguments.as_slice() else { return Ok(None) };
                let wanted = pattern(wanted, true)?;
                let keep = name == "label_match";
                matrix.retain(|s| wanted.is_match(value(&s.labels, label)) == keep);
            }
            "labels_equal" => matrix.retain(|s| {
                arguments.windows(2).all(|w| value(&s.labels, w[0]) == value(&s.labels, w[1]))
            }),
            "label_value" => {
                let label = text(c.args.get(1));
                matrix.retain_mut(|s| {
                    let Ok(v) = value(&s.labels, label).parse::<f64>() else { return false };
                    s.floats.iter_mut().for_each(|p| p.1 = v);
                    s.drop_name = true;
                    true
                });
            }
            _ => return failed(format!("function {name} is not implemented")),
        }
        merge_same(matrix).map(Some)
    }
}

impl Evaluator<'_> {
    /// Names of some of the parts between their dots. What is alike then meets in the aggregation
    /// around it.
    fn graphite_groups(&mut self, c: &Call, steps: Steps) -> Result<Matrix, EngineError> {
        let Some((first, places)) = c.args.split_first() else { return Ok(Vec::new()) };
        let mut wanted = Vec::with_capacity(places.len());
        for e in places {
            wanted.push(self.scalars(e, steps)?.first().copied().unwrap_or(f64::NAN));
        }
        let mut matrix = settled(self.eval(first, steps)?);
        for s in &mut matrix {
            let parts: Vec<&str> = s.labels.metric_name().split('.').collect();
            let part = |place: &f64| {
                let place = (*place >= 0.0).then_some(*place as usize);
                place.and_then(|p| parts.get(p).copied()).unwrap_or("")
            };
            let name = wanted.iter().map(part).collect::<Vec<_>>().join(".");
            s.labels = s.labels.with(METRIC_NAME, &name);
        }
        Ok(matrix)
    }
}

/// Labels that all series have with one value are gone, the name among them.
fn without_common(mut matrix: Matrix) -> Matrix {
    let Some((first, rest)) = matrix.split_first() else { return matrix };
    let common: Vec<String> = first
        .labels
        .iter()
        .filter(|(n, v)| rest.iter().all(|s| s.labels.get(n) == Some(v)))
        .map(|(n, _)| n.to_owned())
        .collect();
    let common: Vec<&str> = common.iter().map(String::as_str).collect();
    matrix.iter_mut().for_each(|s| s.labels = s.labels.without(&common));
    matrix
}
