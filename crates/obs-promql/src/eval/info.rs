//! `info()`: adds the labels of info metrics to series of the same target.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use obs_types::{LabelSet, METRIC_NAME, MatchOp, Matcher};

use super::selector::fixed_at;
use super::{Collector, Cursor};
use super::{Evaluator, Matrix, Sample, Steps, failed};
use crate::EngineError;
use crate::ast::*;

const IDENTIFYING: [&str; 2] = ["instance", "job"];

fn matcher(name: &str, op: MatchOp, value: &str) -> Result<Matcher, EngineError> {
    Matcher::new(name, op, value).map_err(|e| EngineError::Execution(e.to_string()))
}

/// Which metrics count as info metrics.
fn name_matchers(given: &[Matcher]) -> Result<Vec<Matcher>, EngineError> {
    if given.iter().any(|m| matches!(m.op(), MatchOp::Equal | MatchOp::Regex)) {
        return Ok(given.to_vec());
    }
    if given.is_empty() {
        return Ok(vec![Matcher::equal(METRIC_NAME, "target_info")]);
    }
    let mut out = vec![matcher(METRIC_NAME, MatchOp::Regex, ".+_info")?];
    out.extend(given.iter().cloned());
    Ok(out)
}

/// Time and offset of the first selector in the argument; the info series are read likewise.
fn placement(e: &Expr) -> Option<(Option<i64>, i64)> {
    match &e.kind {
        ExprKind::Vector(v) => Some((fixed_at(&v.at), v.offset.millis())),
        ExprKind::Matrix(m) => Some((fixed_at(&m.selector.at), m.selector.offset.millis())),
        ExprKind::Subquery(s) => {
            let (at, offset) = placement(&s.expr)?;
            Some(if at.is_some() {
                (at, offset)
            } else {
                (fixed_at(&s.at), offset.saturating_add(s.offset.millis()))
            })
        }
        ExprKind::Aggregate(a) => {
            placement(&a.expr).or_else(|| a.param.as_ref().and_then(|p| placement(p)))
        }
        _ => e.children().into_iter().find_map(placement),
    }
}

