//! Relabeling: the eleven actions of Prometheus' `relabel_config`.

use obs_types::{LabelSet, LabelSetBuilder};
use regex::Regex;

/// What one rule does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Action {
    #[default]
    Replace,
    Lowercase,
    Uppercase,
    Keep,
    Drop,
    KeepEqual,
    DropEqual,
    HashMod,
    LabelMap,
    LabelDrop,
    LabelKeep,
}

impl Action {
    pub fn from_text(text: &str) -> Option<Self> {
        Some(match text.to_ascii_lowercase().as_str() {
            "replace" => Self::Replace,
            "lowercase" => Self::Lowercase,
            "uppercase" => Self::Uppercase,
            "keep" => Self::Keep,
            "drop" => Self::Drop,
            "keepequal" => Self::KeepEqual,
            "dropequal" => Self::DropEqual,
            "hashmod" => Self::HashMod,
            "labelmap" => Self::LabelMap,
            "labeldrop" => Self::LabelDrop,
            "labelkeep" => Self::LabelKeep,
            _ => return None,
        })
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Replace => "replace",
            Self::Lowercase => "lowercase",
            Self::Uppercase => "uppercase",
            Self::Keep => "keep",
            Self::Drop => "drop",
            Self::KeepEqual => "keepequal",
            Self::DropEqual => "dropequal",
            Self::HashMod => "hashmod",
            Self::LabelMap => "labelmap",
            Self::LabelDrop => "labeldrop",
            Self::LabelKeep => "labelkeep",
        }
    }
}

/// One checked rule.
#[derive(Clone, Debug)]
pub struct RelabelRule {
    pub source_labels: Vec<String>,
    pub separator: String,
    pub target_label: String,
    /// Fully anchored, `.` matches a newline.
    pub regex: Regex,
    pub modulus: u64,
    /// In Rust's notation: every `$name` is written `${name}`.
    pub replacement: String,
    pub action: Action,
}

/// Go takes `$1x` as group `1x`, which does not exist, and so as empty; Rust does likewise. What
/// differs is only that Go ends a bare name at the first character outside `[A-Za-z0-9_]`, as Rust
/// does, so templates carry over unchanged.
pub(super) fn anchored(pattern: &str) -> Result<Regex, regex::Error> {
    Regex::new(&format!("^(?s:{pattern})$"))
}

/// Applies the rules in order; `None` means the target or sample is dropped.
pub fn relabel(labels: &LabelSet, rules: &[RelabelRule]) -> Option<LabelSet> {
    if rules.is_empty() {
        return Some(labels.clone());
    }
    let mut builder = labels.to_builder();
    for rule in rules {
        if !apply(&mut builder, rule) {
            return None;
        }
    }
    Some(builder.build())
}

/// What one rule made of the labels that came to it.
#[derive(Clone, Debug)]
pub struct RelabelStep<'r> {
    pub rule: &'r RelabelRule,
    /// Empty where the rule dropped the target.
    pub output: LabelSet,
    pub keep: bool,
}

/// As [`relabel`], rule by rule; ends with the rule that drops.
pub fn relabel_steps<'r>(labels: &LabelSet, rules: &'r [RelabelRule]) -> Vec<RelabelStep<'r>> {
    let mut labels = labels.clone();
    let mut steps = Vec::new();
    for rule in rules {
        let output = relabel(&labels, std::slice::from_ref(rule));
        let keep = output.is_some();
        labels = output.unwrap_or_default();
        steps.push(RelabelStep { rule, output: labels.clone(), keep });
        if !keep {
            break;
        }
    }
    steps
}

fn apply(labels: &mut LabelSetBuilder, rule: &RelabelRule) -> bool {
    let source: Vec<&str> =
        rule.source_labels.iter().map(|n| labels.get(n).unwrap_or("")).collect();
    let source = source.join(&rule.separator);
    match rule.action {
        Action::Keep => return rule.regex.is_match(&source),
        Action::Drop => return !rule.regex.is_match(&source),
        Action::KeepEqual => return labels.get(&rule.target_label).unwrap_or("") == source,
        Action::DropEqual => return labels.get(&rule.target_label).unwrap_or("") != source,
        Action::Replace => replace(labels, rule, &source),
        Action::Lowercase => {
            labels.set(&rule.target_label, source.to_lowercase());
        }
        Action::Uppercase => {
            labels.set(&rule.target_label, source.to_uppercase());
        }
        Action::HashMod => {
            labels.set(&rule.target_label, hash_mod(&source, rule.modulus).to_string());
        }
        Action::LabelMap => {
            let mapped: Vec<(String, String)> = labels
                .iter()
                .filter_map(|(name, value)| {
                    let captures = rule.regex.captures(name)?;
                    let mut to = String::new();
                    captures.expand(&rule.replacement, &mut to);
                    Some((to, value.to_owned()))
                })
                .collect();
            for (name, value) in mapped {
                labels.set(name, value);
            }
        }
        Action::LabelDrop | Action::LabelKeep => {
            let drop = rule.action == Action::LabelDrop;
            let gone: Vec<String> = labels
                .iter()
                .filter(|(name, _)| rule.regex.is_match(name) == drop)
                .map(|(name, _)| name.to_owned())
                .collect();
            for name in gone {
                labels.remove(&name);
            }
        }
    }
    true
}

