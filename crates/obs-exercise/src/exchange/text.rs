use std::collections::BTreeMap;
use std::time::Duration;

/// What a file of exercises says wrongly: where, and what is the matter.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {reason}")]
pub struct StepError {
    pub place: String,
    pub reason: String,
}

impl StepError {
    pub fn new(place: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { place: place.into(), reason: reason.into() }
    }

    /// The same, one level further in.
    pub fn within(self, outer: &str) -> Self {
        Self { place: format!("{outer}.{}", self.place), reason: self.reason }
    }
}

/// Reads `500ms`, `30s`, `1h30m`; zero is allowed.
pub fn duration(place: &str, text: &str) -> Result<Duration, StepError> {
    if text.trim() == "0" {
        return Ok(Duration::ZERO);
    }
    let d = obs_query::parse_duration(text).map_err(|e| StepError::new(place, e.to_string()))?;
    Ok(Duration::from_millis(d.0.unsigned_abs()))
}

/// Values that `${name}` stands for.
pub type Variables = BTreeMap<String, String>;

/// A text with `${name}` in it, cut once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Template {
    parts: Vec<Piece>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Plain(String),
    Variable(String),
}

impl Template {
    pub fn parse(text: &str) -> Self {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("${") {
            let Some((name, tail)) = after.split_once('}') else { break };
            if !before.is_empty() {
                parts.push(Piece::Plain(before.to_owned()));
            }
            parts.push(Piece::Variable(name.trim().to_owned()));
            rest = tail;
        }
        if !rest.is_empty() {
            parts.push(Piece::Plain(rest.to_owned()));
        }
        Self { parts }
    }

    /// The text, when nothing in it varies.
    pub fn fixed(&self) -> Option<&str> {
        match self.parts.as_slice() {
            [] => Some(""),
            [Piece::Plain(text)] => Some(text),
            _ => None,
        }
    }

    /// Err is the name that has no value.
    pub fn fill(&self, variables: &Variables) -> Result<String, String> {
        let mut out = String::new();
        for part in &self.parts {
            match part {
                Piece::Plain(text) => out.push_str(text),
                Piece::Variable(name) => {
                    out.push_str(variables.get(name).ok_or_else(|| name.clone())?);
                }
            }
        }
        Ok(out)
    }
}

/// A W3C `traceparent` that says the trace is sampled.
pub fn traceparent(trace_id: u128, span_id: u64) -> String {
    // All zeros is not an id.
    format!("00-{:032x}-{:016x}-01", trace_id.max(1), span_id.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates() {
        let variables = Variables::from([("a".to_owned(), "1".to_owned())]);
        assert_eq!(Template::parse("x${a}y${ a }").fill(&variables), Ok("x1y1".to_owned()));
        assert_eq!(Template::parse("${b}").fill(&variables), Err("b".to_owned()));
        assert_eq!(Template::parse("plain $ {a} ${").fixed(), Some("plain $ {a} ${"));
        assert_eq!(Template::parse("").fixed(), Some(""));
        assert_eq!(duration("d", "1m30s"), Ok(Duration::from_secs(90)));
        assert!(duration("d", "soon").unwrap_err().to_string().starts_with("d: "));
    }
}
