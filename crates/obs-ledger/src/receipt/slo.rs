use obs_types::{ContentHash, TimestampMs};
use serde_json::{Value, json};

use super::fields::{date_name, number, object, optional_number, period, tags};
use super::{Receipt, ReceiptType};

/// `obs_slo_report`, daily.
#[derive(Clone, Debug)]
pub struct SloReport {
    pub period_start: TimestampMs,
    pub period_end: TimestampMs,
    pub slos: Vec<SloResult>,
    pub overall_status: String,
    pub error_budget_status: String,
    /// Relative to the data folder.
    pub report_path: String,
    /// BLAKE3 of the report file, which then is checked like a sealed file.
    pub content_hash: Option<ContentHash>,
    /// Added to `observability`, `slo`, `daily-report`.
    pub tags: Vec<String>,
}

#[derive(Clone, Debug)]
pub struct SloResult {
    pub slo_id: String,
    pub target: f64,
    /// `None` where the period has no events.
    pub achieved: Option<f64>,
    pub status: String,
}

impl Receipt {
    /// `report_id` is named by the day on which the period ends.
    pub fn slo_report(r: SloReport) -> Self {
        let slos: Vec<Value> = r
            .slos
            .iter()
            .map(|s| {
                json!({
                    "slo_id": s.slo_id,
                    "target": number(s.target),
                    "achieved": optional_number(s.achieved),
                    "status": s.status,
                })
            })
            .collect();
        let mut fields = object(json!({
            "report_id": format!("slo-report-{}", date_name(r.period_end)),
            "period": period(r.period_start, r.period_end),
            "slos": slos,
            "overall_status": r.overall_status,
            "error_budget_status": r.error_budget_status,
            "report_path": r.report_path,
            "tags": tags(&["observability", "slo", "daily-report"], &r.tags),
        }));
        if let Some(hash) = r.content_hash {
            fields.insert("content_hash".to_owned(), json!(hash.to_string()));
        }
        Self::new(ReceiptType::SloReport, fields)
    }
}
