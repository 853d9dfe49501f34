//! Rules and alerts with their state on disk and their receipts.
//!
//! Order of a step: evaluate, update the book, save both states, append receipts, and then hand
//! the changes to the notifier. Every alert that fired or resolved gets its receipt exactly once:
//! what a crash or a full disk kept from the ledger is owed, found again at the next start by
//! comparing the book with the ledger, and written before anything newer. A notification does not
//! wait for that: an alert about a full disk must get out.

mod receipts;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use obs_disk::Disk;
use obs_ledger::{Ledger, Receipt};
use obs_rules::{
    AlertBook, AlertRecord, AlertStatus, BookChange, Effect, GroupOptions, InhibitRule, RuleFile,
    RuleHealth, RuleKind, RuleSet, RulesError, Silence, StepContext,
};
use obs_types::{MetricBatch, NodeName, SeriesSource, TimestampMs};
use serde_json::{Value, json};

pub use obs_rules::{AckRequest, AlertFilter, SilenceMatcher, SilenceRequest};

use crate::OpsError;
use crate::contracts::Contracts;
use crate::ids::DayIds;
use crate::rule_json::{active_json, evaluated, rule_json};
use receipts::{ack_receipt, receipt, silence_receipt, unrecorded};

/// What a step brought.
#[derive(Clone, Debug, Default)]
pub struct AlertStep {
    /// Samples to store.
    pub batch: MetricBatch,
    /// Alerts that fired or resolved, with their receipts written or owed.
    pub changes: Vec<BookChange>,
    /// Rules that failed.
    pub failures: u64,
}

/// Tells which receivers an alert will go to, such as `slack:ops-channel`.
pub type Route<'a> = &'a dyn Fn(&AlertRecord) -> Vec<String>;

/// Rules, alerts, acknowledgements and silences of an instance.
#[derive(Debug)]
pub struct AlertService {
    data_dir: PathBuf,
    disk: Arc<dyn Disk>,
    ledger: Arc<Ledger>,
    operations: Arc<DayIds>,
    rules: Mutex<RuleSet>,
    book: Mutex<AlertBook>,
    owed: Mutex<Owed>,
    /// Held while the state files are written.
    saving: Mutex<()>,
    contracts: Contracts,
}

/// What the disk did not take yet.
#[derive(Debug, Default)]
struct Owed {
    /// Oldest first.
    receipts: Vec<Receipt>,
    state: bool,
}

/// An alert with what holds its notifications back.
#[derive(Clone, Debug)]
pub struct RoutedAlert {
    pub alert: AlertRecord,
    /// Ids of active silences.
    pub silenced_by: Vec<String>,
    /// Ids of firing alerts that inhibit it.
    pub inhibited_by: Vec<String>,
}

const BOOK_FILE: &str = "state/alerts.json";
const RULES_FILE: &str = "state/rules.json";

impl From<RulesError> for OpsError {
    fn from(e: RulesError) -> Self {
        match e.kind() {
            obs_types::ErrorKind::NotFound => Self::NotFound(e.to_string()),
            obs_types::ErrorKind::Conflict => Self::Conflict(e.to_string()),
            _ => Self::Invalid(e.to_string()),
        }
    }
}

impl AlertService {
    /// Loads the rule files and what was saved before a restart.
    #[expect(clippy::too_many_arguments, reason = "each is a different part of the instance")]
    pub fn open(
        data_dir: PathBuf,
        disk: Arc<dyn Disk>,
        ledger: Arc<Ledger>,
        operations: Arc<DayIds>,
        node: &NodeName,
        options: GroupOptions,
        files: &[RuleFile],
        inhibit: Vec<InhibitRule>,
        now: TimestampMs,
    ) -> Result<Self, OpsError> {
        let mut rules = RuleSet::new(options);
        rules.load(files, now);
        let read = |name: &str| -> Result<Option<Value>, OpsError> {
            let path = data_dir.join(name);
            if !disk.exists(&path) {
                return Ok(None);
            }
            let refuse = |reason: String| OpsError::State { path: path.clone(), reason };
            let bytes = disk.read(&path).map_err(|e| refuse(e.to_string()))?;
            serde_json::from_slice(&bytes).map(Some).map_err(|e| refuse(e.to_string()))
        };
        if let Some(saved) = read(RULES_FILE)? {
            let restored = rules.restore(saved)?;
            if restored > 0 {
                tracing::info!(alerts = restored, "alert states restored");
            }
        }
        let mut book = match read(BOOK_FILE)? {
            Some(saved) => AlertBook::from_json(node.clone(), saved)?,
            None => AlertBook::new(node.clone()),
        };
        book.set_inhibit_rules(inhibit);
        let owed = Owed { receipts: unrecorded(&book, &ledger)?, state: false };
        if !owed.receipts.is_empty() {
            tracing::warn!(receipts = owed.receipts.len(), "alerts without receipts get them now");
        }
        let service = Self {
            contracts: Contracts::open(&data_dir, Arc::clone(&disk), &ledger, now)?,
            data_dir,
            disk,
            ledger,
            operations,
            rules: Mutex::new(rules),
            book: Mutex::new(book),
            owed: Mutex::new(owed),
            saving: Mutex::new(()),
        };
        service.settle_debts();
        Ok(service)
    }

