use std::fmt;
use std::sync::Arc;

use crate::LabelSet;
use crate::pattern::Pattern;

/// How a matcher compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MatchOp {
    Equal,
    NotEqual,
    Regex,
    NotRegex,
}

/// One label matcher, as in `{job="a", env!~"test.*"}`. A missing label matches as `""`.
#[derive(Clone)]
pub struct Matcher {
    name: String,
    op: MatchOp,
    value: String,
    /// Present for the two regex operators.
    pattern: Option<Arc<Pattern>>,
}

#[derive(Clone, Debug, thiserror::Error)]
#[error("invalid regular expression {value:?} for label {name:?}: {reason}")]
pub struct MatcherError {
    pub name: String,
    pub value: String,
    pub reason: String,
}

impl Matcher {
    /// `Err` if a regex does not compile. Regexes are anchored as `^(?s:…)$`.
    pub fn new(
        name: impl Into<String>,
        op: MatchOp,
        value: impl Into<String>,
    ) -> Result<Self, MatcherError> {
        let (name, value) = (name.into(), value.into());
        let pattern = match op {
            MatchOp::Equal | MatchOp::NotEqual => None,
            MatchOp::Regex | MatchOp::NotRegex => Some(Pattern::shared(&value).map_err(|e| {
                MatcherError { name: name.clone(), value: value.clone(), reason: e.to_string() }
            })?),
        };
        Ok(Self { name, op, value, pattern })
    }

    pub fn equal(name: impl Into<String>, value: impl Into<String>) -> Self {
        Self { name: name.into(), op: MatchOp::Equal, value: value.into(), pattern: None }
    }

    pub fn not_equal(name: impl Into<String>, value: impl Into<String>) -> Self {
        Self { name: name.into(), op: MatchOp::NotEqual, value: value.into(), pattern: None }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn op(&self) -> MatchOp {
        self.op
    }

    pub fn value(&self) -> &str {
        &self.value
    }

    /// What the expression of a regex operator says; `None` for the other two.
    pub fn pattern(&self) -> Option<&Pattern> {
        self.pattern.as_deref()
    }

    pub fn matches(&self, value: &str) -> bool {
        match (self.op, &self.pattern) {
            (MatchOp::Equal, _) => value == self.value,
            (MatchOp::NotEqual, _) => value != self.value,
            (MatchOp::Regex, Some(p)) => p.matches(value),
            (MatchOp::NotRegex, Some(p)) => !p.matches(value),
            (MatchOp::Regex | MatchOp::NotRegex, None) => false,
        }
    }

    /// Whether a series without the label satisfies this matcher.
    pub fn matches_empty(&self) -> bool {
        self.matches("")
    }

    pub fn matches_labels(&self, labels: &LabelSet) -> bool {
        self.matches(labels.get(&self.name).unwrap_or(""))
    }
}

/// Whether all matchers hold for the set.
pub fn matches_all(matchers: &[Matcher], labels: &LabelSet) -> bool {
    matchers.iter().all(|m| m.matches_labels(labels))
}

impl PartialEq for Matcher {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && self.op == other.op && self.value == other.value
    }
}

impl Eq for Matcher {}

impl fmt::Display for MatchOp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Equal => "=",
            Self::NotEqual => "!=",
            Self::Regex => "=~",
            Self::NotRegex => "!~",
        })
    }
}

impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}{:?}", self.name, self.op, self.value)
    }
}

impl fmt::Debug for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Matcher({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regexes_are_anchored_and_dot_matches_newline() {
        let m = Matcher::new("a", MatchOp::Regex, "b.*|c").unwrap();
        assert!(m.matches("b\nx"));
        assert!(m.matches("c"));
        assert!(!m.matches("xc"));
        assert!(Matcher::new("a", MatchOp::NotRegex, "x").unwrap().matches_empty());
    }

    #[test]
    fn a_bad_regex_names_label_and_text() {
        let e = Matcher::new("a", MatchOp::Regex, "(").unwrap_err().to_string();
        assert!(e.contains("\"(\"") && e.contains("\"a\""), "{e}");
    }
}
