//! Dashboards: those that packs and files bring, those that people save, and what was saved before.
//!
//! Invariants:
//! - A version that was acknowledged is a file of its own below `dashboards/UID/`, durable before
//!   its receipt, and is never written again.
//! - What is shown is always a dashboard that was read without a fatal problem; a file that turned
//!   bad leaves the one that runs where it is.
//! - A saved dashboard stands before one of a file or pack with the same uid; deleting it brings
//!   that one back.

#[cfg(test)]
mod tests;
mod versions;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use obs_dash::{Dashboard, Language, Linted, Problem, Severity, SourceTypes, lint};
use obs_disk::Disk;
use obs_ledger::{ConfigChange, Ledger, Receipt};
use obs_types::{ContentHash, TimestampMs};
use serde_json::Value;

use crate::{DayIds, OpsError};

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
