//! Dashboards: those that packs and files bring, those that people save, and what was saved before.
//!
//! Invariants:
//! - A version that was acknowledged is a file of its own below `dashboards/UID/`, durable before
//!   its receipt, and is never written again.
//! - What is shown is always a dashboard that was read without a fatal problem; a file that turned
//!   bad leaves the one that runs where it is.
//! - A saved dashboard stands before one of a file or pack with the same uid; deleting it brings
//!   that one back.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use obs_dash::{Dashboard, Language, Linted, Problem, Severity, SourceTypes, lint};
use obs_disk::Disk;
use obs_ledger::{ConfigChange, Ledger, Receipt};
use obs_types::{ContentHash, TimestampMs};
use serde_json::{Value, json};

use crate::{DayIds, OpsError, state};

/// Says why an expression of a language is none.
pub type QueryChecker = Arc<dyn Fn(&Language, &str) -> Result<(), String> + Send + Sync>;

/// Where a dashboard comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DashboardOrigin {
    Pack(String),
    /// A file of the configuration or of a provider.
    File {
        path: PathBuf,
        /// Name of the provider; empty for the configuration's own files.
        provider: String,
        /// Whether a person may save over it.
        editable: bool,
    },
    Saved,
}

impl DashboardOrigin {
    /// `pack`, `file` or `saved`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Pack(_) => "pack",
            Self::File { .. } => "file",
            Self::Saved => "saved",
        }
    }
}

/// One dashboard as it is shown.
#[derive(Clone, Debug)]
pub struct InstalledDashboard {
    pub dashboard: Dashboard,
    pub origin: DashboardOrigin,
    /// Of what was saved; 0 for what a pack or file brings.
    pub version: u64,
    /// Whether a pack or file would be shown if the saved one were deleted.
    pub covers: bool,
}

impl InstalledDashboard {
    pub fn new(dashboard: Dashboard, origin: DashboardOrigin) -> Self {
        Self { dashboard, origin, version: 0, covers: false }
    }

    /// The pack that brought it.
    pub fn pack(&self) -> Option<&str> {
        match &self.origin {
            DashboardOrigin::Pack(name) => Some(name),
            DashboardOrigin::File { .. } | DashboardOrigin::Saved => None,
        }
    }
}

/// One save or deletion.
#[derive(Clone, Debug, PartialEq)]
pub struct DashboardVersion {
    pub version: u64,
    pub saved_at: TimestampMs,
    pub by: String,
    pub message: String,
    /// BLAKE3 of the Grafana JSON, `None` for a deletion.
    pub hash: Option<ContentHash>,
    /// Grafana JSON, `None` for a deletion.
    pub dashboard: Option<Value>,
}

/// What a person wants to save.
#[derive(Clone, Debug, Default)]
pub struct SaveRequest {
    /// Grafana JSON of any generation.
    pub text: String,
    /// The uid under which it is saved; that of the file where it is empty, else one made of the
    /// title.
    pub uid: String,
    pub by: String,
    pub message: String,
    /// The version that was edited: another one by now is a conflict. `None` saves in any case.
    pub based_on: Option<u64>,
    /// Saves in spite of problems that are not fatal.
    pub force: bool,
}

/// What was saved.
#[derive(Clone, Debug)]
pub struct Saved {
    pub uid: String,
    pub version: u64,
    /// Number of the receipt; `None` where nothing changed.
    pub receipt: Option<u64>,
    pub created: bool,
    pub problems: Vec<Problem>,
}

/// A file of a provider, whose faults are told while the old dashboard stays.
#[derive(Clone, Debug)]
pub struct FaultyFile {
    pub path: PathBuf,
    pub problems: Vec<Problem>,
    /// Whether an older content of the file is still shown.
    pub older_shown: bool,
}

/// Why a save was refused.
#[derive(Debug)]
pub enum SaveError {
    Problems(Vec<Problem>),
    Other(OpsError),
}

impl From<OpsError> for SaveError {
    fn from(e: OpsError) -> Self {
        Self::Other(e)
    }
}

/// Longest file that is read as a dashboard.
pub const DASHBOARD_BYTES_MAX: usize = 16 << 20;

