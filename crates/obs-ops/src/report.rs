//! Reports about the monitoring itself, kept as files and on record.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

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
    /// As in [`ReportKind::ALL`].
    ids: Vec<DayIds>,
    periods: Mutex<Periods>,
}

/// Until when reports are made.
#[derive(Debug, Default)]
struct Periods {
    /// Of the ledger's first receipt: there was nothing to report before.
    first: Option<TimestampMs>,
    /// By kind.
    ends: BTreeMap<&'static str, TimestampMs>,
}

/// Field of a summary: the end of the period that a report is about.
pub const PERIOD_END: &str = "period_end";
/// What is offered of each report.
const ENDINGS: [&str; 3] = ["json", "md", "html"];
/// Kind of the reports that [`crate::SloService`] makes.
const SLO: &str = "slo";

impl ReportService {
    pub fn open(
        data_dir: PathBuf,
        disk: Arc<dyn Disk>,
        ledger: Arc<Ledger>,
        operations: Arc<DayIds>,
    ) -> Result<Self, OpsError> {
        let ids = ReportKind::ALL
            .into_iter()
            .map(|kind| DayIds::from_ledger(&ledger, prefix(kind), "report_id"))
            .collect::<Result<_, _>>()?;
        let mut periods = Periods::default();
        ledger.read(0, &mut |_seq, line| {
            let known = periods.first.is_some() && !line.contains("\"type\":\"obs_report\"");
            if !known && let Ok(receipt) = serde_json::from_str::<Value>(line) {
                if periods.first.is_none() {
                    periods.first = receipt.get("timestamp").and_then(time);
                }
                let kind = receipt.get("operation_type").and_then(Value::as_str);
                let end = receipt.get("summary").and_then(|s| s.get(PERIOD_END)).and_then(time);
                if let (Some(kind), Some(end)) = (kind.and_then(ReportKind::from_name), end) {
                    let newest = periods.ends.entry(kind.as_str()).or_insert(end);
                    *newest = (*newest).max(end);
                }
            }
            true
        })?;
        Ok(Self { data_dir, disk, ledger, operations, ids, periods: Mutex::new(periods) })
    }

    /// Whether there is something to report until `due`: the node has run before it, and no report
    /// of this kind reaches so far.
    pub fn is_due(&self, kind: ReportKind, due: TimestampMs) -> bool {
        let mut periods = self.periods.lock().unwrap_or_else(PoisonError::into_inner);
        if periods.first.is_none() {
            let line = self.ledger.line(0).ok();
            let receipt = line.and_then(|l| serde_json::from_str::<Value>(&l).ok());
            periods.first = receipt.as_ref().and_then(|r| r.get("timestamp")).and_then(time);
        }
        periods.first.is_some_and(|first| first < due)
            && periods.ends.get(kind.as_str()).is_none_or(|end| *end < due)
    }

    /// Reports on record, newest first: `{kind, report_id, timestamp, subject, outcome, summary,
    /// receipt_seq, files}`; `files` are the endings that [`Self::file`] gives. `kind` is one of
    /// [`ReportKind`] or `slo`.
    pub fn list(&self, kind: Option<&str>) -> Result<Vec<Value>, OpsError> {
        const TYPES: [&str; 4] = [
            "\"type\":\"obs_report\"",
            "\"type\":\"obs_audit\"",
            "\"type\":\"obs_doctor\"",
            "\"type\":\"obs_slo_report\"",
        ];
        let mut out = Vec::new();
        self.ledger.read(0, &mut |seq, line| {
            if !TYPES.iter().any(|t| line.contains(t)) {
                return true;
            }
            let Ok(receipt) = serde_json::from_str::<Value>(line) else { return true };
            let text = |name: &str| receipt.get(name).and_then(Value::as_str).unwrap_or("");
            let (own, outcome) = match text("type") {
                "obs_slo_report" => (SLO, text("overall_status")),
                _ => (text("operation_type"), text("outcome")),
            };
            if kind.is_some_and(|k| k != own) {
                return true;
            }
            let path = text("report_path");
            let stem = path.rsplit_once('/').map_or(path, |(_, name)| name);
            let stem = stem.strip_suffix(".json").unwrap_or(stem);
            let files: Vec<&str> = ENDINGS
                .into_iter()
                .filter(|e| self.path(own, stem, e).is_some_and(|p| self.disk.exists(&p)))
                .collect();
            out.push(json!({
                "kind": own, "report_id": text("report_id"), "name": stem,
                "timestamp": text("timestamp"), "subject": text("subject"), "outcome": outcome,
                "summary": receipt.get("summary"), "receipt_seq": seq, "files": files,
            }));
            true
        })?;
        out.reverse();
        Ok(out)
    }

