//! Objectives: their definitions, their evaluation, and the daily report on record.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use obs_analysis::slo::{
    DailyReport, InstantQuery, Part, Slo, SloReport, evaluate, event_queries, parse_slo_file,
};
use obs_disk::Disk;
use obs_ledger::{Ledger, Receipt, SloDefinition, SloResult};
use obs_types::{ContentHash, DurationMs, LabelSet, MetricBatch, SeriesSamples, TimestampMs};
use serde_json::{Map, Value, json};

use crate::OpsError;
use crate::contracts::Contracts;
use crate::ids::{DayIds, day};

/// Keeps the objectives and their newest reports.
#[derive(Debug)]
pub struct SloService {
    data_dir: PathBuf,
    disk: Arc<dyn Disk>,
    ledger: Arc<Ledger>,
    operations: Arc<DayIds>,
    state: Mutex<State>,
    contracts: Contracts,
}

#[derive(Debug, Default)]
struct State {
    /// By id.
    slos: BTreeMap<String, Slo>,
    /// As they were given to `create`; what the state file keeps.
    created: BTreeMap<String, Value>,
    reports: BTreeMap<String, SloReport>,
    errors: BTreeMap<String, String>,
    /// Day of the last daily report.
    reported: Option<String>,
}

const STATE_FILE: &str = "state/slos.json";

impl SloService {
    /// `from_files` are the objectives of packs and configuration. The first daily report of a
    /// fresh installation is that of the next day: today has only just begun to be measured.
    pub fn open(
        data_dir: PathBuf,
        disk: Arc<dyn Disk>,
        ledger: Arc<Ledger>,
        operations: Arc<DayIds>,
        from_files: Vec<Slo>,
        now: TimestampMs,
    ) -> Result<Self, OpsError> {
        let mut state = State::default();
        for slo in from_files {
            state.slos.insert(slo.id.clone(), slo);
        }
        let path = data_dir.join(STATE_FILE);
        if disk.exists(&path) {
            let refuse = |reason: String| OpsError::State { path: path.clone(), reason };
            let bytes = disk.read(&path).map_err(|e| refuse(e.to_string()))?;
            let saved: BTreeMap<String, Value> =
                serde_json::from_slice(&bytes).map_err(|e| refuse(e.to_string()))?;
            for (id, definition) in saved {
                let slo = parse(&definition)?;
                state.slos.insert(id.clone(), slo);
                state.created.insert(id, definition);
            }
        }
        ledger.read(0, &mut |_seq, line| {
            if line.contains("\"type\":\"obs_slo_report\"")
                && let Ok(receipt) = serde_json::from_str::<Value>(line)
                && let Some(id) = receipt.get("report_id").and_then(Value::as_str)
            {
                state.reported = id.strip_prefix("slo-report-").map(str::to_owned);
            }
            true
        })?;
        state.reported.get_or_insert_with(|| day(now));
        let contracts = Contracts::open(&data_dir, Arc::clone(&disk), &ledger, now)?;
        Ok(Self { data_dir, disk, ledger, operations, state: Mutex::new(state), contracts })
    }

    /// Whether definitions that no actor has signed are refused from now on.
    pub fn require_signed_contracts(&self, required: bool) {
        self.contracts.require(required);
    }

    /// Defines an objective, or changes the one of the same id. `definition` is ENGINE's contract
    /// or its `slo` object alone. Gives the contract and the receipt's number. `signed` is the
    /// actor's DSSE envelope (`obs_proof::actor`); `Err(Invalid)` if it is not of this definition.
    pub fn create(
        &self,
        definition: &Value,
        initiated_by: &str,
        signed: Option<&Value>,
        now: TimestampMs,
    ) -> Result<(Value, u64), OpsError> {
        let definition = definition.get("slo").unwrap_or(definition);
        let Value::Object(fields) = definition else {
            return Err(OpsError::Invalid(
                "an SLO is an object with id, indicator, target and window".to_owned(),
            ));
        };
        let slo = parse(definition)?;
        let known = self.lock().slos.contains_key(&slo.id);
        let operation_type = if known { "slo_update" } else { "slo_create" };
        let receipt = |operation_id: String| {
            Receipt::slo_definition(SloDefinition {
                operation_id,
                operation_type: operation_type.to_owned(),
                initiated_by: initiated_by.to_owned(),
                slo: fields.clone(),
            })
        };
        let signed = self.contracts.judge(signed, &receipt(String::new()), now)?;
        {
            let mut state = self.lock();
            let mut created = state.created.clone();
            created.insert(slo.id.clone(), definition.clone());
            self.save(&created)?;
            state.created = created;
            state.reports.remove(&slo.id);
            state.slos.insert(slo.id.clone(), slo);
        }
        let operation_id = self.operations.next(now);
        let receipt = receipt(operation_id.clone()).with_contract(signed);
        let sequence = self.ledger.append(vec![receipt])?;
        let contract = json!({
            "operation_id": operation_id,
            "operation_type": operation_type,
            "initiated_by": initiated_by,
            "slo": definition,
        });
        Ok((contract, sequence.first().copied().unwrap_or(0)))
    }