impl Evaluator<'_> {
    pub(crate) fn info(&mut self, c: &Call, steps: Steps) -> Result<Matrix, EngineError> {
        let Some(arg) = c.args.first() else { return Ok(Vec::new()) };
        let (at, offset) = placement(arg).unwrap_or((None, 0));
        let base = self.eval(arg, steps)?;
        let mut names: Vec<Matcher> = Vec::new();
        let mut data: BTreeMap<String, Vec<Matcher>> = BTreeMap::new();
        if let Some(ExprKind::Vector(v)) = c.args.get(1).map(|a| &a.kind) {
            for m in &v.matchers {
                if m.name() == METRIC_NAME {
                    names.push(m.clone());
                } else {
                    data.entry(m.name().to_owned()).or_default().push(m.clone());
                }
            }
        }
        let names = name_matchers(&names)?;
        let is_info = |l: &LabelSet| names.iter().all(|m| m.matches(l.metric_name()));
        let mut values: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for s in base.iter().filter(|s| !is_info(&s.labels)) {
            for id in IDENTIFYING {
                if let Some(v) = s.labels.get(id) {
                    values.entry(id).or_default().insert(v);
                }
            }
        }
        let mut info: Matrix = Vec::new();
        if !values.is_empty() {
            let mut matchers = names.clone();
            for (id, values) in &values {
                let pattern: Vec<String> = values.iter().map(|v| regex::escape(v)).collect();
                matchers.push(matcher(id, MatchOp::Regex, &pattern.join("|"))?);
            }
            matchers.extend(data.values().flatten().cloned());
            let first = super::selector::data_time(at, offset, steps.start);
            let last = super::selector::data_time(at, offset, steps.end);
            let from = first.saturating_sub(self.options.lookback_ms).saturating_add(1);
            self.fetch_each(&matchers, (from, last), (Some("info"), steps.step), |ev, data| {
                let s = ev.look_up(&data, steps, (at, offset), true)?;
                ev.hold(s.len())?;
                ev.count_points(&s, steps);
                info.extend((s.len() > 0).then_some(s));
                Ok(())
            })?;
            info.sort_by(|a, b| a.labels.cmp(&b.labels));
        }
        self.combine(&base, &info, &data, is_info, steps)
    }

    fn combine(
        &mut self,
        base: &Matrix,
        info: &Matrix,
        data: &BTreeMap<String, Vec<Matcher>>,
        is_info: impl Fn(&LabelSet) -> bool,
        steps: Steps,
    ) -> Result<Matrix, EngineError> {
        let info_names: BTreeSet<&str> = info.iter().map(|s| s.labels.metric_name()).collect();
        let key = |name: &str, l: &LabelSet| (name.to_owned(), l.keep(&IDENTIFYING));
        let base_keys: Vec<Vec<_>> =
            base.iter().map(|s| info_names.iter().map(|n| key(n, &s.labels)).collect()).collect();
        let info_keys: Vec<_> =
            info.iter().map(|s| key(s.labels.metric_name(), &s.labels)).collect();
        let must_match = data.values().flatten().any(|m| !m.matches_empty());
        let mut base_cursors = vec![Cursor::default(); base.len()];
        let mut info_cursors = vec![Cursor::default(); info.len()];
        // Names stay whatever the step, so that equal results are an error here at once.
        let mut out = Collector::new(steps, false);
        let mut memo: HashMap<(usize, Vec<LabelSet>), Option<LabelSet>> = HashMap::new();
        for t in steps.iter() {
            self.check()?;
            let mut newest: HashMap<&(String, LabelSet), (f64, &LabelSet)> = HashMap::new();
            for ((s, c), k) in info.iter().zip(&mut info_cursors).zip(&info_keys) {
                let Some(own) = c.at(s, t).and_then(|v| v.as_float()) else { continue };
                match newest.get(k) {
                    Some((other, _)) if *other > own => {}
                    Some((other, labels)) if *other == own => {
                        return failed(format!(
                            "found duplicate series for info metric: existing {labels} @ {own}, \
                             new {} @ {own}",
                            s.labels
                        ));
                    }
                    _ => {
                        newest.insert(k, (own, &s.labels));
                    }
                }
            }
            let mut vector = Vec::new();
            for (i, (s, c)) in base.iter().zip(&mut base_cursors).enumerate() {
                let Some(value) = c.at(s, t) else { continue };
                if is_info(&s.labels) {
                    vector.push(Sample { labels: s.labels.clone(), drop_name: s.drop_name, value });
                    continue;
                }
                let found: Vec<LabelSet> = base_keys
                    .get(i)
                    .into_iter()
                    .flatten()
                    .filter_map(|k| newest.get(k).map(|(_, l)| (*l).clone()))
                    .collect();
                let memo_key = (i, found);
                let labels = match memo.get(&memo_key) {
                    Some(l) => l.clone(),
                    None => {
                        let l = extend(&s.labels, &memo_key.1, data, must_match)?;
                        memo.insert(memo_key, l.clone());
                        l
                    }
                };
                if let Some(labels) = labels {
                    vector.push(Sample { labels, drop_name: s.drop_name, value });
                }
            }
            let added = out.add(t, vector)?;
            self.hold(added)?;
        }
        Ok(out.finish())
    }
}

/// `None` where the data labels that were asked for are nowhere to be found.
fn extend(
    base: &LabelSet,
    found: &[LabelSet],
    data: &BTreeMap<String, Vec<Matcher>>,
    must_match: bool,
) -> Result<Option<LabelSet>, EngineError> {
    if found.is_empty() && must_match {
        return Ok(None);
    }
    let own: HashSet<&str> = base.iter().map(|(n, _)| n).collect();
    let mut out = base.to_builder();
    let mut added: BTreeMap<String, String> = BTreeMap::new();
    for l in found {
        for (n, v) in l.iter().filter(|(n, _)| *n != METRIC_NAME) {
            if !data.is_empty() && !data.contains_key(n) {
                continue;
            }
            if added.get(n).is_some_and(|other| other != v) {
                return failed(format!("conflicting label: {n}"));
            }
            if own.contains(n) {
                continue;
            }
            added.insert(n.to_owned(), v.to_owned());
            out.set(n, v);
        }
    }
    Ok(Some(out.build()))
}
