//! What a regular expression says about its matches without being run. Most expressions of
//! selectors are lists of texts or texts with gaps, and compiling one takes longer than a short
//! query.

use std::sync::{Arc, LazyLock};

use regex::{Regex, RegexBuilder};
use regex_syntax::ParserBuilder;
use regex_syntax::hir::literal::{ExtractKind, Extractor};
use regex_syntax::hir::{Class, ClassUnicodeRange, Hir, HirKind};

use crate::recent::Recent;

/// Most bytes that compiled expressions take between queries, those of each kind.
const COMPILED_BYTES_MAX: usize = 32 << 20;
/// What the program of an expression that is kept takes at most; the first is enough for most.
/// Larger ones are compiled for every query.
const PROGRAM_BYTES_MAX: [usize; 2] = [32 << 10, 256 << 10];
/// What each of the two automata takes at most that an expression grows while it runs.
const AUTOMATON_BYTES_MAX: usize = 64 << 10;

/// Compiles an expression for whole values; tells how many bytes it takes at most, `None` if it is
/// too large to be kept.
fn compile(pattern: &str) -> Result<(Regex, Option<usize>), regex::Error> {
    let anchored = format!("^(?s:{pattern})$");
    for program in PROGRAM_BYTES_MAX {
        let limited = RegexBuilder::new(&anchored)
            .size_limit(program)
            .dfa_size_limit(AUTOMATON_BYTES_MAX)
            .build();
        match limited {
            Err(regex::Error::CompiledTooBig(_)) => {}
            other => return Ok((other?, Some(program + 2 * AUTOMATON_BYTES_MAX))),
        }
    }
    Ok((Regex::new(&anchored)?, None))
}

/// An expression that matches whole values, `.` a newline as well, for its captures; those of
/// recent calls are shared. `Err` if it does not compile.
pub fn capturing(pattern: &str) -> Result<Arc<Regex>, regex::Error> {
    static COMPILED: LazyLock<Recent<Regex>> = LazyLock::new(|| Recent::new(COMPILED_BYTES_MAX));
    COMPILED.get_or_make(pattern, || compile(pattern))
}

/// An expression that matches whole values; `.` matches a newline.
#[derive(Clone, Debug)]
pub enum Pattern {
    /// These, sorted, and nothing else.
    Literals(Vec<String>),
    /// Texts with `.*` or `.+` between them.
    Glob(Glob),
    /// At least so many characters: `.*` (0) or `.+` (1).
    Everything(usize),
    /// What matches starts and ends with these, either may be empty.
    Ends(String, String, Regex),
}

