//! What a regular expression says about its matches before it is run.

use regex_syntax::ParserBuilder;
use regex_syntax::hir::literal::{ExtractKind, Extractor};
use regex_syntax::hir::{Class, ClassUnicodeRange, Hir, HirKind};

/// A superset of what the anchored expression matches; callers still ask the expression itself,
/// except of a glob.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RegexHint {
    /// One of these.
    Literals(Vec<String>),
    /// Nothing but texts with `.*` or `.+` between them: matches exactly what the glob does.
    Glob(Glob),
    /// Starts and ends with these, either may be empty.
    Ends(String, String),
    /// Is not empty, which no value in an index is; `.*` and `.+` are the same there.
    Everything,
    Nothing,
}

/// `prefix.*inner.+suffix`: texts in their order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Glob {
    /// What matches starts with it; may be empty.
    pub(crate) prefix: String,
    /// The texts behind it, each with the bytes that have to lie before it at least (0 or 1; a text
    /// begins where a character does, so a byte is a character). The last is where a match ends.
    rest: Vec<(usize, String)>,
}

impl Glob {
    /// `None` if there is anything but texts and gaps, or no gap.
    fn of(hir: &Hir) -> Option<Self> {
        let HirKind::Concat(parts) = hir.kind() else { return None };
        let mut out = Self { prefix: String::new(), rest: Vec::new() };
        for part in parts {
            match part.kind() {
                HirKind::Literal(text) => {
                    let end = out.rest.last_mut().map_or(&mut out.prefix, |(_, text)| text);
                    end.push_str(std::str::from_utf8(&text.0).ok()?);
                }
                _ => {
                    let min = gap(part)?;
                    match out.rest.last_mut() {
                        // One gap behind the other.
                        Some((_, text)) if text.is_empty() => return None,
                        _ => out.rest.push((min, String::new())),
                    }
                }
            }
        }
        (!out.rest.is_empty()).then_some(out)
    }

    /// Whether the expression matches; every text is taken where it comes first.
    pub(crate) fn matches(&self, value: &str) -> bool {
        let Some((last, inner)) = self.rest.split_last() else { return value == self.prefix };
        if !value.starts_with(&self.prefix) {
            return false;
        }
        let mut at = self.prefix.len();
        for (min, text) in inner {
            match find_from(value, at + min, text) {
                Some(found) => at = found + text.len(),
                None => return false,
            }
        }
        let (min, text) = last;
        value.ends_with(text) && value.len() >= at + min + text.len()
    }
}

fn find_from(value: &str, mut from: usize, text: &str) -> Option<usize> {
    while from < value.len() && !value.is_char_boundary(from) {
        from += 1;
    }
    Some(from + value.get(from..)?.find(text)?)
}

impl RegexHint {
    /// Expressions that do not parse give `Nothing`; the matcher has refused them before.
    pub(crate) fn of(pattern: &str) -> Self {
        let Ok(hir) = ParserBuilder::new().dot_matches_new_line(true).build().parse(pattern) else {
            return Self::Nothing;
        };
        if gap(&hir).is_some() {
            return Self::Everything;
        }
        if let Some(glob) = Glob::of(&hir) {
            return Self::Glob(glob);
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
        let ends = Extractor::new().kind(ExtractKind::Suffix).extract(&hir);
        let prefix = sequence.longest_common_prefix().and_then(text).unwrap_or_default();
        let suffix = ends.longest_common_suffix().and_then(text).unwrap_or_default();
        if prefix.is_empty() && suffix.is_empty() {
            Self::Nothing
        } else {
            Self::Ends(prefix, suffix)
        }
    }
}

/// The fewest characters that `.*` (0) or `.+` (1) matches; `None` for everything else.
fn gap(hir: &Hir) -> Option<usize> {
    let HirKind::Repetition(r) = hir.kind() else { return None };
    let HirKind::Class(Class::Unicode(class)) = r.sub.kind() else { return None };
    let is_any = class.ranges() == [ClassUnicodeRange::new('\0', char::MAX)];
    (is_any && r.max.is_none() && r.min <= 1).then_some(r.min as usize)
}

#[cfg(test)]
mod tests {
    use super::*;
    use obs_types::{MatchOp, Matcher};
    use proptest::prelude::*;

    fn glob(prefix: &str, rest: &[(usize, &str)]) -> RegexHint {
        let rest = rest.iter().map(|(min, text)| (*min, (*text).to_owned())).collect();
        RegexHint::Glob(Glob { prefix: prefix.to_owned(), rest })
    }

    #[test]
    fn sets_globs_and_ends_are_seen() {
        let literals =
            |all: &[&str]| RegexHint::Literals(all.iter().map(|s| (*s).to_owned()).collect());
        let ends = |a: &str, b: &str| RegexHint::Ends(a.to_owned(), b.to_owned());
        assert_eq!(RegexHint::of("a|b|cd"), literals(&["a", "b", "cd"]));
        assert_eq!(RegexHint::of("node-(1|2)"), literals(&["node-1", "node-2"]));
        assert_eq!(RegexHint::of("node-[12]"), literals(&["node-1", "node-2"]));
        assert_eq!(RegexHint::of("node-.*"), glob("node-", &[(0, "")]));
        assert_eq!(RegexHint::of(".*node"), glob("", &[(0, "node")]));
        assert_eq!(RegexHint::of(".*no.+de.*"), glob("", &[(0, "no"), (1, "de"), (0, "")]));
        assert_eq!(RegexHint::of("a.*z"), glob("a", &[(0, "z")]));
        assert_eq!(RegexHint::of("(a|b).*:(80|9090)"), ends("", "0"));
        assert_eq!(RegexHint::of(".+:(80|9080)"), ends("", "80"));
        assert_eq!(RegexHint::of("node-[0-9]+:9100"), ends("node-", ":9100"));
        assert_eq!(RegexHint::of(".+"), RegexHint::Everything);
        assert_eq!(RegexHint::of("(.*)"), RegexHint::Nothing);
        assert_eq!(RegexHint::of(".*"), RegexHint::Everything);
        assert_eq!(RegexHint::of(".?"), RegexHint::Nothing);
        assert_eq!(RegexHint::of("("), RegexHint::Nothing);
    }

    proptest! {
        #[test]
        fn a_glob_matches_what_its_expression_does(
            parts in proptest::collection::vec(
                prop_oneof![Just("a"), Just("ab"), Just("é"), Just(".*"), Just(".+"), Just("\\.")], 1..7),
            values in proptest::collection::vec("[abé.\n]{0,7}", 1..12),
        ) {
            let pattern = parts.concat();
            let matcher = Matcher::new("x", MatchOp::Regex, pattern.clone()).unwrap();
            if let RegexHint::Glob(glob) = RegexHint::of(&pattern) {
                for value in values {
                    prop_assert_eq!(glob.matches(&value), matcher.matches(&value), "{} {:?}", pattern, value);
                }
            }
        }
    }
}
