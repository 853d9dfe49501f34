use obs_types::{NodeName, TimestampMs};
use serde_json::{Map, Value, json};

use crate::anomaly::detector::{AnomalyKind, Detection};
use crate::anomaly::peers::PeerOutlier;
use crate::time_text;

/// ENGINE's anomaly, ready for a receipt.
#[derive(Clone, Debug, PartialEq)]
pub struct AnomalyRecord {
    /// `anomaly-2025-12-06-001`
    pub anomaly_id: String,
    pub timestamp: TimestampMs,
    /// `statistical`, or `peer_comparison`.
    pub detection_method: &'static str,
    pub metric: String,
    pub node: Option<NodeName>,
    pub expected_min: f64,
    pub expected_max: f64,
    pub observed_value: f64,
    pub deviation_sigma: f64,
    pub confidence: f64,
    pub possible_causes: Vec<&'static str>,
    /// Alert ids and the like.
    pub correlated_events: Vec<String>,
    /// `observability`, `anomaly`, the kind, then the caller's.
    pub tags: Vec<String>,
}

impl AnomalyKind {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Spike => "spike",
            Self::Drop => "drop",
            Self::DropToZero => "drop_to_zero",
            Self::LevelShift => "level_shift",
            Self::Flatline => "flatline",
            Self::Gap => "gap",
        }
    }

    /// Where an operator looks first.
    fn causes(self) -> &'static [&'static str] {
        match self {
            Self::Spike => &["traffic surge", "retry storm", "batch job or deployment"],
            Self::Drop | Self::DropToZero => {
                &["upstream service degradation", "network partition", "configuration change"]
            }
            Self::LevelShift => &["configuration change", "deployment", "change of load"],
            Self::Flatline => &["exporter stuck", "upstream data source stopped", "cached value"],
            Self::Gap => &["target down", "network partition", "scrape failure"],
        }
    }

    /// For a time line: `treasury.receipts_per_minute low`.
    pub fn adjective(self) -> &'static str {
        match self {
            Self::Spike => "high",
            Self::Drop => "low",
            Self::DropToZero => "dropped to zero",
            Self::LevelShift => "at a new level",
            Self::Flatline => "stopped changing",
            Self::Gap => "missing",
        }
    }
}

impl AnomalyRecord {
    /// `number` counts the day's anomalies from 1.
    pub fn from_detection(
        detection: &Detection,
        metric: &str,
        node: Option<NodeName>,
        number: u32,
        correlated_events: Vec<String>,
    ) -> Self {
        let kind = detection.kind;
        Self {
            anomaly_id: anomaly_id(detection.at, number),
            timestamp: detection.at,
            detection_method: "statistical",
            metric: metric.to_owned(),
            node,
            expected_min: detection.expected_min,
            expected_max: detection.expected_max,
            observed_value: detection.observed,
            deviation_sigma: detection.sigma,
            confidence: detection.confidence,
            possible_causes: kind.causes().to_vec(),
            correlated_events,
            tags: vec!["observability".into(), "anomaly".into(), kind.as_str().into()],
        }
    }

    /// For one member of a group that differs from its siblings.
    pub fn from_peer(
        outlier: &PeerOutlier,
        at: TimestampMs,
        metric: &str,
        node: Option<NodeName>,
        number: u32,
        correlated_events: Vec<String>,
    ) -> Self {
        Self {
            anomaly_id: anomaly_id(at, number),
            timestamp: at,
            detection_method: "peer_comparison",
            metric: metric.to_owned(),
            node,
            expected_min: outlier.expected_min,
            expected_max: outlier.expected_max,
            observed_value: outlier.observed,
            deviation_sigma: outlier.sigma,
            confidence: 1.0 - (-outlier.sigma / 2.0).exp(),
            possible_causes: vec![
                "drift of one replica",
                "uneven load",
                "different version or configuration",
            ],
            correlated_events,
            tags: vec!["observability".into(), "anomaly".into(), "peer".into()],
        }
    }

    /// The fields of `obs_anomaly_detected`, without `root_hash` and `seq`. Values that JSON
    /// cannot hold become null.
    pub fn receipt_fields(&self) -> Map<String, Value> {
        let round = |v: f64| (v * 1e6).round() / 1e6;
        let fields = [
            ("type", json!("obs_anomaly_detected")),
            ("anomaly_id", json!(self.anomaly_id)),
            ("timestamp", json!(time_text(self.timestamp))),
            ("detection_method", json!(self.detection_method)),
            ("metric", json!(self.metric)),
            ("node", json!(self.node.as_ref().map(NodeName::did))),
            (
                "expected_range",
                json!({ "min": round(self.expected_min), "max": round(self.expected_max) }),
            ),
            ("observed_value", json!(round(self.observed_value))),
            ("deviation_sigma", json!((self.deviation_sigma * 100.0).round() / 100.0)),
            ("confidence", json!((self.confidence * 1e4).round() / 1e4)),
            ("possible_causes", json!(self.possible_causes)),
            ("correlated_events", json!(self.correlated_events)),
            ("tags", json!(self.tags)),
        ];
        fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }
}

fn anomaly_id(at: TimestampMs, number: u32) -> String {
    let date: String = time_text(at).chars().take_while(|c| *c != 'T').collect();
    format!("anomaly-{date}-{number:03}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_receipt_has_engines_fields() {
        let detection = Detection {
            at: TimestampMs(1_765_032_300_000),
            kind: AnomalyKind::Drop,
            observed: 2.0,
            expected_min: 10.0,
            expected_max: 50.0,
            sigma: 4.2,
            score: 11.7,
            confidence: 0.98,
        };
        let record = AnomalyRecord::from_detection(
            &detection,
            "treasury.receipts_per_minute",
            Some(NodeName::new("brick-01")),
            1,
            vec!["alert-2025-12-06-001".into()],
        );
        assert_eq!(
            Value::Object(record.receipt_fields()),
            json!({
                "type": "obs_anomaly_detected",
                "anomaly_id": "anomaly-2025-12-06-001",
                "timestamp": "2025-12-06T14:45:00Z",
                "detection_method": "statistical",
                "metric": "treasury.receipts_per_minute",
                "node": "did:vm:node:brick-01",
                "expected_range": {"min": 10.0, "max": 50.0},
                "observed_value": 2.0,
                "deviation_sigma": 4.2,
                "confidence": 0.98,
                "possible_causes": [
                    "upstream service degradation", "network partition", "configuration change"
                ],
                "correlated_events": ["alert-2025-12-06-001"],
                "tags": ["observability", "anomaly", "drop"]
            })
        );
    }
}
