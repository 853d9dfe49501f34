//! Load tests, chaos experiments, gates and probe transactions on record.

use std::collections::BTreeMap;
use std::sync::Arc;

use obs_ledger::{Exercise, Ledger, Receipt};
use obs_types::{ContentHash, TimestampMs};
use serde_json::{Value, json};

use crate::OpsError;
use crate::ids::DayIds;

/// Bytes of a name, target or initiator.
const NAME_BYTES_MAX: usize = 512;
/// Bytes of a summary.
const SUMMARY_BYTES_MAX: usize = 4_096;
const KINDS: [&str; 5] = ["probe", "load", "chaos", "gate", "deployment"];
const OUTCOMES: [&str; 5] = ["running", "passed", "failed", "aborted", "interrupted"];

/// What a run says about itself, once when it begins and once when it has ended.
#[derive(Clone, Debug, Default)]
pub struct ExerciseRequest {
    /// `probe`, `load`, `chaos` or `gate`.
    pub exercise: String,
    /// Chosen by the runner, the same in both requests.
    pub run_id: String,
    pub name: String,
    pub target: String,
    pub by: String,
    pub started_at: Option<TimestampMs>,
    /// `None` while it runs.
    pub ended_at: Option<TimestampMs>,
    /// `running`, `passed`, `failed`, `aborted` or `interrupted`.
    pub outcome: String,
    pub summary: String,
    pub report_hash: Option<ContentHash>,
}

/// Writes runs into the ledger.
#[derive(Debug)]
pub struct ExerciseService {
    ledger: Arc<Ledger>,
    operations: Arc<DayIds>,
}

impl ExerciseService {
    pub fn new(ledger: Arc<Ledger>, operations: Arc<DayIds>) -> Self {
        Self { ledger, operations }
    }

    /// Appends the receipt and gives its number.
    pub fn record(&self, request: ExerciseRequest, now: TimestampMs) -> Result<u64, OpsError> {
        let r = check(request)?;
        let sequence = self.ledger.append(vec![Receipt::exercise(Exercise {
            operation_id: self.operations.next(now),
            exercise: r.exercise,
            run_id: r.run_id,
            name: r.name,
            target: r.target,
            initiated_by: r.by,
            started_at: r.started_at.unwrap_or(now),
            ended_at: r.ended_at,
            outcome: r.outcome,
            summary: r.summary,
            report_hash: r.report_hash,
        })])?;
        sequence.first().copied().ok_or_else(|| OpsError::Invalid("no receipt was made".to_owned()))
    }

    /// Runs of the window, oldest first, each once with the newest that is known of it:
    /// `{exercise, run_id, name, target, started_at, ended_at, outcome, summary, receipt_seq}`.
    pub fn list(&self, from: TimestampMs, to: TimestampMs) -> Result<Vec<Value>, OpsError> {
        let mut runs: BTreeMap<(i64, String), Value> = BTreeMap::new();
        self.ledger.read(0, &mut |seq, line| {
            if !line.contains("\"type\":\"obs_exercise\"") {
                return true;
            }
            let Ok(receipt) = serde_json::from_str::<Value>(line) else { return true };
            let at = |field: &str| {
                let text = receipt.get(field).and_then(Value::as_str)?;
                text.parse::<jiff::Timestamp>().ok().map(|t| t.as_millisecond())
            };
            let Some(started) = at("started_at") else { return true };
            if started > to.0 || at("ended_at").is_some_and(|ended| ended < from.0) {
                return true;
            }
            let Some(run) = receipt.get("run_id").and_then(Value::as_str) else { return true };
            let mut run_json = json!({"receipt_seq": seq});
            for field in [
                "exercise",
                "run_id",
                "name",
                "target",
                "started_at",
                "ended_at",
                "outcome",
                "summary",
                "report_hash",
                "initiated_by",
            ] {
                run_json[field] = receipt.get(field).cloned().unwrap_or(Value::Null);
            }
            runs.insert((started, run.to_owned()), run_json);
            true
        })?;
        // A run that began before the window and never said that it ended is not kept for ever.
        Ok(runs
            .into_iter()
            .filter(|((started, _), run)| *started >= from.0 || !run["ended_at"].is_null())
            .map(|(_, run)| run)
            .collect())
    }
}