/// `prefix.*inner.+suffix`: texts in their order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glob {
    prefix: String,
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

    /// What matches starts with it; may be empty.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Whether the expression matches; every text is taken where it comes first.
    pub fn matches(&self, value: &str) -> bool {
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

impl Pattern {
    /// That of a recent call with the same text, or a new one. `Err` if it does not compile.
    pub(crate) fn shared(pattern: &str) -> Result<Arc<Self>, regex::Error> {
        static COMPILED: LazyLock<Recent<Pattern>> =
            LazyLock::new(|| Recent::new(COMPILED_BYTES_MAX));
        match Self::plain(pattern) {
            // Quicker than looking it up.
            Some(plain) => Ok(Arc::new(plain)),
            None => COMPILED.get_or_make(pattern, || Self::read(pattern)),
        }
    }

    /// A list of texts that has nothing to read in it, as most have.
    fn plain(pattern: &str) -> Option<Self> {
        if pattern.contains(|c| r"\.+*?()[]{}^$".contains(c)) {
            return None;
        }
        let mut all: Vec<String> = pattern.split('|').map(str::to_owned).collect();
        all.sort_unstable();
        all.dedup();
        Some(Self::Literals(all))
    }

    /// With the bytes to count for it, `None` if it is too large to be kept.
    fn read(pattern: &str) -> Result<(Self, Option<usize>), regex::Error> {
        let mut bytes = Some(0);
        let read = Self::parse(pattern, || {
            let (regex, size) = compile(pattern)?;
            bytes = size;
            Ok(regex)
        })?;
        let texts = match &read {
            Self::Literals(all) => all.iter().map(|l| l.len() + size_of::<String>()).sum(),
            // No longer than the pattern.
            Self::Glob(_) | Self::Everything(_) | Self::Ends(..) => 2 * pattern.len(),
        };
        Ok((read, bytes.map(|b| b + texts)))
    }

    fn parse(
        pattern: &str,
        mut regex: impl FnMut() -> Result<Regex, regex::Error>,
    ) -> Result<Self, regex::Error> {
        let Ok(hir) = ParserBuilder::new().dot_matches_new_line(true).build().parse(pattern) else {
            return Ok(Self::Ends(String::new(), String::new(), regex()?));
        };
        if let Some(min) = gap(&hir) {
            return Ok(Self::Everything(min));
        }
        if let Some(glob) = Glob::of(&hir) {
            return Ok(Self::Glob(glob));
        }
        let sequence = Extractor::new().extract(&hir);
        let text = |bytes: &[u8]| std::str::from_utf8(bytes).ok().map(str::to_owned);
        if sequence.is_exact() {
            let all = sequence.literals().unwrap_or_default().iter().map(|l| text(l.as_bytes()));
            if let Some(mut all) = all.collect::<Option<Vec<String>>>() {
                // Only assertions can refuse one of them.
                if !hir.properties().look_set().is_empty() {
                    let regex = regex()?;
                    all.retain(|literal| regex.is_match(literal));
                }
                all.sort_unstable();
                all.dedup();
                return Ok(Self::Literals(all));
            }
        }
        let ends = Extractor::new().kind(ExtractKind::Suffix).extract(&hir);
        let prefix = sequence.longest_common_prefix().and_then(text).unwrap_or_default();
        let suffix = ends.longest_common_suffix().and_then(text).unwrap_or_default();
        Ok(Self::Ends(prefix, suffix, regex()?))
    }

    /// Whether it matches the whole of `value`.
    pub fn matches(&self, value: &str) -> bool {
        match self {
            Self::Literals(all) => all.binary_search_by(|l| l.as_str().cmp(value)).is_ok(),
            Self::Glob(glob) => glob.matches(value),
            Self::Everything(min) => value.len() >= *min,
            Self::Ends(_, _, regex) => regex.is_match(value),
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
    use proptest::prelude::*;

    fn seen(pattern: &str) -> String {
        match Pattern::shared(pattern).as_deref() {
            Ok(Pattern::Literals(all)) => all.join(","),
            Ok(Pattern::Glob(g)) => format!("{:?} {:?}", g.prefix, g.rest),
            Ok(Pattern::Everything(min)) => format!("from {min}"),
            Ok(Pattern::Ends(a, b, _)) => format!("{a}..{b}"),
            Err(_) => "wrong".to_owned(),
        }
    }

    #[test]
    fn sets_globs_and_ends_are_seen() {
        for (pattern, want) in [
            ("cd|a|b|a", "a,b,cd"),
            ("a||b-&~#c", ",a,b-&~#c"),
            ("a|b\\.c", "a,b.c"),
            ("node-(1|2)", "node-1,node-2"),
            ("node-[12]", "node-1,node-2"),
            ("^(a|b)$", "a,b"),
            ("a\\bb", ""),
            ("node-.*", r#""node-" [(0, "")]"#),
            (".*node", r#""" [(0, "node")]"#),
            (".*no.+de.*", r#""" [(0, "no"), (1, "de"), (0, "")]"#),
            ("a.*z", r#""a" [(0, "z")]"#),
            ("(a|b).*:(80|9090)", "..0"),
            (".+:(80|9080)", "..80"),
            ("node-[0-9]+:9100", "node-..:9100"),
            (".+", "from 1"),
            ("(.*)", ".."),
            (".*", "from 0"),
            (".?", ".."),
            ("(", "wrong"),
        ] {
            assert_eq!(seen(pattern), want, "{pattern}");
        }
    }

    #[test]
    fn expressions_are_compiled_once_unless_they_are_large() {
        let same = |p: &str| {
            let all = [(); 2].map(|()| Pattern::shared(p).unwrap());
            Arc::ptr_eq(&all[0], &all[1])
        };
        assert!(same("once.*[0-4]$") && same(".*"));
        assert!(!same("\\w{40}[0-9]"));
        assert!(Pattern::shared("\\w{40}[0-9]").unwrap().matches(&"7".repeat(41)));
        let twice = [(); 2].map(|()| capturing("(once)-(.*)").unwrap());
        assert!(Arc::ptr_eq(&twice[0], &twice[1]));
        assert!(Pattern::shared("(").is_err() && capturing("(").is_err());
    }

    proptest! {
        #[test]
        fn a_pattern_matches_what_its_expression_does(
            parts in proptest::collection::vec(
                prop_oneof![
                    Just("a"), Just("ab"), Just("é"), Just("-&#~"), Just(".*"), Just(".+"), Just("\\."), Just("|"),
                    Just("(a|b)"), Just("[ab]"), Just("^"), Just("$"), Just("\\b"), Just("(?i)A"),
                    Just("b?"), Just("(|b)"),
                ], 0..7),
            values in proptest::collection::vec("[aAbé.\n]{0,7}", 1..12),
        ) {
            let pattern = parts.concat();
            // Made for this call, made or kept, and kept.
            let ours = [
                Arc::new(Pattern::read(&pattern).unwrap().0),
                Pattern::shared(&pattern).unwrap(),
                Pattern::shared(&pattern).unwrap(),
            ];
            let captures = capturing(&pattern).unwrap();
            let regex = Regex::new(&format!("^(?s:{pattern})$")).unwrap();
            for value in values.iter().map(String::as_str).chain([""]) {
                for ours in &ours {
                    let is_match = regex.is_match(value);
                    prop_assert_eq!(ours.matches(value), is_match, "{} {:?}", pattern, value);
                }
                let places = |r: &Regex| {
                    let found = r.captures(value)?;
                    Some(found.iter().map(|m| m.map(|m| m.range())).collect::<Vec<_>>())
                };
                prop_assert_eq!(places(&captures), places(&regex));
            }
        }
    }
}