/// Keeps the dashboards and their versions.
#[expect(missing_debug_implementations, reason = "holds a closure")]
pub struct DashboardService {
    dir: PathBuf,
    disk: Arc<dyn Disk>,
    ledger: Arc<Ledger>,
    operations: Arc<DayIds>,
    check: QueryChecker,
    state: Mutex<State>,
    /// One save at a time: a version's number, its file and its receipt belong together.
    saving: Mutex<()>,
}

#[derive(Default)]
struct State {
    /// Of packs and the configuration's files, in load order.
    installed: Vec<Arc<InstalledDashboard>>,
    /// Of providers, by uid.
    provided: BTreeMap<String, Arc<InstalledDashboard>>,
    faulty: Vec<FaultyFile>,
    notices: Vec<String>,
    saved: BTreeMap<String, Arc<InstalledDashboard>>,
    /// Newest version by uid, deletions included.
    newest: BTreeMap<String, u64>,
}

impl DashboardService {
    /// `installed` are those of packs and configuration. Versions whose receipt is missing (the
    /// process ended between the two) get it now, where the ledger can be written.
    pub fn open(
        data_dir: &Path,
        disk: Arc<dyn Disk>,
        ledger: Arc<Ledger>,
        operations: Arc<DayIds>,
        check: QueryChecker,
        installed: Vec<InstalledDashboard>,
    ) -> Result<Self, OpsError> {
        let service = Self {
            dir: data_dir.join("dashboards"),
            disk,
            ledger,
            operations,
            check,
            state: Mutex::default(),
            saving: Mutex::new(()),
        };
        let mut state =
            State { installed: installed.into_iter().map(Arc::new).collect(), ..State::default() };
        for uid in service.saved_uids()? {
            let Some(last) = service.version_numbers(&uid)?.pop() else { continue };
            let version = service.read_version(&uid, last)?;
            state.newest.insert(uid.clone(), last);
            if let Some(json) = &version.dashboard {
                let dashboard = Dashboard::from_grafana_value(json).map_err(|e| {
                    service.refuse(&service.version_path(&uid, last), e.to_string())
                })?;
                let mut shown = InstalledDashboard::new(dashboard, DashboardOrigin::Saved);
                shown.version = last;
                state.saved.insert(uid, Arc::new(shown));
            }
        }
        *service.lock() = state;
        Ok(service)
    }