    /// Tries again what the disk refused; gives whether nothing is owed any more.
    fn settle_debts(&self) -> bool {
        let mut owed = self.owed.lock().unwrap_or_else(PoisonError::into_inner);
        if owed.state {
            match self.write_state() {
                Ok(()) => owed.state = false,
                Err(e) => {
                    tracing::error!(error = %e, "alert state not saved, it is tried again");
                    return false;
                }
            }
        }
        if !owed.receipts.is_empty() {
            // The debt is kept until the ledger says that it is paid.
            match self.ledger.append(owed.receipts.clone()) {
                Ok(_sequence) => owed.receipts.clear(),
                Err(e) => {
                    tracing::error!(error = %e, "alert receipts not written, they are tried again");
                    return false;
                }
            }
        }
        true
    }

    /// Receipts of alerts that the ledger has not taken yet.
    pub fn owed_receipts(&self) -> usize {
        self.owed.lock().unwrap_or_else(PoisonError::into_inner).receipts.len()
    }

    /// Replaces the rules, keeping the state of those that stay.
    pub fn reload(
        &self,
        files: &[RuleFile],
        now: TimestampMs,
        route: Route<'_>,
    ) -> Result<AlertStep, OpsError> {
        let effects = self.rules().load(files, now);
        Ok(self.settle(effects, route))
    }

    /// Evaluates the groups that are due.
    pub fn step(
        &self,
        now: TimestampMs,
        source: &dyn SeriesSource,
        context: &StepContext<'_>,
        route: Route<'_>,
    ) -> Result<AlertStep, OpsError> {
        let due = self.rules().groups().iter().filter(|g| g.is_due(now)).count();
        if due == 0 {
            return Ok(AlertStep::default());
        }
        let span = tracing::info_span!("evaluate rules", groups = due);
        let _entered = span.enter();
        let effects = self.rules().step(now, source, context);
        Ok(self.settle(effects, route))
    }

    fn settle(&self, effects: Vec<Effect>, route: Route<'_>) -> AlertStep {
        let mut step = AlertStep::default();
        let mut touched = false;
        {
            let mut book = self.book();
            for effect in effects {
                match effect {
                    Effect::Write(batch) => {
                        step.batch.series.extend(batch.series);
                        step.batch.metadata.extend(batch.metadata);
                    }
                    Effect::Alert(event) => {
                        touched = true;
                        step.changes.extend(book.apply(&event));
                    }
                    Effect::Failed(failure) => {
                        step.failures += 1;
                        tracing::warn!(
                            group = failure.group,
                            rule = failure.rule,
                            error = failure.message,
                            "rule failed"
                        );
                    }
                }
            }
        }
        {
            let mut owed = self.owed.lock().unwrap_or_else(PoisonError::into_inner);
            owed.state |= touched;
            owed.receipts.extend(step.changes.iter().map(|c| receipt(c, route)));
        }
        self.settle_debts();
        for change in &step.changes {
            match change {
                BookChange::Fired(a) => tracing::warn!(
                    alert_id = a.id,
                    alert = a.name,
                    severity = a.severity,
                    node = a.node.short(),
                    value = a.current_value,
                    "alert fired"
                ),
                BookChange::Resolved(a) => {
                    tracing::info!(alert_id = a.id, alert = a.name, "alert resolved");
                }
            }
        }
        step
    }

