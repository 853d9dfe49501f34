use obs_types::{LabelSet, MatchOp, Matcher, NodeName, TimestampMs};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{RulesError, time_text};

/// Longest silence: a year.
const DURATION_MS_MAX: i64 = 366 * 86_400_000;

/// The label by which a silence names a node; both spellings of a node match.
const NODE: &str = "node";

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SilenceMatcher {
    pub name: String,
    /// `=`, `!=`, `=~` or `!~`.
    #[serde(default = "equal")]
    pub op: String,
    pub value: String,
}

fn equal() -> String {
    "=".to_owned()
}

/// What a user asks for: by node, by matchers, or both.
#[derive(Clone, Debug, Default)]
pub struct SilenceRequest {
    pub node: Option<String>,
    pub matchers: Vec<SilenceMatcher>,
    /// `None`: now.
    pub starts_at: Option<TimestampMs>,
    pub duration_ms: i64,
    pub reason: String,
    pub created_by: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SilenceStatus {
    Pending,
    Active,
    Expired,
}

impl SilenceStatus {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Active => "active",
            Self::Expired => "expired",
        }
    }
}

/// Alerts that match are not notified between `starts_at` and `ends_at`.
#[derive(Clone, Debug)]
pub struct Silence {
    pub id: String,
    pub matchers: Vec<SilenceMatcher>,
    pub starts_at: TimestampMs,
    pub ends_at: TimestampMs,
    pub reason: String,
    pub created_by: String,
    pub updated_at: TimestampMs,
    compiled: Vec<Matcher>,
}

impl Silence {
    /// `Err` without a matcher that excludes something, with a bad regex or a duration out of
    /// `(0, 366 d]`.
    pub(crate) fn new(
        id: String,
        request: SilenceRequest,
        now: TimestampMs,
    ) -> Result<Self, RulesError> {
        if !(1..=DURATION_MS_MAX).contains(&request.duration_ms) {
            return Err(RulesError::BadSilence(format!(
                "duration must be longer than 0 and at most 366 days, got {} ms",
                request.duration_ms
            )));
        }
        let mut matchers = request.matchers;
        if let Some(node) = request.node.filter(|n| !n.is_empty()) {
            let value = NodeName::new(&node).short().to_owned();
            matchers.insert(0, SilenceMatcher { name: NODE.to_owned(), op: equal(), value });
        }
        let compiled = compile(&matchers)?;
        if compiled.iter().all(Matcher::matches_empty) {
            return Err(RulesError::BadSilence(
                "needs a node or a matcher that does not match the empty string".to_owned(),
            ));
        }
        let starts_at = request.starts_at.unwrap_or(now);
        Ok(Self {
            id,
            matchers,
            starts_at,
            ends_at: TimestampMs(starts_at.0.saturating_add(request.duration_ms)),
            reason: request.reason,
            created_by: request.created_by,
            updated_at: now,
            compiled,
        })
    }

    pub fn status(&self, now: TimestampMs) -> SilenceStatus {
        if now >= self.ends_at {
            SilenceStatus::Expired
        } else if now < self.starts_at {
            SilenceStatus::Pending
        } else {
            SilenceStatus::Active
        }
    }

    /// `labels` are the alert's, with `node` filled in.
    pub fn matches(&self, labels: &LabelSet) -> bool {
        self.compiled.iter().all(|m| {
            let value = labels.get(m.name()).unwrap_or("");
            m.matches(value)
                || (m.name() == NODE
                    && m.op() == MatchOp::Equal
                    && NodeName::new(value) == NodeName::new(m.value()))
        })
    }

    /// As `/obs/silences` shows it.
    pub fn to_json(&self, now: TimestampMs) -> Value {
        json!({
            "id": self.id,
            "matchers": self.matchers,
            "starts_at": time_text(self.starts_at),
            "ends_at": time_text(self.ends_at),
            "reason": self.reason,
            "created_by": self.created_by,
            "status": self.status(now).as_str(),
        })
    }

    pub(crate) fn save(&self) -> Value {
        json!({
            "id": self.id,
            "matchers": self.matchers,
            "starts_at_ms": self.starts_at.0,
            "ends_at_ms": self.ends_at.0,
            "reason": self.reason,
            "created_by": self.created_by,
            "updated_at_ms": self.updated_at.0,
        })
    }