    /// Appends the receipt of every newest version that has none. For a ledger open for writing.
    pub fn reconcile(&self, now: TimestampMs) -> Result<usize, OpsError> {
        let newest = self.lock().newest.clone();
        if newest.is_empty() {
            return Ok(0);
        }
        let mut on_record: BTreeMap<String, Option<ContentHash>> = BTreeMap::new();
        self.ledger.read(0, &mut |_seq, line| {
            if line.contains("\"subject\":\"dashboard:")
                && let Ok(receipt) = serde_json::from_str::<Value>(line)
                && let Some(uid) = receipt
                    .get("subject")
                    .and_then(Value::as_str)
                    .and_then(|s| s.strip_prefix("dashboard:"))
            {
                let hash = receipt.get("new_hash").and_then(Value::as_str);
                on_record.insert(uid.to_owned(), hash.and_then(|h| h.parse().ok()));
            }
            true
        })?;
        let mut mended = 0;
        for (uid, last) in newest {
            let version = self.read_version(&uid, last)?;
            let before = on_record.get(&uid).copied();
            if before == Some(version.hash) {
                continue;
            }
            self.receipt(&uid, before.flatten(), &version, now)?;
            mended += 1;
        }
        Ok(mended)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn refuse(&self, path: &Path, reason: String) -> OpsError {
        OpsError::State { path: path.to_owned(), reason }
    }

    /// What is shown, in the order of packs, files, providers and saves; one of each uid.
    pub fn list(&self) -> Vec<Arc<InstalledDashboard>> {
        let state = self.lock();
        let mut out: Vec<Arc<InstalledDashboard>> = Vec::new();
        let mut shown: BTreeMap<&str, usize> = BTreeMap::new();
        for d in state.installed.iter().chain(state.provided.values()).chain(state.saved.values()) {
            match shown.get(d.dashboard.uid.as_str()) {
                Some(at) => {
                    if let Some(place) = out.get_mut(*at) {
                        let mut over = InstalledDashboard::clone(d);
                        over.covers = true;
                        *place = Arc::new(over);
                    }
                }
                None => {
                    shown.insert(&d.dashboard.uid, out.len());
                    out.push(Arc::clone(d));
                }
            }
        }
        out
    }

    pub fn get(&self, uid: &str) -> Option<Arc<InstalledDashboard>> {
        self.list().into_iter().find(|d| d.dashboard.uid == uid)
    }

    /// Files of providers that are not shown as they are now.
    pub fn faulty(&self) -> Vec<FaultyFile> {
        self.lock().faulty.clone()
    }

    /// What was read otherwise than written, in the providers' own files.
    pub fn notices(&self) -> Vec<String> {
        self.lock().notices.clone()
    }

    /// Everything wrong with a file, its queries included.
    pub fn lint(&self, text: &str) -> Linted {
        self.lint_with(text, &SourceTypes::new())
    }

    /// As [`Self::lint`], where the types of some data sources are known by their names.
    pub fn lint_with(&self, text: &str, sources: &SourceTypes) -> Linted {
        lint(text, sources, &|language, expr| (self.check)(language, expr))
    }

    /// Takes what the providers' folders hold now.
    pub fn provide(
        &self,
        dashboards: Vec<InstalledDashboard>,
        faulty: Vec<FaultyFile>,
        notices: Vec<String>,
    ) {
        let mut state = self.lock();
        state.provided =
            dashboards.into_iter().map(|d| (d.dashboard.uid.clone(), Arc::new(d))).collect();
        state.faulty = faulty;
        state.notices = notices;
    }

    /// Saves a dashboard under its uid: the file first, the receipt second. Refused as a whole if
    /// it has a fatal problem, or, in place of one that runs, an error which that one has not.
    pub fn save(&self, request: &SaveRequest, now: TimestampMs) -> Result<Saved, SaveError> {
        if request.text.len() > DASHBOARD_BYTES_MAX {
            return Err(OpsError::Invalid(format!(
                "the dashboard has {} bytes; at most {DASHBOARD_BYTES_MAX} are read",
                request.text.len()
            ))
            .into());
        }
        let linted = self.lint(&request.text);
        let problems = linted.problems.clone();
        let fatal = linted.is_fatal();
        let (Some(imported), false) = (linted.imported, fatal) else {
            return Err(SaveError::Problems(problems));
        };
        let mut dashboard = imported.dashboard;
        if !request.uid.is_empty() {
            dashboard.uid.clone_from(&request.uid);
        }
        if dashboard.uid.is_empty() {
            dashboard.uid = uid_of_title(&dashboard.title);
        }
        // Numbers and hashes must not depend on where the file came from.
        for name in ["id", "version", "iteration"] {
            dashboard.extra.remove(name);
        }
        let uid = dashboard.uid.clone();
        let _one_at_a_time = self.saving.lock().unwrap_or_else(PoisonError::into_inner);
        let running = self.get(&uid);
        if let Some(running) = &running {
            self.may_replace(running, request, &problems)?;
        }
        let json = dashboard.to_grafana();
        let hash = hash_of(&json);
        let before = running.as_ref().map(|r| hash_of(&r.dashboard.to_grafana()));
        if let Some(running) = running.as_ref().filter(|r| r.version > 0 && before == Some(hash)) {
            let version = running.version;
            return Ok(Saved { uid, version, receipt: None, created: false, problems });
        }
        let number = self.lock().newest.get(&uid).copied().unwrap_or(0) + 1;
        let version = DashboardVersion {
            version: number,
            saved_at: now,
            by: request.by.clone(),
            message: request.message.clone(),
            hash: Some(hash),
            dashboard: Some(json),
        };
        self.write_version(&uid, &version)?;
        let mut shown = InstalledDashboard::new(dashboard, DashboardOrigin::Saved);
        shown.version = number;
        {
            let mut state = self.lock();
            state.newest.insert(uid.clone(), number);
            state.saved.insert(uid.clone(), Arc::new(shown));
        }
        let receipt = Some(self.receipt(&uid, before, &version, now)?);
        Ok(Saved { uid, version: number, receipt, created: running.is_none(), problems })
    }

    fn may_replace(
        &self,
        running: &InstalledDashboard,
        request: &SaveRequest,
        problems: &[Problem],
    ) -> Result<(), SaveError> {
        let uid = &running.dashboard.uid;
        if let DashboardOrigin::File { path, editable: false, .. } = &running.origin {
            return Err(OpsError::Conflict(format!(
                "dashboard {uid:?} comes from {}, whose provider does not allow changes here; \
                 change the file, set allowUiUpdates, or save it under another uid",
                path.display()
            ))
            .into());
        }
        if let Some(based_on) = request.based_on
            && based_on != running.version
        {
            return Err(OpsError::Conflict(format!(
                "dashboard {uid:?} was saved as version {} after version {based_on} was opened; \
                 load it again, or save without a version to replace it",
                running.version
            ))
            .into());
        }
        let old = running.dashboard.to_grafana().to_string();
        let old: Vec<(&str, String)> =
            self.lint(&old).problems.into_iter().map(|p| (p.code, p.message)).collect();
        let is_new = |p: &&Problem| {
            p.severity == Severity::Error
                && !old.iter().any(|(code, message)| *code == p.code && *message == p.message)
        };
        let worse: Vec<Problem> = problems.iter().filter(is_new).cloned().collect();
        if !worse.is_empty() && !request.force {
            return Err(SaveError::Problems(worse));
        }
        Ok(())
    }

    /// Deletes what was saved; a pack's or file's dashboard of the uid is shown again. Gives the
    /// receipt's number.
    pub fn delete(&self, uid: &str, by: &str, now: TimestampMs) -> Result<u64, OpsError> {
        let _one_at_a_time = self.saving.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(running) = self.lock().saved.get(uid).cloned() else {
            return Err(match self.get(uid) {
                Some(other) => OpsError::Conflict(format!(
                    "dashboard {uid:?} comes from a {} and was not changed here; remove it there",
                    other.origin.kind()
                )),
                None => OpsError::NotFound(format!("there is no dashboard {uid:?}")),
            });
        };
        let before = hash_of(&running.dashboard.to_grafana());
        let version = DashboardVersion {
            version: running.version + 1,
            saved_at: now,
            by: by.to_owned(),
            message: "deleted".to_owned(),
            hash: None,
            dashboard: None,
        };
        self.write_version(uid, &version)?;
        {
            let mut state = self.lock();
            state.newest.insert(uid.to_owned(), version.version);
            state.saved.remove(uid);
        }
        self.receipt(uid, Some(before), &version, now)
    }

    fn receipt(
        &self,
        uid: &str,
        before: Option<ContentHash>,
        version: &DashboardVersion,
        now: TimestampMs,
    ) -> Result<u64, OpsError> {
        let summary = match (&version.hash, version.message.as_str()) {
            (None, _) => format!("dashboard {uid} deleted as version {}", version.version),
            (Some(_), "") => format!("dashboard {uid} saved as version {}", version.version),
            (Some(_), said) => {
                format!("dashboard {uid} saved as version {}: {said}", version.version)
            }
        };
        let sequence = self.ledger.append(vec![Receipt::config_change(ConfigChange {
            operation_id: self.operations.next(now),
            subject: format!("dashboard:{uid}"),
            initiated_by: version.by.clone(),
            old_hash: before,
            new_hash: version.hash,
            summary,
        })])?;
        sequence.first().copied().ok_or_else(|| {
            OpsError::Conflict("the ledger gave no number for the receipt".to_owned())
        })
    }

    /// Every version, newest first, without the dashboards themselves.
    pub fn versions(&self, uid: &str) -> Result<Vec<DashboardVersion>, OpsError> {
        let mut out = Vec::new();
        for number in self.version_numbers(uid)?.into_iter().rev() {
            let version = self.read_version(uid, number)?;
            out.push(DashboardVersion { dashboard: None, ..version });
        }
        Ok(out)
    }

    /// One version; `None` if there is none of the number.
    pub fn version(&self, uid: &str, number: u64) -> Result<Option<DashboardVersion>, OpsError> {
        match self.version_numbers(uid)?.contains(&number) {
            true => self.read_version(uid, number).map(Some),
            false => Ok(None),
        }
    }

    fn saved_uids(&self) -> Result<Vec<String>, OpsError> {
        let entries =
            self.disk.list(&self.dir).map_err(|e| self.refuse(&self.dir, e.to_string()))?;
        Ok(entries.into_iter().filter(|e| e.is_dir).map(|e| e.name).collect())
    }

    /// Ascending.
    fn version_numbers(&self, uid: &str) -> Result<Vec<u64>, OpsError> {
        // What is no uid names no folder.
        if !is_uid(uid) {
            return Ok(Vec::new());
        }
        let dir = self.dir.join(uid);
        let entries = self.disk.list(&dir).map_err(|e| self.refuse(&dir, e.to_string()))?;
        let number = |name: &str| name.strip_suffix(".json").and_then(|n| n.parse().ok());
        let mut out: Vec<u64> = entries.iter().filter_map(|e| number(&e.name)).collect();
        out.sort_unstable();
        Ok(out)
    }

    fn version_path(&self, uid: &str, number: u64) -> PathBuf {
        self.dir.join(uid).join(format!("{number:06}.json"))
    }

    fn write_version(&self, uid: &str, version: &DashboardVersion) -> Result<(), OpsError> {
        let path = self.version_path(uid, version.version);
        let file = json!({
            "v": 1, "version": version.version, "saved_at_ms": version.saved_at.0,
            "by": version.by, "message": version.message,
            "hash": version.hash.map(|h| h.to_string()), "dashboard": version.dashboard,
        });
        state::write(self.disk.as_ref(), &path, format!("{file:#}\n").as_bytes())
    }

    fn read_version(&self, uid: &str, number: u64) -> Result<DashboardVersion, OpsError> {
        let path = self.version_path(uid, number);
        let bytes = self.disk.read(&path).map_err(|e| self.refuse(&path, e.to_string()))?;
        let mut file: Value =
            serde_json::from_slice(&bytes).map_err(|e| self.refuse(&path, e.to_string()))?;
        let text = |name: &str| file.get(name).and_then(Value::as_str).unwrap_or_default();
        let hash = file.get("hash").and_then(Value::as_str).and_then(|h| h.parse().ok());
        let saved_at = file.get("saved_at_ms").and_then(Value::as_i64).unwrap_or(0);
        let (by, message) = (text("by").to_owned(), text("message").to_owned());
        let dashboard = file.get_mut("dashboard").map(Value::take).filter(|d| !d.is_null());
        let saved_at = TimestampMs(saved_at);
        Ok(DashboardVersion { version: number, saved_at, by, message, hash, dashboard })
    }
}

fn hash_of(dashboard: &Value) -> ContentHash {
    ContentHash(obs_proof::hash::blake3_of(dashboard.to_string().as_bytes()))
}

/// At most 40 letters, digits, `-` and `_`: also safe as the name of a folder.
fn is_uid(uid: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    !uid.is_empty() && uid.len() <= 40 && uid.chars().all(plain)
}

/// `Node / CPU %` becomes `node-cpu`.
fn uid_of_title(title: &str) -> String {
    let lower = title.to_lowercase();
    let words: Vec<&str> =
        lower.split(|c: char| !c.is_ascii_alphanumeric()).filter(|w| !w.is_empty()).collect();
    let uid: String = words.join("-").chars().take(40).collect();
    let uid = uid.trim_end_matches('-').to_owned();
    if uid.is_empty() { "dashboard".to_owned() } else { uid }
}

#[cfg(test)]
mod tests {
    use obs_disk::{FakeDisk, Fault, ManualClock};
    use obs_ledger::{LedgerConfig, LedgerMode};

