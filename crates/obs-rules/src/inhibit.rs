use obs_types::{LabelSet, Matcher, matches_all};

/// While an alert matches the source side, alerts that match the target side and agree on the
/// `equal` labels are not notified. A missing label equals an empty one.
#[derive(Clone, Debug, Default)]
pub struct InhibitRule {
    pub source: Vec<Matcher>,
    pub target: Vec<Matcher>,
    pub equal: Vec<String>,
}

impl InhibitRule {
    /// Whether the firing alert `source` mutes `target`. An alert that matches both sides is not
    /// muted by one that does too, so that two of a kind never silence each other.
    pub fn mutes(&self, source: &LabelSet, target: &LabelSet) -> bool {
        let both = |l: &LabelSet| matches_all(&self.source, l) && matches_all(&self.target, l);
        matches_all(&self.source, source)
            && matches_all(&self.target, target)
            && !(both(source) && both(target))
            && self.equal.iter().all(|name| source.get(name) == target.get(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_critical_alert_mutes_warnings_of_its_node_alone() {
        let rule = InhibitRule {
            source: vec![Matcher::equal("severity", "critical")],
            target: vec![Matcher::equal("severity", "warning")],
            equal: vec!["node".to_owned()],
        };
        let set = |severity: &str, node: &str| {
            LabelSet::from_pairs([("severity", severity), ("node", node)])
        };
        assert!(rule.mutes(&set("critical", "a"), &set("warning", "a")));
        assert!(!rule.mutes(&set("critical", "a"), &set("warning", "b")));
        assert!(!rule.mutes(&set("warning", "a"), &set("warning", "a")));
        assert!(rule.mutes(&set("critical", ""), &set("warning", "")));
        let all = InhibitRule::default();
        assert!(!all.mutes(&set("x", "a"), &set("y", "b")));
    }
}
