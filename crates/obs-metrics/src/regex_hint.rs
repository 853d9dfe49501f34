//! What a regular expression says about its matches before it is run.

use regex_syntax::ParserBuilder;
use regex_syntax::hir::literal::{ExtractKind, Extractor};
use regex_syntax::hir::{Class, ClassUnicodeRange, Hir, HirKind};

/// A superset of what the anchored expression matches; callers still ask the expression itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RegexHint {
    /// One of these.
    Literals(Vec<String>),
    /// Starts with this.
    Prefix(String),
    /// Ends with this.
    Suffix(String),
    /// Is not empty, which no value in an index is; `.*` and `.+` are the same there.
    Everything,
    Nothing,
}

impl RegexHint {
    /// Expressions that do not parse give `Nothing`; the matcher has refused them before.
    pub(crate) fn of(pattern: &str) -> Self {
        let Ok(hir) = ParserBuilder::new().dot_matches_new_line(true).build().parse(pattern) else {
            return Self::Nothing;
        };
        if is_everything(&hir) {
            return Self::Everything;
        }
        let sequence = Extractor::new().extract(&hir);
        let text = |bytes: &[u8]| std::str::from_utf8(bytes).ok().map(str::to_owned);
        if sequence.is_exact() {
            let all = sequence.literals().unwrap_or_default().iter().map(|l| text(l.as_bytes()));
            if let Some(mut all) = all.collect::<Option<Vec<String>>>() {
                all.sort();
                all.dedup();
                return Self::Literals(all);
            }
        }
        match sequence.longest_common_prefix().and_then(text) {
            Some(prefix) if !prefix.is_empty() => return Self::Prefix(prefix),
            _ => {}
        }
        let ends = Extractor::new().kind(ExtractKind::Suffix).extract(&hir);
        match ends.longest_common_suffix().and_then(text) {
            Some(suffix) if !suffix.is_empty() => Self::Suffix(suffix),
            _ => Self::Nothing,
        }
    }
}

/// Whether the expression is `.*` or `.+`.
fn is_everything(hir: &Hir) -> bool {
    let HirKind::Repetition(r) = hir.kind() else { return false };
    let HirKind::Class(Class::Unicode(class)) = r.sub.kind() else { return false };
    let is_any = class.ranges() == [ClassUnicodeRange::new('\0', char::MAX)];
    is_any && r.max.is_none() && r.min <= 1
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
        assert_eq!(RegexHint::of(".*node"), RegexHint::Suffix("node".into()));
        assert_eq!(RegexHint::of("(a|b).*:(80|9090)"), RegexHint::Suffix("0".into()));
        assert_eq!(RegexHint::of(".+:(80|9080)"), RegexHint::Suffix("80".into()));
        assert_eq!(RegexHint::of(".+"), RegexHint::Everything);
        assert_eq!(RegexHint::of("(.*)"), RegexHint::Nothing);
        assert_eq!(RegexHint::of(".*"), RegexHint::Everything);
        assert_eq!(RegexHint::of(".?"), RegexHint::Nothing);
        assert_eq!(RegexHint::of("("), RegexHint::Nothing);
    }
}