    use super::*;

    const NOW: TimestampMs = TimestampMs(1_765_029_600_000);

    struct Bench {
        disk: Arc<FakeDisk>,
        ledger: Arc<Ledger>,
    }

    impl Bench {
        fn new() -> Self {
            let disk = Arc::new(FakeDisk::new());
            let clock = Arc::new(ManualClock::new(NOW));
            let config = LedgerConfig::in_data_dir(
                "/data",
                Arc::clone(&disk) as Arc<dyn Disk>,
                clock,
                "vm-obs.test/a/observability",
                LedgerMode::ReadWrite,
            );
            Self { ledger: Arc::new(Ledger::open(config).unwrap()), disk }
        }

        fn open(&self, installed: Vec<InstalledDashboard>) -> DashboardService {
            let ids = DayIds::from_ledger(&self.ledger, "obs-op-", "operation_id").unwrap();
            let check: QueryChecker = Arc::new(|_, expr| match expr.contains("(((") {
                true => Err("unclosed".to_owned()),
                false => Ok(()),
            });
            let disk = Arc::clone(&self.disk) as Arc<dyn Disk>;
            let ledger = Arc::clone(&self.ledger);
            DashboardService::open(
                Path::new("/data"),
                disk,
                ledger,
                Arc::new(ids),
                check,
                installed,
            )
            .unwrap()
        }