    fn path(&self, kind: &str, name: &str, ending: &str) -> Option<PathBuf> {
        let known = kind == SLO || ReportKind::from_name(kind).is_some();
        let plain =
            !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        (known && plain && ENDINGS.contains(&ending))
            .then(|| self.data_dir.join(format!("reports/{kind}/{name}.{ending}")))
    }

    /// The bytes of `NAME.ENDING`; `None` where there is no such report.
    pub fn file(&self, kind: &str, name: &str, ending: &str) -> Result<Option<Vec<u8>>, OpsError> {
        let Some(path) = self.path(kind, name, ending) else { return Ok(None) };
        if !self.disk.exists(&path) {
            return Ok(None);
        }
        let refuse =
            |e: obs_disk::DiskError| OpsError::State { path: path.clone(), reason: e.to_string() };
        self.disk.read(&path).map(Some).map_err(refuse)
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
        let place = ReportKind::ALL.iter().position(|k| *k == s.kind);
        let ids = place.and_then(|i| self.ids.get(i));
        let ids = ids.ok_or_else(|| OpsError::Invalid(format!("no ids of {:?}", s.kind)))?;
        let end = s.summary.get(PERIOD_END).and_then(time);
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
        if let Some(end) = end {
            let mut periods = self.periods.lock().unwrap_or_else(PoisonError::into_inner);
            let newest = periods.ends.entry(s.kind.as_str()).or_insert(end);
            *newest = (*newest).max(end);
        }
        let receipt_seq = sequence.first().copied().unwrap_or(0);
        Ok(RecordedReport { report_id, path, receipt_seq })
    }
}

/// Of the ids of this kind.
fn prefix(kind: ReportKind) -> &'static str {
    match kind {
        ReportKind::Audit => "audit-",
        ReportKind::Doctor => "doctor-",
        ReportKind::Daily => "daily-",
        ReportKind::Weekly => "weekly-",
        ReportKind::Monthly => "monthly-",
    }
}

fn time(text: &Value) -> Option<TimestampMs> {
    let at = text.as_str()?.parse::<jiff::Timestamp>().ok()?;
    Some(TimestampMs(at.as_millisecond()))
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
    fn periods_are_reported_once_also_after_a_restart_and_files_are_listed() {
        let disk = Arc::new(FakeDisk::new());
        let (ledger, service) = open(&disk);
        let due = TimestampMs(NOW.0 + 60_000);
        assert!(!service.is_due(ReportKind::Weekly, due), "nothing has happened yet");
        service.record(submission(ReportKind::Audit, None), NOW).unwrap();
        assert!(service.is_due(ReportKind::Weekly, due));
        assert!(!service.is_due(ReportKind::Weekly, TimestampMs(NOW.0 - 1)), "before it ran");
        let mut weekly = submission(ReportKind::Weekly, Some(json!({"a": 1})));
        let end = jiff::Timestamp::from_millisecond(due.0).unwrap().to_string();
        weekly.summary = Map::from_iter([(PERIOD_END.to_owned(), json!(end))]);
        service.record(weekly, due).unwrap();
        assert!(!service.is_due(ReportKind::Weekly, due));
        drop((ledger, service));
        let (_ledger, service) = open(&disk);
        assert!(!service.is_due(ReportKind::Weekly, due));
        assert!(service.is_due(ReportKind::Weekly, TimestampMs(due.0 + 1)));
        assert!(service.is_due(ReportKind::Daily, due));
        let all = service.list(None).unwrap();
        assert_eq!((all.len(), &all[0]["kind"]), (2, &json!("weekly")));
        assert_eq!(all[0]["files"], json!(["json", "md"]));
        assert_eq!(service.list(Some("audit")).unwrap().len(), 1);
        let file = |name: &str, ending: &str| service.file("weekly", name, ending).unwrap();
        assert_eq!(file("weekly-2025-12-06-001", "json").unwrap(), br#"{"a":1}"#);
        assert_eq!(file("weekly-2025-12-06-001", "html"), None);
        assert_eq!(file("../audit/x", "json"), None);
        assert_eq!(service.file("../state", "x", "json").unwrap(), None);
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