    /// ENGINE 2.4 objects, newest first.
    pub fn list(&self, filter: &AlertFilter, now: TimestampMs) -> Vec<Value> {
        let book = self.book();
        book.list(filter).iter().map(|a| a.to_json(is_silenced(&book, a, now))).collect()
    }

    pub fn get(&self, id: &str, now: TimestampMs) -> Option<Value> {
        let book = self.book();
        book.get(id).map(|a| a.to_json(is_silenced(&book, a, now)))
    }

    /// The alert as it is now, for the notifier.
    pub fn record(&self, id: &str) -> Option<AlertRecord> {
        self.book().get(id).cloned()
    }

    /// Whether notifications of the alert are held back by a silence or another alert.
    pub fn is_muted(&self, alert: &AlertRecord, now: TimestampMs) -> bool {
        let book = self.book();
        is_silenced(&book, alert, now) || !book.inhibited_by(alert).is_empty()
    }

    /// All firing alerts with their silences and inhibitors, sorted by rule and labels.
    pub fn routed(&self, now: TimestampMs) -> Vec<RoutedAlert> {
        let book = self.book();
        book.firing()
            .map(|a| RoutedAlert {
                alert: a.clone(),
                silenced_by: book.silenced_by(a, now),
                inhibited_by: book.inhibited_by(a),
            })
            .collect()
    }

    /// Newest first, expired ones last.
    pub fn silence_records(&self, now: TimestampMs) -> Vec<Silence> {
        self.book().silences(now)
    }

    /// Every alert that is known, resolved ones too, newest first.
    pub fn records(&self) -> Vec<AlertRecord> {
        self.book().list(&AlertFilter::default())
    }

    /// All firing alerts.
    pub fn firing(&self) -> Vec<AlertRecord> {
        self.book().firing().cloned().collect()
    }

    /// Whether acknowledgements and silences that no actor has signed are refused from now on.
    pub fn require_signed_contracts(&self, required: bool) {
        self.contracts.require(required);
    }

    /// Acknowledges; gives ENGINE's contract and the receipt's number. `signed` is the actor's
    /// DSSE envelope (`obs_proof::actor`); `Err(Invalid)` if it is not of this acknowledgement.
    pub fn ack(
        &self,
        id: &str,
        request: AckRequest,
        signed: Option<&Value>,
        now: TimestampMs,
    ) -> Result<(Value, u64), OpsError> {
        // Tried on a copy first: nothing may change by a contract that does not count.
        let would_be = ack_receipt(&self.book().clone().ack(id, request.clone(), now)?);
        let signed = self.contracts.judge(signed, &would_be, now)?;
        let mut contract = self.book().ack(id, request, now)?;
        contract.operation_id = self.operations.next(now);
        self.save()?;
        let receipt = ack_receipt(&contract).with_contract(signed);
        let sequence = self.ledger.append(vec![receipt])?;
        Ok((contract.to_json(), first(&sequence)))
    }

    /// Makes a silence; gives it and the receipt's number. `signed` as for [`Self::ack`].
    pub fn silence(
        &self,
        request: SilenceRequest,
        signed: Option<&Value>,
        now: TimestampMs,
    ) -> Result<(Value, u64), OpsError> {
        let would_be = self.book().clone().add_silence(request.clone(), now)?;
        let by = would_be.created_by.clone();
        let would_be = silence_receipt(&would_be, "alert_silence", &by, String::new());
        let signed = self.contracts.judge(signed, &would_be, now)?;
        let silence = self.book().add_silence(request, now)?;
        self.save()?;
        let id = self.operations.next(now);
        let receipt = silence_receipt(&silence, "alert_silence", &by, id).with_contract(signed);
        let sequence = self.ledger.append(vec![receipt])?;
        Ok((silence.to_json(now), first(&sequence)))
    }