    /// Evaluates every objective; gives the series to store. An objective whose query fails keeps
    /// its last report and shows the error.
    pub fn evaluate(
        &self,
        now: TimestampMs,
        query: &dyn InstantQuery,
        labels: &LabelSet,
    ) -> MetricBatch {
        let slos: Vec<Slo> = self.lock().slos.values().cloned().collect();
        let mut batch = MetricBatch::default();
        for slo in slos {
            match evaluate(&slo, now, query) {
                Ok(report) => {
                    for (own, value) in report.series() {
                        let mut set = labels.to_builder();
                        for (name, value) in own.iter() {
                            set.set(name, value);
                        }
                        batch.series.push(SeriesSamples {
                            labels: set.build(),
                            samples: vec![(now, value)],
                            ..SeriesSamples::default()
                        });
                    }
                    let mut state = self.lock();
                    state.errors.remove(&slo.id);
                    state.reports.insert(slo.id.clone(), report);
                }
                Err(e) => {
                    tracing::warn!(slo = slo.id, error = %e, "objective not evaluated");
                    self.lock().errors.insert(slo.id.clone(), e.to_string());
                }
            }
        }
        batch
    }

    /// The newest report of every objective as ENGINE 2.5 objects, by id. One that was never
    /// evaluated has the status `no_data`.
    pub fn list(&self) -> Vec<Value> {
        let state = self.lock();
        state.slos.keys().filter_map(|id| state.object(id)).collect()
    }

    pub fn get(&self, id: &str) -> Option<Value> {
        let state = self.lock();
        state.object(id).or_else(|| state.object(&format!("slo:{id}")))
    }

    /// The definition of one objective, to evaluate it over another window.
    pub fn definition(&self, id: &str) -> Option<Slo> {
        let state = self.lock();
        state.slos.get(id).or_else(|| state.slos.get(&format!("slo:{id}"))).cloned()
    }

    /// All definitions, by id.
    pub fn definitions(&self) -> Vec<Slo> {
        self.lock().slos.values().cloned().collect()
    }

    /// The report of all objectives at `now`, from the newest evaluations.
    pub fn report(&self, now: TimestampMs) -> DailyReport {
        DailyReport::new(now, self.lock().reports.values().cloned().collect())
    }

    /// Writes the day's report and records it, once a day (UTC), as soon as the day begins.
    pub fn daily(&self, now: TimestampMs) -> Result<Option<u64>, OpsError> {
        let today = day(now);
        {
            let state = self.lock();
            if state.reported.as_deref() == Some(today.as_str()) || state.reports.is_empty() {
                return Ok(None);
            }
        }
        let report = self.report(now);
        let relative = report.report_path();
        let path = self.data_dir.join(&relative);
        let bytes = report.to_json().to_string().into_bytes();
        let hash = obs_proof::hash::blake3_of(&bytes);
        for (path, bytes) in [
            (path.clone(), bytes),
            (path.with_extension("md"), report.to_markdown().into_bytes()),
            (path.with_extension("html"), report.to_html().into_bytes()),
        ] {
            self.write(&path, &bytes)?;
        }
        let fields = report.receipt_fields();
        let slos = report
            .reports
            .iter()
            .map(|r| SloResult {
                slo_id: r.slo.id.clone(),
                target: r.slo.target,
                achieved: r.achieved,
                status: r.status.as_str().to_owned(),
            })
            .collect();
        let text = |name: &str| text_of(&fields, name);
        let start = report.reports.iter().map(|r| r.start).min().unwrap_or(now);
        let sequence = self.ledger.append(vec![Receipt::slo_report(obs_ledger::SloReport {
            period_start: start,
            period_end: now,
            slos,
            overall_status: text("overall_status"),
            error_budget_status: text("error_budget_status"),
            report_path: relative,
            content_hash: Some(ContentHash(hash)),
            tags: Vec::new(),
        })])?;
        self.lock().reported = Some(today);
        Ok(sequence.first().copied())
    }

    fn save(&self, created: &BTreeMap<String, Value>) -> Result<(), OpsError> {
        let path = self.data_dir.join(STATE_FILE);
        let bytes = serde_json::to_vec_pretty(created)
            .map_err(|e| OpsError::State { path: path.clone(), reason: e.to_string() })?;
        self.write(&path, &bytes)
    }

    fn write(&self, path: &std::path::Path, bytes: &[u8]) -> Result<(), OpsError> {
        crate::state::write(self.disk.as_ref(), path, bytes)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn text_of(fields: &Map<String, Value>, name: &str) -> String {
    fields.get(name).and_then(Value::as_str).unwrap_or("").to_owned()
}

fn parse(definition: &Value) -> Result<Slo, OpsError> {
    let contract = json!({"slo": definition}).to_string();
    parse_slo_file("request", &contract)
        .map_err(|e| OpsError::Invalid(e.to_string()))?
        .into_iter()
        .next()
        .ok_or_else(|| OpsError::Invalid("no SLO given".to_owned()))
}

impl State {
    fn object(&self, id: &str) -> Option<Value> {
        let slo = self.slos.get(id)?;
        let mut object = match self.reports.get(id) {
            Some(report) => report.to_json(),
            None => json!({
                "slo_id": slo.id, "name": slo.name, "description": slo.description,
                "target": slo.target, "window": slo.window_text(), "achieved": null,
                "status": "no_data", "breakdown": null, "trend": "stable",
                "error_budget": {
                    "total_minutes": slo.window.0 as f64 / 60_000.0 * slo.budget(),
                    "consumed_minutes": null, "remaining_percent": null,
                },
            }),
        };
        if let Some(map) = object.as_object_mut() {
            let asked = event_queries(&slo.indicator, DurationMs::HOUR);
            let (Part::Good(part) | Part::Bad(part)) = asked.part;
            map.insert("queries".to_owned(), json!([part, asked.total]));
            if let Some(error) = self.errors.get(id) {
                map.insert("error".to_owned(), json!(error));
            }
        }
        Some(object)
    }
}