fn replace(labels: &mut LabelSetBuilder, rule: &RelabelRule, source: &str) {
    let Some(captures) = rule.regex.captures(source) else { return };
    let mut target = String::new();
    captures.expand(&rule.target_label, &mut target);
    if target.is_empty() {
        return;
    }
    let mut value = String::new();
    captures.expand(&rule.replacement, &mut value);
    if value.is_empty() {
        labels.remove(&target);
    } else {
        labels.set(target, value);
    }
}

/// The last eight bytes of the MD5 of the text, modulo `modulus`, as Prometheus spreads targets.
fn hash_mod(text: &str, modulus: u64) -> u64 {
    let digest = super::md5::md5(text.as_bytes());
    let mut tail = [0; 8];
    tail.copy_from_slice(&digest[8..]);
    u64::from_be_bytes(tail).checked_rem(modulus).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(action: Action) -> RelabelRule {
        RelabelRule {
            source_labels: Vec::new(),
            separator: ";".into(),
            target_label: String::new(),
            regex: anchored("(.*)").unwrap(),
            modulus: 0,
            replacement: "$1".into(),
            action,
        }
    }

    fn labels() -> LabelSet {
        LabelSet::from_pairs([("a", "foo"), ("b", "bar"), ("c", "baz")])
    }

    #[test]
    fn replace_joins_sources_and_expands_groups() {
        let r = RelabelRule {
            source_labels: vec!["a".into(), "b".into()],
            regex: anchored("f(.*);(.*)r").unwrap(),
            target_label: "a".into(),
            replacement: "b${1}${2}m".into(),
            ..rule(Action::Replace)
        };
        assert_eq!(relabel(&labels(), &[r]).unwrap().get("a"), Some("boobam"));
    }

    #[test]
    fn keep_drop_and_equality() {
        let keep = RelabelRule {
            source_labels: vec!["a".into()],
            regex: anchored("no-match").unwrap(),
            ..rule(Action::Keep)
        };
        assert!(relabel(&labels(), &[keep]).is_none());
        let equal = RelabelRule {
            source_labels: vec!["a".into()],
            target_label: "b".into(),
            ..rule(Action::DropEqual)
        };
        assert!(relabel(&labels(), &[equal]).is_some());
    }

    #[test]
    fn maps_drops_and_hashes() {
        let map = RelabelRule {
            regex: anchored("([ab])").unwrap(),
            replacement: "meta_$1".into(),
            ..rule(Action::LabelMap)
        };
        let out = relabel(&labels(), &[map]).unwrap();
        assert_eq!((out.get("meta_a"), out.get("meta_b")), (Some("foo"), Some("bar")));
        let keep = RelabelRule { regex: anchored("a|b").unwrap(), ..rule(Action::LabelKeep) };
        assert_eq!(relabel(&labels(), &[keep]).unwrap().len(), 2);
        let hash = RelabelRule {
            source_labels: vec!["c".into()],
            target_label: "d".into(),
            modulus: 1000,
            ..rule(Action::HashMod)
        };
        // MD5("baz") ends in …e8c2d7f3; the value is Prometheus' own test vector.
        assert_eq!(relabel(&labels(), &[hash]).unwrap().get("d"), Some("976"));
    }

    #[test]
    fn steps_end_with_the_rule_that_drops() {
        let set = RelabelRule {
            source_labels: vec!["a".into()],
            target_label: "d".into(),
            ..rule(Action::Replace)
        };
        let drop = RelabelRule {
            source_labels: vec!["d".into()],
            regex: anchored("foo").unwrap(),
            ..rule(Action::Drop)
        };
        let rules = [set.clone(), drop, set];
        let steps = relabel_steps(&labels(), &rules);
        assert_eq!(steps.iter().map(|s| s.keep).collect::<Vec<_>>(), [true, false]);
        assert_eq!(steps[0].output.get("d"), Some("foo"));
        assert!(steps[1].output.is_empty());
    }
}
