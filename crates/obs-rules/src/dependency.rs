//! Which rules of a group may run at the same time.
//!
//! A group's answer is that of its rules one after the other. Rule B therefore runs
//! 1. after every earlier rule whose output it reads,
//! 2. not before an earlier rule that reads B's output, which must see the value of the step
//!    before,
//! 3. not before an earlier rule that writes the same series name.
//!
//! Rules of one stage read what the stages before wrote and do not see each other.

use obs_promql::{ParserOptions, SelectorInfo};
use obs_types::METRIC_NAME;

use crate::{RuleKind, RuleSpec};

/// What a rule reads.
enum Reads {
    Selectors(Vec<SelectorInfo>),
    /// A template may query anything.
    Everything,
}

fn reads(rule: &RuleSpec) -> Reads {
    if let RuleKind::Alert(alert) = &rule.kind {
        let mut texts = alert.annotations.values().chain(rule.labels.values());
        if texts.any(|t| t.contains("query")) {
            return Reads::Everything;
        }
    }
    match obs_promql::parse(&rule.expr, &ParserOptions::default()) {
        Ok(expr) => Reads::Selectors(obs_promql::selectors(&expr)),
        Err(_) => Reads::Everything,
    }
}

fn writes(rule: &RuleSpec) -> Vec<&str> {
    match &rule.kind {
        RuleKind::Record { name } => vec![name],
        RuleKind::Alert(_) => vec!["ALERTS", "ALERTS_FOR_STATE"],
    }
}

impl Reads {
    fn any_of(&self, names: &[&str]) -> bool {
        let Self::Selectors(selectors) = self else { return true };
        selectors.iter().any(|s| {
            let by_name: Vec<_> = s.matchers.iter().filter(|m| m.name() == METRIC_NAME).collect();
            names.iter().any(|name| by_name.iter().all(|m| m.matches(name)))
        })
    }
}

/// The stage of each rule, from 0.
pub(crate) fn stages(rules: &[&RuleSpec]) -> Vec<usize> {
    let reads: Vec<Reads> = rules.iter().map(|r| reads(r)).collect();
    let writes: Vec<Vec<&str>> = rules.iter().map(|r| writes(r)).collect();
    let mut stages: Vec<usize> = Vec::with_capacity(rules.len());
    for (b, (b_reads, b_writes)) in reads.iter().zip(&writes).enumerate() {
        let mut stage = 0;
        for (a, before) in stages.iter().enumerate().take(b) {
            let (Some(a_reads), Some(a_writes)) = (reads.get(a), writes.get(a)) else { continue };
            if b_reads.any_of(a_writes) {
                stage = stage.max(before + 1);
            } else if a_reads.any_of(b_writes) || a_writes.iter().any(|w| b_writes.contains(w)) {
                stage = stage.max(*before);
            }
        }
        stages.push(stage);
    }
    stages
}

/// Whether a rule reads its own output or that of a later one, so that a step depends on the step
/// before.
pub(crate) fn depends_on_past_steps(rules: &[&RuleSpec]) -> bool {
    rules.iter().enumerate().any(|(i, rule)| {
        let reads = reads(rule);
        rules.iter().skip(i).any(|later| reads.any_of(&writes(later)))
    })
}

/// Whether another rule than `rule` itself reads what it writes.
pub(crate) fn is_read(rule: &RuleSpec, rules: &[&RuleSpec]) -> bool {
    let writes = writes(rule);
    rules.iter().any(|r| reads(r).any_of(&writes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ReadOptions, RuleFile};

    fn stages_of(rules: &[(&str, &str)]) -> Vec<usize> {
        let rules: Vec<String> = rules
            .iter()
            .map(|(name, expr)| format!("  - {{record: '{name}', expr: '{expr}'}}\n"))
            .collect();
        let text = format!("groups:\n- name: g\n  rules:\n{}", rules.concat());
        let file = RuleFile::parse("r", &text, ReadOptions::default()).unwrap();
        stages(&file.groups[0].rules.iter().collect::<Vec<_>>())
    }

    #[test]
    fn who_reads_waits_and_who_is_read_later_waits_too() {
        assert_eq!(stages_of(&[("a", "x"), ("b", "y"), ("c", "a + b"), ("d", "z")]), [0, 0, 1, 0]);
        assert_eq!(stages_of(&[("a", "x"), ("b", "a"), ("c", "b")]), [0, 1, 2]);
        // `r` sees the `b` of the step before, whatever `b` waits for.
        assert_eq!(stages_of(&[("a", "x"), ("r", "a + b"), ("b", "y")]), [0, 1, 1]);
        // A pattern may mean any of them.
        assert_eq!(stages_of(&[("a", "x"), ("b", "{__name__=~\"a|q\"}")]), [0, 1]);
        assert_eq!(stages_of(&[("a", "x"), ("b", "{job=\"j\"}")]), [0, 1]);
        assert_eq!(stages_of(&[("a", "x"), ("b", "a"), ("a", "y")]), [0, 1, 1]);
    }
}
