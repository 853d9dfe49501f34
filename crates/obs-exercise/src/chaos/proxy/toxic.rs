use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::ProxyError;

/// A toxic as it is sent.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ToxicForm {
    pub name: String,
    #[serde(rename = "type")]
    pub kind: String,
    /// `upstream` or `downstream`, the latter by default.
    pub stream: String,
    /// Share of connections that it applies to, 0 to 1.
    pub toxicity: Option<f64>,
    pub attributes: Map<String, Value>,
}

/// What one direction of a connection suffers.
#[derive(Clone, Debug, PartialEq)]
pub struct Toxic {
    pub name: String,
    pub upstream: bool,
    pub toxicity: f64,
    pub(super) effect: Effect,
}

/// Times in milliseconds, as the API writes them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Effect {
    Latency {
        latency: u64,
        jitter: u64,
    },
    /// Kilobytes a second.
    Bandwidth {
        rate: u64,
    },
    SlowClose {
        delay: u64,
    },
    /// Nothing comes through; closed after this, with 0 never.
    Timeout {
        timeout: u64,
    },
    ResetPeer {
        timeout: u64,
    },
    /// Pieces of about so many bytes, so many microseconds apart.
    Slicer {
        average_size: u64,
        size_variation: u64,
        delay: u64,
    },
    LimitData {
        bytes: u64,
    },
    /// Beyond Toxiproxy. So many of a hundred pieces are lost and sent again after `retransmit`
    /// milliseconds, twice as long with each further loss, as TCP does; with 0 they never come,
    /// and neither does what is behind them.
    Loss {
        percent: u64,
        retransmit: u64,
    },
}

/// Linux' shortest wait before it sends again.
const RETRANSMIT_MS: u64 = 200;

impl Toxic {
    pub(super) fn check(form: ToxicForm) -> Result<Self, ProxyError> {
        let upstream = match form.stream.as_str() {
            "" | "downstream" => false,
            "upstream" => true,
            other => {
                let reason = format!(
                    "stream was invalid, can be either upstream or downstream, not {other:?}"
                );
                return Err(ProxyError::new(400, reason));
            }
        };
        let effect = Effect::check(&form.kind, &form.attributes)?;
        let toxicity = toxicity(form.toxicity)?;
        let stream = if upstream { "upstream" } else { "downstream" };
        let name = if form.name.is_empty() { format!("{}_{stream}", form.kind) } else { form.name };
        Ok(Self { name, upstream, toxicity, effect })
    }

    /// With the attributes that `form` gives; the others stay.
    pub(super) fn updated(&self, form: &ToxicForm) -> Result<Self, ProxyError> {
        let mut attributes = self.effect.attributes();
        attributes.extend(form.attributes.clone());
        Ok(Self {
            effect: Effect::check(self.effect.kind(), &attributes)?,
            toxicity: match form.toxicity {
                None => self.toxicity,
                given => toxicity(given)?,
            },
            ..self.clone()
        })
    }

    pub(super) fn json(&self) -> Value {
        json!({
            "name": self.name, "type": self.effect.kind(),
            "stream": if self.upstream { "upstream" } else { "downstream" },
            "toxicity": self.toxicity, "attributes": self.effect.attributes(),
        })
    }
}

fn toxicity(given: Option<f64>) -> Result<f64, ProxyError> {
    let share = given.unwrap_or(1.0);
    if (0.0..=1.0).contains(&share) {
        return Ok(share);
    }
    Err(ProxyError::new(400, format!("toxicity {share} is not 0 to 1")))
}

impl Effect {
    fn check(kind: &str, attributes: &Map<String, Value>) -> Result<Self, ProxyError> {
        let number = |name: &str| match attributes.get(name) {
            None | Some(Value::Null) => Ok(0),
            Some(value) => value.as_u64().ok_or_else(|| {
                ProxyError::new(
                    400,
                    format!("attribute {name} is {value}, a whole number is expected"),
                )
            }),
        };
        Ok(match kind {
            "latency" => Self::Latency { latency: number("latency")?, jitter: number("jitter")? },
            "bandwidth" => Self::Bandwidth { rate: number("rate")? },
            "slow_close" => Self::SlowClose { delay: number("delay")? },
            "timeout" => Self::Timeout { timeout: number("timeout")? },
            "reset_peer" => Self::ResetPeer { timeout: number("timeout")? },
            "slicer" => Self::Slicer {
                average_size: number("average_size")?,
                size_variation: number("size_variation")?,
                delay: number("delay")?,
            },
            "limit_data" => Self::LimitData { bytes: number("bytes")? },
            "loss" => {
                let percent = number("percent")?;
                if percent > 100 {
                    let reason = format!("attribute percent is {percent}, 0 to 100 is expected");
                    return Err(ProxyError::new(400, reason));
                }
                let retransmit = match attributes.contains_key("retransmit") {
                    true => number("retransmit")?,
                    false => RETRANSMIT_MS,
                };
                Self::Loss { percent, retransmit }
            }
            other => return Err(ProxyError::new(400, format!("invalid toxic type {other:?}"))),
        })
    }

    fn kind(&self) -> &'static str {
        match self {
            Self::Latency { .. } => "latency",
            Self::Bandwidth { .. } => "bandwidth",
            Self::SlowClose { .. } => "slow_close",
            Self::Timeout { .. } => "timeout",
            Self::ResetPeer { .. } => "reset_peer",
            Self::Slicer { .. } => "slicer",
            Self::LimitData { .. } => "limit_data",
            Self::Loss { .. } => "loss",
        }
    }

    fn attributes(&self) -> Map<String, Value> {
        let pairs = match *self {
            Self::Latency { latency, jitter } => vec![("latency", latency), ("jitter", jitter)],
            Self::Bandwidth { rate } => vec![("rate", rate)],
            Self::SlowClose { delay } => vec![("delay", delay)],
            Self::Timeout { timeout } | Self::ResetPeer { timeout } => vec![("timeout", timeout)],
            Self::Slicer { average_size, size_variation, delay } => vec![
                ("average_size", average_size),
                ("size_variation", size_variation),
                ("delay", delay),
            ],
            Self::LimitData { bytes } => vec![("bytes", bytes)],
            Self::Loss { percent, retransmit } => {
                vec![("percent", percent), ("retransmit", retransmit)]
            }
        };
        pairs.into_iter().map(|(name, n)| (name.to_owned(), json!(n))).collect()
    }
}

pub(super) fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}