        fn receipts(&self) -> Vec<Value> {
            let mut out = Vec::new();
            self.ledger
                .read(0, &mut |_seq, line| {
                    out.push(serde_json::from_str(line).unwrap());
                    true
                })
                .unwrap();
            out
        }
    }

    fn board(title: &str, expr: &str) -> String {
        json!({"title": title, "uid": "t", "panels": [
            {"type": "stat", "id": 1, "title": "P", "targets": [{"refId": "A", "expr": expr}]}]})
        .to_string()
    }

    fn request(text: String) -> SaveRequest {
        SaveRequest { text, by: "did:vm:user:ada".to_owned(), ..SaveRequest::default() }
    }

    #[test]
    fn a_save_is_a_version_with_a_receipt_and_outlives_a_restart() {
        let bench = Bench::new();
        let service = bench.open(Vec::new());
        let first = service.save(&request(board("One", "up")), NOW).unwrap();
        assert_eq!((first.version, first.receipt, first.created), (1, Some(0), true));
        // The same again is no change.
        let again = service.save(&request(board("One", "up")), NOW).unwrap();
        assert_eq!((again.version, again.receipt), (1, None));
        let second = service.save(&request(board("Two", "up")), NOW).unwrap();
        assert_eq!((second.version, second.receipt, second.created), (2, Some(1), false));
        let receipts = bench.receipts();
        assert_eq!(receipts[1]["subject"], "dashboard:t");
        assert_eq!(receipts[1]["old_hash"], receipts[0]["new_hash"]);

        let service = bench.open(Vec::new());
        assert_eq!(service.reconcile(NOW).unwrap(), 0);
        assert_eq!(service.get("t").unwrap().dashboard.title, "Two");
        let numbers: Vec<u64> = service.versions("t").unwrap().iter().map(|v| v.version).collect();
        assert_eq!(numbers, [2, 1]);
        let old = service.version("t", 1).unwrap().unwrap().dashboard.unwrap();
        assert_eq!(old["title"], "One");
        assert!(service.versions("../x").unwrap().is_empty());

        service.delete("t", "did:vm:user:ada", NOW).unwrap();
        assert!(service.get("t").is_none());
        assert!(bench.open(Vec::new()).get("t").is_none());
        assert_eq!(bench.receipts()[2]["new_hash"], Value::Null);
        // A new one goes on counting.
        assert_eq!(service.save(&request(board("Three", "up")), NOW).unwrap().version, 4);
    }

