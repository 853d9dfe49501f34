//! Reports about the monitoring itself, kept as files and on record.

use std::path::PathBuf;
use std::sync::Arc;

use obs_disk::Disk;
use obs_ledger::{FiledReport, Ledger, Receipt, ReportKind};
use obs_types::{ContentHash, TimestampMs};
use serde_json::{Map, Value, json};

use crate::OpsError;
use crate::ids::DayIds;

/// Most bytes of one report, all its files together.
const REPORT_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Most bytes of subject, outcome and initiator each: they stand in the receipt.
const TEXT_BYTES_MAX: usize = 1_024;
/// Most bytes of the figures, which stand in the receipt too.
const SUMMARY_BYTES_MAX: usize = 16 * 1024;

/// A report that somebody has made and wants on record.
#[derive(Clone, Debug)]
pub struct ReportSubmission {
    pub kind: ReportKind,
    pub initiated_by: String,
    pub subject: String,
    pub outcome: String,
    pub summary: Map<String, Value>,
    /// The whole report; `None` where the figures say all.
    pub report: Option<Value>,
    /// The same for people: kept beside the report and not hashed.
    pub markdown: Option<String>,
    pub html: Option<String>,
}

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordedReport {
    pub report_id: String,
    /// Relative to the data folder.
    pub path: Option<String>,
    pub receipt_seq: u64,
}

/// Keeps reports below `reports/` and records each.
#[derive(Debug)]
pub struct ReportService {
    data_dir: PathBuf,
    disk: Arc<dyn Disk>,
    ledger: Arc<Ledger>,
    operations: Arc<DayIds>,
    audits: DayIds,
    doctors: DayIds,
}

impl ReportService {
    pub fn open(
        data_dir: PathBuf,
        disk: Arc<dyn Disk>,
        ledger: Arc<Ledger>,
        operations: Arc<DayIds>,
    ) -> Result<Self, OpsError> {
        let audits = DayIds::from_ledger(&ledger, "audit-", "report_id")?;
        let doctors = DayIds::from_ledger(&ledger, "doctor-", "report_id")?;
        Ok(Self { data_dir, disk, ledger, operations, audits, doctors })
    }

    /// Writes the files durably, then the receipt. `Err(Invalid)` beyond the limits, before
    /// anything is written.
    pub fn record(
        &self,
        s: ReportSubmission,
        now: TimestampMs,
    ) -> Result<RecordedReport, OpsError> {
        for (name, text) in
            [("subject", &s.subject), ("outcome", &s.outcome), ("initiated_by", &s.initiated_by)]
        {
            within(name, text.len(), TEXT_BYTES_MAX)?;
        }
        within("summary", json!(s.summary).to_string().len(), SUMMARY_BYTES_MAX)?;
        let texts =
            [(s.report.map(|r| r.to_string()), "json"), (s.markdown, "md"), (s.html, "html")];
        let bytes = texts.iter().filter_map(|(t, _)| t.as_ref()).map(String::len).sum();
        within("report", bytes, REPORT_BYTES_MAX)?;
        let ids = match s.kind {
            ReportKind::Audit => &self.audits,
            ReportKind::Doctor => &self.doctors,
        };
        let report_id = ids.next(now);
        let mut report = None;
        for (text, ending) in texts {
            let Some(text) = text else { continue };
            let path = format!("reports/{}/{report_id}.{ending}", s.kind.as_str());
            crate::state::write(self.disk.as_ref(), &self.data_dir.join(&path), text.as_bytes())?;
            if ending == "json" {
                let hash = ContentHash(obs_proof::hash::blake3_of(text.as_bytes()));
                report = Some((path, hash));
            }
        }
        let path = report.as_ref().map(|(path, _)| path.clone());
        let sequence = self.ledger.append(vec![Receipt::filed_report(FiledReport {
            kind: s.kind,
            operation_id: self.operations.next(now),
            report_id: report_id.clone(),
            initiated_by: s.initiated_by,
            subject: s.subject,
            outcome: s.outcome,
            summary: s.summary,
            report,
        })])?;
        let receipt_seq = sequence.first().copied().unwrap_or(0);
        Ok(RecordedReport { report_id, path, receipt_seq })
    }
}

