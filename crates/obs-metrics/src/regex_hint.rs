//! What a regular expression says about its matches before it is run.

use regex_syntax::ParserBuilder;
use regex_syntax::hir::literal::Extractor;

/// A superset of what the anchored expression matches; callers still ask the expression itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RegexHint {
    /// One of these.
    Literals(Vec<String>),
    /// Starts with this.
    Prefix(String),
    Nothing,
}

impl RegexHint {
    /// Expressions that do not parse give `Nothing`; the matcher has refused them before.
    pub(crate) fn of(pattern: &str) -> Self {
        let Ok(hir) = ParserBuilder::new().dot_matches_new_line(true).build().parse(pattern) else {
            return Self::Nothing;
        };
        let sequence = Extractor::new().extract(&hir);
        let text = |bytes: &[u8]| std::str::from_utf8(bytes).ok().map(str::to_owned);
        let Some(literals) = sequence.literals() else { return Self::Nothing };
        if sequence.is_exact() {
            let all: Option<Vec<String>> = literals.iter().map(|l| text(l.as_bytes())).collect();
            if let Some(mut all) = all {
                all.sort();
                all.dedup();
                return Self::Literals(all);
            }
        }
        match sequence.longest_common_prefix().and_then(text) {
            Some(prefix) if !prefix.is_empty() => Self::Prefix(prefix),
            _ => Self::Nothing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_and_prefixes_are_seen() {
        let literals =
            |all: &[&str]| RegexHint::Literals(all.iter().map(|s| (*s).to_owned()).collect());
        assert_eq!(RegexHint::of("a|b|cd"), literals(&["a", "b", "cd"]));
        assert_eq!(RegexHint::of("node-(1|2)"), literals(&["node-1", "node-2"]));
        assert_eq!(RegexHint::of("node-[12]"), literals(&["node-1", "node-2"]));
        assert_eq!(RegexHint::of("node-.*"), RegexHint::Prefix("node-".into()));
        assert_eq!(RegexHint::of(".*node"), RegexHint::Nothing);
        assert_eq!(RegexHint::of(".+"), RegexHint::Nothing);
        assert_eq!(RegexHint::of("("), RegexHint::Nothing);
    }
}