    #[test]
    fn a_faulty_dashboard_never_replaces_the_one_that_runs() {
        let bench = Bench::new();
        let pack = Dashboard::from_grafana(&board("Pack", "up")).unwrap();
        let origin = DashboardOrigin::Pack("host".to_owned());
        let service = bench.open(vec![InstalledDashboard::new(pack, origin)]);
        let refused = |text: String| match service.save(&request(text), NOW).unwrap_err() {
            SaveError::Problems(all) => all.into_iter().map(|p| p.code).collect::<Vec<_>>(),
            SaveError::Other(e) => panic!("{e}"),
        };
        assert_eq!(refused("{".to_owned()), ["not-json"]);
        assert_eq!(refused(board("", "up")), ["no-title"]);
        assert_eq!(refused(board("New", "sum(((")), ["query-syntax"]);
        assert_eq!(service.get("t").unwrap().dashboard.title, "Pack");
        assert!(bench.receipts().is_empty());
        let forced = SaveRequest { force: true, ..request(board("New", "sum(((")) };
        assert_eq!(service.save(&forced, NOW).unwrap().version, 1);
        // The fault is in the one that runs, so another save with it is no step back.
        assert_eq!(service.save(&request(board("Newer", "sum(((")), NOW).unwrap().version, 2);
        let shown = service.get("t").unwrap();
        assert!(shown.covers && shown.origin == DashboardOrigin::Saved);
        // Deleting brings the pack's back.
        service.delete("t", "x", NOW).unwrap();
        assert_eq!(service.get("t").unwrap().dashboard.title, "Pack");
        assert!(matches!(service.delete("t", "x", NOW), Err(OpsError::Conflict(_))));
        assert!(matches!(service.delete("none", "x", NOW), Err(OpsError::NotFound(_))));
    }