    pub(crate) fn load(value: Value) -> Result<Self, RulesError> {
        #[derive(Deserialize)]
        struct Saved {
            id: String,
            matchers: Vec<SilenceMatcher>,
            starts_at_ms: i64,
            ends_at_ms: i64,
            reason: String,
            created_by: String,
            updated_at_ms: i64,
        }
        let saved: Saved =
            serde_json::from_value(value).map_err(|e| RulesError::BadState(e.to_string()))?;
        Ok(Self {
            compiled: compile(&saved.matchers)?,
            id: saved.id,
            matchers: saved.matchers,
            starts_at: TimestampMs(saved.starts_at_ms),
            ends_at: TimestampMs(saved.ends_at_ms),
            reason: saved.reason,
            created_by: saved.created_by,
            updated_at: TimestampMs(saved.updated_at_ms),
        })
    }

    pub(crate) fn expire(&mut self, now: TimestampMs) {
        self.ends_at = self.ends_at.min(now);
        self.updated_at = now;
    }
}

fn compile(matchers: &[SilenceMatcher]) -> Result<Vec<Matcher>, RulesError> {
    let one = |m: &SilenceMatcher| {
        let op = match m.op.as_str() {
            "=" => MatchOp::Equal,
            "!=" => MatchOp::NotEqual,
            "=~" => MatchOp::Regex,
            "!~" => MatchOp::NotRegex,
            other => {
                return Err(RulesError::BadSilence(format!(
                    "matcher {:?}: operator {other:?} is none of =, !=, =~, !~",
                    m.name
                )));
            }
        };
        if m.name.is_empty() {
            return Err(RulesError::BadSilence("matcher without a name".to_owned()));
        }
        Matcher::new(m.name.clone(), op, m.value.clone())
            .map_err(|e| RulesError::BadSilence(e.to_string()))
    };
    matchers.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(node: Option<&str>, matchers: &[(&str, &str, &str)]) -> SilenceRequest {
        SilenceRequest {
            node: node.map(str::to_owned),
            matchers: matchers
                .iter()
                .map(|(name, op, value)| SilenceMatcher {
                    name: (*name).to_owned(),
                    op: (*op).to_owned(),
                    value: (*value).to_owned(),
                })
                .collect(),
            duration_ms: 3_600_000,
            ..SilenceRequest::default()
        }
    }

    fn silence(request: SilenceRequest) -> Result<Silence, RulesError> {
        Silence::new("s".to_owned(), request, TimestampMs(1000))
    }

    #[test]
    fn a_node_matches_in_both_spellings() {
        let labels = LabelSet::from_pairs([("node", "did:vm:node:brick-02")]);
        assert!(silence(request(Some("brick-02"), &[])).unwrap().matches(&labels));
        assert!(silence(request(Some("did:vm:node:brick-02"), &[])).unwrap().matches(&labels));
        assert!(!silence(request(Some("brick-03"), &[])).unwrap().matches(&labels));
    }

    #[test]
    fn what_would_silence_everything_or_nothing_is_refused() {
        assert!(silence(request(None, &[])).is_err());
        assert!(silence(request(None, &[("a", "=~", ".*")])).is_err());
        assert!(silence(request(None, &[("a", "=~", "(")])).is_err());
        assert!(silence(request(None, &[("a", "~", "b")])).is_err());
        let zero = SilenceRequest { duration_ms: 0, ..request(Some("a"), &[]) };
        assert!(silence(zero).is_err());
    }

    #[test]
    fn runs_from_start_to_end_and_survives_saving() {
        let mut s = silence(request(None, &[("a", "=", "b")])).unwrap();
        assert_eq!(s.status(TimestampMs(999)), SilenceStatus::Pending);
        assert_eq!(s.status(TimestampMs(1000)), SilenceStatus::Active);
        s = Silence::load(s.save()).unwrap();
        s.expire(TimestampMs(2000));
        assert_eq!(s.status(TimestampMs(2000)), SilenceStatus::Expired);
        assert_eq!(s.to_json(TimestampMs(2000))["status"], "expired");
    }
}