fn check(r: ExerciseRequest) -> Result<ExerciseRequest, OpsError> {
    let invalid = |text: String| Err(OpsError::Invalid(text));
    if !KINDS.contains(&r.exercise.as_str()) {
        return invalid(format!("exercise {:?} is not one of {}", r.exercise, KINDS.join(", ")));
    }
    if !OUTCOMES.contains(&r.outcome.as_str()) {
        return invalid(format!("outcome {:?} is not one of {}", r.outcome, OUTCOMES.join(", ")));
    }
    if (r.outcome == "running") != r.ended_at.is_none() {
        return invalid(
            "\"ended_at\" must be given exactly when outcome is not running".to_owned(),
        );
    }
    for (field, text) in
        [("run_id", &r.run_id), ("name", &r.name), ("target", &r.target), ("by", &r.by)]
    {
        if text.len() > NAME_BYTES_MAX {
            return invalid(format!("{field} is longer than {NAME_BYTES_MAX} bytes"));
        }
    }
    for (field, text) in [("run_id", &r.run_id), ("name", &r.name), ("by", &r.by)] {
        if text.is_empty() {
            return invalid(format!("field {field:?} is missing"));
        }
    }
    if r.summary.len() > SUMMARY_BYTES_MAX {
        return invalid(format!("summary is longer than {SUMMARY_BYTES_MAX} bytes"));
    }
    Ok(r)
}

#[cfg(test)]
mod tests {
    use super::*;
    use obs_disk::{FakeDisk, ManualClock};
    use obs_ledger::{LedgerConfig, LedgerMode};

    #[test]
    fn a_run_has_two_receipts_and_is_listed_once() {
        let now = TimestampMs(1_765_029_600_000);
        let ledger = Arc::new(
            Ledger::open(LedgerConfig::in_data_dir(
                "/data",
                Arc::new(FakeDisk::new()),
                Arc::new(ManualClock::new(now)),
                "vm-obs.test/a/observability",
                LedgerMode::ReadWrite,
            ))
            .unwrap(),
        );
        let ids = Arc::new(DayIds::from_ledger(&ledger, "obs-op-", "operation_id").unwrap());
        let service = ExerciseService::new(ledger, ids);
        let request = ExerciseRequest {
            exercise: "load".into(),
            run_id: "r1".into(),
            name: "smoke".into(),
            by: "did:vm:user:sovereign".into(),
            started_at: Some(now),
            outcome: "running".into(),
            ..ExerciseRequest::default()
        };
        assert_eq!(service.record(request.clone(), now).unwrap(), 0);
        let ended = ExerciseRequest {
            ended_at: Some(TimestampMs(now.0 + 5_000)),
            outcome: "passed".into(),
            ..request.clone()
        };
        assert_eq!(service.record(ended, now).unwrap(), 1);
        let all = service.list(now, TimestampMs(now.0 + 1)).unwrap();
        assert_eq!(all.len(), 1);
        assert_eq!((&all[0]["outcome"], &all[0]["receipt_seq"]), (&json!("passed"), &json!(1)));
        assert!(
            service
                .list(TimestampMs(now.0 + 6_000), TimestampMs(now.0 + 9_000))
                .unwrap()
                .is_empty()
        );

        let wrong = ExerciseRequest { exercise: "dance".into(), ..request.clone() };
        assert!(service.record(wrong, now).unwrap_err().to_string().contains("dance"));
        let wrong = ExerciseRequest { outcome: "passed".into(), ..request };
        assert!(service.record(wrong, now).unwrap_err().to_string().contains("ended_at"));
    }
}