    #[test]
    fn an_edit_of_an_older_version_is_a_conflict() {
        let bench = Bench::new();
        let service = bench.open(Vec::new());
        service.save(&request(board("One", "up")), NOW).unwrap();
        service.save(&request(board("Two", "up")), NOW).unwrap();
        let late = SaveRequest { based_on: Some(1), ..request(board("Three", "up")) };
        let e = service.save(&late, NOW).unwrap_err();
        assert!(matches!(&e, SaveError::Other(OpsError::Conflict(m)) if m.contains("version 2")));
        let fresh = SaveRequest { based_on: Some(2), ..request(board("Three", "up")) };
        assert_eq!(service.save(&fresh, NOW).unwrap().version, 3);
    }

    #[test]
    fn a_file_of_a_provider_is_changed_only_where_it_may_be() {
        let bench = Bench::new();
        let service = bench.open(Vec::new());
        let provided = |editable| {
            let d = Dashboard::from_grafana(&board("File", "up")).unwrap();
            let path = PathBuf::from("/p/t.json");
            let origin = DashboardOrigin::File { path, provider: "p".to_owned(), editable };
            vec![InstalledDashboard::new(d, origin)]
        };
        service.provide(provided(false), Vec::new(), Vec::new());
        let e = service.save(&request(board("Mine", "up")), NOW).unwrap_err();
        assert!(matches!(&e, SaveError::Other(OpsError::Conflict(m)) if m.contains("/p/t.json")));
        service.provide(provided(true), Vec::new(), Vec::new());
        assert_eq!(service.save(&request(board("Mine", "up")), NOW).unwrap().version, 1);
        assert_eq!(service.list().len(), 1);
    }

    /// Each disk operation of a save fails once: what was acknowledged is there after a restart,
    /// with its receipt, and what was refused is not shown.
    #[test]
    fn a_save_that_fails_anywhere_leaves_the_old_or_the_new() {
        for n in 0..40 {
            let bench = Bench::new();
            let service = bench.open(Vec::new());
            service.save(&request(board("Old", "up")), NOW).unwrap();
            bench.disk.fault_after(n, Fault::Fail);
            let saved = service.save(&request(board("New", "up")), NOW).is_ok();
            bench.disk.clear_fault();
            let service = bench.open(Vec::new());
            let title = service.get("t").unwrap().dashboard.title.clone();
            assert!(title == "New" || (!saved && title == "Old"), "at {n}: {saved} {title}");
        }
    }

    #[test]
    fn uids_of_titles() {
        assert_eq!(uid_of_title("Node / CPU %"), "node-cpu");
        assert_eq!(uid_of_title("…"), "dashboard");
        assert!(is_uid(&uid_of_title(&"long word ".repeat(20))));
    }
}
