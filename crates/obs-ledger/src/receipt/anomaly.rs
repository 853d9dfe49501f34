use obs_types::TimestampMs;
use serde_json::json;

use super::fields::{number, object, tags, time};
use super::{Receipt, ReceiptType};

/// `obs_anomaly_detected`.
#[derive(Clone, Debug)]
pub struct AnomalyDetected {
    pub anomaly_id: String,
    pub detected_at: TimestampMs,
    /// `statistical`, or the detector's name.
    pub detection_method: String,
    pub metric: String,
    pub node: String,
    pub expected_min: f64,
    pub expected_max: f64,
    pub observed_value: f64,
    pub deviation_sigma: f64,
    /// 0 to 1.
    pub confidence: f64,
    pub possible_causes: Vec<String>,
    /// Ids of alerts, traces and other anomalies near it in time.
    pub correlated_events: Vec<String>,
    /// Added to `observability`, `anomaly`.
    pub tags: Vec<String>,
}

impl Receipt {
    pub fn anomaly_detected(a: AnomalyDetected) -> Self {
        let fields = object(json!({
            "anomaly_id": a.anomaly_id,
            "detected_at": time(a.detected_at),
            "detection_method": a.detection_method,
            "metric": a.metric,
            "node": a.node,
            "expected_range": {"min": number(a.expected_min), "max": number(a.expected_max)},
            "observed_value": number(a.observed_value),
            "deviation_sigma": number(a.deviation_sigma),
            "confidence": number(a.confidence),
            "possible_causes": a.possible_causes,
            "correlated_events": a.correlated_events,
            "tags": tags(&["observability", "anomaly"], &a.tags),
        }));
        Self::new(ReceiptType::AnomalyDetected, fields)
    }
}