fn within(what: &str, bytes: usize, max: usize) -> Result<(), OpsError> {
    if bytes > max {
        return Err(OpsError::Invalid(format!("{what}: {bytes} bytes, at most {max} are taken")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use obs_disk::{FakeDisk, ManualClock};
    use obs_ledger::{LedgerConfig, LedgerMode};

    const NOW: TimestampMs = TimestampMs(1_765_029_600_000);

    fn open(disk: &Arc<FakeDisk>) -> (Arc<Ledger>, ReportService) {
        let clock = Arc::new(ManualClock::new(NOW));
        let ledger = Arc::new(
            Ledger::open(LedgerConfig::in_data_dir(
                "/data",
                Arc::clone(disk) as Arc<dyn Disk>,
                clock,
                "vm-obs.test/a/observability",
                LedgerMode::ReadWrite,
            ))
            .unwrap(),
        );
        let ids = Arc::new(DayIds::from_ledger(&ledger, "obs-op-", "operation_id").unwrap());
        let service = ReportService::open(
            "/data".into(),
            Arc::clone(disk) as Arc<dyn Disk>,
            Arc::clone(&ledger),
            ids,
        )
        .unwrap();
        (ledger, service)
    }

    fn submission(kind: ReportKind, report: Option<Value>) -> ReportSubmission {
        ReportSubmission {
            kind,
            initiated_by: "did:vm:user:sovereign".to_owned(),
            subject: "host".to_owned(),
            outcome: "9/10".to_owned(),
            summary: Map::from_iter([("score".to_owned(), json!(9.0))]),
            report,
            markdown: Some("# Audit\n".to_owned()),
            html: None,
        }
    }

    #[test]
    fn the_file_is_there_before_the_receipt_names_it_and_ids_go_on() {
        let disk = Arc::new(FakeDisk::new());
        let (ledger, service) = open(&disk);
        let report = json!({"version": 1, "score": 9.0});
        let done =
            service.record(submission(ReportKind::Audit, Some(report.clone())), NOW).unwrap();
        assert_eq!(done.report_id, "audit-2025-12-06-001");
        let path = done.path.unwrap();
        let bytes = disk.read(std::path::Path::new("/data").join(&path).as_path()).unwrap();
        assert_eq!(serde_json::from_slice::<Value>(&bytes).unwrap(), report);
        assert!(disk.exists(std::path::Path::new("/data/reports/audit/audit-2025-12-06-001.md")));
        let receipt: Value = serde_json::from_str(&ledger.line(done.receipt_seq).unwrap()).unwrap();
        let hash = ContentHash(obs_proof::hash::blake3_of(&bytes)).to_string();
        assert_eq!(receipt["content_hash"], hash);
        assert_eq!(receipt["report_path"], path);
        drop((ledger, service));
        let (_ledger, service) = open(&disk);
        let done = service.record(submission(ReportKind::Audit, None), NOW).unwrap();
        assert_eq!((done.report_id.as_str(), done.path), ("audit-2025-12-06-002", None));
        let done = service.record(submission(ReportKind::Doctor, None), NOW).unwrap();
        assert_eq!(done.report_id, "doctor-2025-12-06-001");
    }

    #[test]
    fn what_is_too_large_is_refused_before_anything_is_written() {
        let disk = Arc::new(FakeDisk::new());
        let (ledger, service) = open(&disk);
        let mut large = submission(ReportKind::Audit, None);
        large.subject = "x".repeat(TEXT_BYTES_MAX + 1);
        let e = service.record(large, NOW).unwrap_err().to_string();
        assert!(e.contains("subject: 1025 bytes, at most 1024"), "{e}");
        let mut large = submission(ReportKind::Audit, None);
        large.html = Some("x".repeat(REPORT_BYTES_MAX + 1));
        assert!(service.record(large, NOW).is_err());
        assert_eq!(ledger.head().size, 0);
        assert!(!disk.exists(std::path::Path::new("/data/reports/audit/audit-2025-12-06-001.md")));
    }
}
