//! Reports about the monitoring itself: audits and runs of the doctor.

use obs_types::ContentHash;
use serde_json::{Map, Value, json};

use super::fields::{exact_map, object, tags};
use super::{Receipt, ReceiptType};

/// Which kind of report is on record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ReportKind {
    /// `obs_audit`: coverage, live values, gaps and score.
    Audit,
    /// `obs_doctor`: what does not work.
    Doctor,
    /// `obs_report`, like the next two: what was and where it leads.
    Daily,
    Weekly,
    Monthly,
}

impl ReportKind {
    pub const ALL: [Self; 5] =
        [Self::Audit, Self::Doctor, Self::Daily, Self::Weekly, Self::Monthly];

    /// Also the folder below `reports/`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Audit => "audit",
            Self::Doctor => "doctor",
            Self::Daily => "daily",
            Self::Weekly => "weekly",
            Self::Monthly => "monthly",
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|k| k.as_str() == name)
    }

    fn receipt(self) -> ReceiptType {
        match self {
            Self::Audit => ReceiptType::Audit,
            Self::Doctor => ReceiptType::Doctor,
            Self::Daily | Self::Weekly | Self::Monthly => ReceiptType::Report,
        }
    }
}

/// `obs_audit`, `obs_doctor` or `obs_report`: a report was made.
#[derive(Clone, Debug)]
pub struct FiledReport {
    pub kind: ReportKind,
    pub operation_id: String,
    /// `audit-2025-12-06-001`
    pub report_id: String,
    pub initiated_by: String,
    /// What was looked at: packs, an address, a folder.
    pub subject: String,
    /// In a few words, such as `8.5/10` or `2 findings`.
    pub outcome: String,
    /// The report's figures.
    pub summary: Map<String, Value>,
    /// The report's file, relative to the data folder, and its BLAKE3; checked like a sealed file.
    /// `None` where the figures say all.
    pub report: Option<(String, ContentHash)>,
}

impl Receipt {
    pub fn filed_report(r: FiledReport) -> Self {
        let kind = r.kind.as_str();
        let (path, hash) = r.report.unzip();
        let fields = object(json!({
            "operation_id": r.operation_id,
            "operation_type": kind,
            "report_id": r.report_id,
            "initiated_by": r.initiated_by,
            "subject": r.subject,
            "outcome": r.outcome,
            "summary": exact_map(r.summary),
            "report_path": path,
            "content_hash": hash.map(|h| h.to_string()),
            "tags": tags(&["observability", kind], &[]),
        }));
        Self::new(r.kind.receipt(), fields)
    }
}