    /// Ends a silence now; gives the receipt's number. `signed` as for [`Self::ack`].
    pub fn expire_silence(
        &self,
        id: &str,
        by: &str,
        signed: Option<&Value>,
        now: TimestampMs,
    ) -> Result<u64, OpsError> {
        const OPERATION: &str = "alert_silence_expire";
        let would_be = self.book().clone().expire_silence(id, now)?;
        let would_be = silence_receipt(&would_be, OPERATION, by, String::new());
        let signed = self.contracts.judge(signed, &would_be, now)?;
        let silence = self.book().expire_silence(id, now)?;
        self.save()?;
        let id = self.operations.next(now);
        let receipt = silence_receipt(&silence, OPERATION, by, id).with_contract(signed);
        Ok(first(&self.ledger.append(vec![receipt])?))
    }

    pub fn silences(&self, now: TimestampMs) -> Vec<Value> {
        self.book().silences(now).iter().map(|s| s.to_json(now)).collect()
    }

    /// Notes that a receiver took the notification.
    pub fn record_notified(&self, id: &str, receiver: &str) -> Result<(), OpsError> {
        self.book().record_notified(id, receiver);
        self.save()
    }

    /// (firing, pending)
    pub fn counts(&self) -> (usize, usize) {
        self.book().counts()
    }

    /// Rules whose last evaluation failed.
    pub fn failing_rules(&self) -> usize {
        let rules = self.rules();
        rules
            .groups()
            .iter()
            .flat_map(|g| &g.rules)
            .filter(|r| matches!(r.health, RuleHealth::Err(_)))
            .count()
    }

    /// When rules were evaluated last; `None` before the first time and where there are none.
    pub fn last_evaluation(&self) -> Option<TimestampMs> {
        self.rules().groups().iter().filter_map(|g| g.last_evaluation).max()
    }

    /// `data` of Prometheus' `/api/v1/rules`; `kind` is `alert` or `record`.
    pub fn prometheus_rules(&self, kind: Option<&str>) -> Value {
        let rules = self.rules();
        let groups: Vec<Value> = rules
            .groups()
            .iter()
            .map(|g| {
                let shown: Vec<Value> = g
                    .rules
                    .iter()
                    .filter(|r| match kind {
                        Some("alert") => matches!(r.spec.kind, RuleKind::Alert(_)),
                        Some("record") => matches!(r.spec.kind, RuleKind::Record { .. }),
                        _ => true,
                    })
                    .map(rule_json)
                    .collect();
                json!({
                    "name": g.name,
                    "file": g.file,
                    "rules": shown,
                    "interval": g.interval.as_seconds_f64(),
                    "limit": g.limit,
                    "evaluationTime": g.evaluation_time.as_secs_f64(),
                    "lastEvaluation": evaluated(g.last_evaluation),
                })
            })
            .collect();
        json!({"groups": groups})
    }

    /// `data` of Prometheus' `/api/v1/alerts`.
    pub fn prometheus_alerts(&self) -> Value {
        let rules = self.rules();
        let alerts: Vec<Value> =
            rules.groups().iter().flat_map(|g| &g.rules).flat_map(active_json).collect();
        json!({"alerts": alerts})
    }

    /// A state that the disk refuses is saved later; the caller learns that it is not durable.
    fn save(&self) -> Result<(), OpsError> {
        let saved = self.write_state();
        if saved.is_err() {
            self.owed.lock().unwrap_or_else(PoisonError::into_inner).state = true;
        }
        saved
    }

    fn write_state(&self) -> Result<(), OpsError> {
        // Evaluation and acknowledgements save at the same time; the later state must be the later
        // file, and both write through the same temporary one.
        let _one = self.saving.lock().unwrap_or_else(PoisonError::into_inner);
        let rules = self.rules().to_json();
        let book = self.book().to_json();
        for (name, value) in [(RULES_FILE, rules), (BOOK_FILE, book)] {
            let bytes = value.to_string().into_bytes();
            crate::state::write(self.disk.as_ref(), &self.data_dir.join(name), &bytes)?;
        }
        Ok(())
    }

    fn rules(&self) -> MutexGuard<'_, RuleSet> {
        self.rules.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn book(&self) -> MutexGuard<'_, AlertBook> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn first(sequence: &[u64]) -> u64 {
    sequence.first().copied().unwrap_or(0)
}

fn is_silenced(book: &AlertBook, alert: &AlertRecord, now: TimestampMs) -> bool {
    alert.status != AlertStatus::Resolved && !book.silenced_by(alert, now).is_empty()
}
