use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use obs_disk::Disk;
use obs_types::{LabelSet, LogSource, QueryContext, SeriesSource, TraceSource};

use crate::logs_file::LogsFile;
use crate::metrics_read::MetricsFile;
use crate::records::HourKey;
use crate::seal::{Records, Seal, SealDetails};
use crate::tier::{ColdTier, TierDisk};
use crate::traces_file::TracesFile;
use crate::verify::{VerifiedSeal, verify_seal};
use crate::{ArchiveError, Hour, SealName, Signal, seal_logs, seal_metrics, seal_traces};

mod hold;
mod prove;
mod write;

pub use hold::HeldHour;
pub use prove::SealedRecord;

/// Open files kept per signal; each holds the index of one hour.
const OPEN_FILES_MAX: usize = 512;
/// Label sets shared between the indexes of different hours.
const INTERNED_MAX: usize = 2_000_000;

/// The sealed hours below one data folder: writes them, lists them, reads them back.
///
/// Invariants: a sealed file is never opened for writing again; a file is in the list only after
/// it was read back; a file that cannot be read is skipped by queries, counted and named by
/// [`Archive::problems`].
#[derive(Debug)]
pub struct Archive {
    data_dir: PathBuf,
    /// Reads cold files as if they were local.
    disk: Arc<dyn Disk>,
    cold: Option<Arc<ColdTier>>,
    seal_key: SealKey,
    state: Mutex<State>,
    /// Hours that somebody writes a file of.
    held: Mutex<BTreeSet<(Signal, Hour)>>,
}

/// Secret from which the salts of sealed hours are derived; never printed.
struct SealKey([u8; 32]);

impl std::fmt::Debug for SealKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SealKey(…)")
    }
}

#[derive(Default)]
struct State {
    names: BTreeSet<SealName>,
    /// Deleted by policy: their numbers are not used again, and nobody looks for them.
    retired: BTreeSet<SealName>,
    metrics: BTreeMap<SealName, Arc<MetricsFile>>,
    logs: BTreeMap<SealName, Arc<LogsFile>>,
    traces: BTreeMap<SealName, Arc<TracesFile>>,
    interned: HashSet<LabelSet>,
    problems: BTreeMap<String, String>,
    problem_count: u64,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State").field("files", &self.names.len()).finish_non_exhaustive()
    }
}

/// What the archive holds and could not read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ArchiveStats {
    pub sealed_files: u64,
    /// Files that could not be read at least once.
    pub unreadable_files: u64,
    /// Times a query had to leave one out.
    pub skipped_reads: u64,
}

/// The bytes of a seal before they are on disk.
pub(crate) struct Built {
    pub(crate) bytes: Vec<u8>,
    /// The side file.
    pub(crate) tree: Vec<u8>,
    pub(crate) records: Records,
    pub(crate) details: SealDetails,
}

impl Archive {
    /// Lists what is sealed below `data_dir`; opens no file. `seal_key` is the installation's
    /// secret (32 random bytes kept beside the ledger keys).
    pub fn open(
        data_dir: impl Into<PathBuf>,
        disk: Arc<dyn Disk>,
        seal_key: [u8; 32],
    ) -> Result<Self, ArchiveError> {
        Self::start(data_dir.into(), disk, None, seal_key)
    }

    /// [`Archive::open`] with files that were moved to a store: what `cold` knows is listed and
    /// read like the local ones, also what it gets to know after a [`Archive::refresh`].
    pub fn open_tiered(
        data_dir: impl Into<PathBuf>,
        disk: Arc<dyn Disk>,
        seal_key: [u8; 32],
        cold: Arc<ColdTier>,
    ) -> Result<Self, ArchiveError> {
        let data_dir = data_dir.into();
        let tiers = TierDisk::new(disk, data_dir.clone(), Arc::clone(&cold));
        Self::start(data_dir, Arc::new(tiers), Some(cold), seal_key)
    }

    fn start(
        data_dir: PathBuf,
        disk: Arc<dyn Disk>,
        cold: Option<Arc<ColdTier>>,
        seal_key: [u8; 32],
    ) -> Result<Self, ArchiveError> {
        let state = Mutex::new(State::default());
        let held = Mutex::default();
        let archive = Self { data_dir, disk, cold, seal_key: SealKey(seal_key), state, held };
        archive.refresh()?;
        Ok(archive)
    }

    /// The cold files, where there is a cold tier.
    pub fn cold(&self) -> Option<&Arc<ColdTier>> {
        self.cold.as_ref()
    }

    /// A disk that reads cold files like local ones, for whoever verifies them.
    pub fn disk(&self) -> &Arc<dyn Disk> {
        &self.disk
    }

    /// Looks at the folders again, for files that another process sealed or that were removed.
    pub fn refresh(&self) -> Result<(), ArchiveError> {
        let mut names = list_seals(self.disk.as_ref(), &self.data_dir)?;
        let cold = self.cold.iter().flat_map(|cold| cold.paths());
        names.extend(cold.filter_map(|path| SealName::from_storage_path(&path)));
        let mut state = self.lock();
        names.retain(|name| !state.retired.contains(name));
        state.metrics.retain(|name, _| names.contains(name));
        state.logs.retain(|name, _| names.contains(name));
        state.traces.retain(|name, _| names.contains(name));
        state.names = names;
        Ok(())
    }

    /// Seals the metrics of one hour. `Err(AlreadySealed)` if that revision exists; revision
    /// `r > 0` holds only what no lower revision has. Equal data gives equal bytes.
    pub fn seal_metrics(
        &self,
        hour: Hour,
        revision: u32,
        source: &dyn SeriesSource,
    ) -> Result<Seal, ArchiveError> {
        self.seal(SealName::new(Signal::Metrics, hour, revision), |name| {
            seal_metrics::build(self, name, source)
        })
    }

    /// As [`Archive::seal_metrics`].
    pub fn seal_logs(
        &self,
        hour: Hour,
        revision: u32,
        source: &dyn LogSource,
    ) -> Result<Seal, ArchiveError> {
        self.seal(SealName::new(Signal::Logs, hour, revision), |name| {
            seal_logs::build(self, name, source)
        })
    }

    /// As [`Archive::seal_metrics`]. A span belongs to the hour in which it ended.
    pub fn seal_traces(
        &self,
        hour: Hour,
        revision: u32,
        source: &dyn TraceSource,
    ) -> Result<Seal, ArchiveError> {
        self.seal(SealName::new(Signal::Traces, hour, revision), |name| {
            seal_traces::build(self, name, source)
        })
    }

    /// Seals what arrived after the hour was sealed, as the next revision; `None` if nothing did.
    pub fn backfill_metrics(
        &self,
        hour: Hour,
        source: &dyn SeriesSource,
    ) -> Result<Option<Seal>, ArchiveError> {
        self.backfill(Signal::Metrics, hour, |name| seal_metrics::build(self, name, source))
    }

    /// As [`Archive::backfill_metrics`].
    pub fn backfill_logs(
        &self,
        hour: Hour,
        source: &dyn LogSource,
    ) -> Result<Option<Seal>, ArchiveError> {
        self.backfill(Signal::Logs, hour, |name| seal_logs::build(self, name, source))
    }

    /// As [`Archive::backfill_metrics`].
    pub fn backfill_traces(
        &self,
        hour: Hour,
        source: &dyn TraceSource,
    ) -> Result<Option<Seal>, ArchiveError> {
        self.backfill(Signal::Traces, hour, |name| seal_traces::build(self, name, source))
    }

    /// Writes what retention keeps longer of some files of one hour, as the hour's next revision:
    /// log lines of level error and above; traces with an error, slow or sensitive ones. Queries
    /// do not see it before [`Archive::replace`]. `Err` if any of the files cannot be read whole,
    /// or if they are metrics, of which nothing is kept longer.
    pub fn extract_errors(&self, files: &[SealName]) -> Result<Seal, ArchiveError> {
        let Some(first) = files.first() else {
            return Err(ArchiveError::NotASeal { path: String::new() });
        };
        let name = self.next_name(*first)?;
        let built = match first.signal {
            Signal::Metrics => {
                return Err(ArchiveError::NotASeal { path: first.storage_path() });
            }
            Signal::Logs => seal_logs::extract(self, name, files)?,
            Signal::Traces => seal_traces::extract(self, name, files)?,
        };
        self.write_seal(name, built)
    }

    /// The highest revision of the files' hour, retired ones included.
    fn last_revision(&self, files: &[SealName]) -> Option<u32> {
        let hour = files.first()?;
        let state = self.lock();
        let all = state.names.iter().chain(&state.retired);
        all.filter(|n| (n.signal, n.hour) == (hour.signal, hour.hour)).map(|n| n.revision).max()
    }

    /// From one moment to the next queries read `new` and no longer `old`.
    pub fn replace(&self, old: &[SealName], new: Option<SealName>) {
        let mut state = self.lock();
        for name in old {
            state.names.remove(name);
            state.metrics.remove(name);
            state.logs.remove(name);
            state.traces.remove(name);
            state.retired.insert(*name);
        }
        state.names.extend(new);
    }

    /// Every sealed file of a signal, by hour, then revision.
    pub fn sealed(&self, signal: Signal) -> Vec<SealName> {
        self.lock().names.iter().filter(|n| n.signal == signal).copied().collect()
    }

    /// Whether revision 0 of the hour is there.
    pub fn is_sealed(&self, signal: Signal, hour: Hour) -> bool {
        self.lock().names.contains(&SealName::new(signal, hour, 0))
    }

    /// The first and the last sealed hour.
    pub fn sealed_span(&self, signal: Signal) -> Option<(Hour, Hour)> {
        let state = self.lock();
        let mut hours = state.names.iter().filter(|n| n.signal == signal).map(|n| n.hour);
        let first = hours.next()?;
        Some((first, hours.next_back().unwrap_or(first)))
    }

    /// Hours in `[from, to]` that are not sealed.
    pub fn gaps(&self, signal: Signal, from: Hour, to: Hour) -> Vec<Hour> {
        let state = self.lock();
        std::iter::successors(Some(from), |h| Some(h.next()))
            .take_while(|h| *h <= to)
            .filter(|h| !state.names.contains(&SealName::new(signal, *h, 0)))
            .collect()
    }

    /// Files that could not be read, with the reason; by path.
    pub fn problems(&self) -> Vec<(String, String)> {
        self.lock().problems.iter().map(|(path, why)| (path.clone(), why.clone())).collect()
    }

    pub fn stats(&self) -> ArchiveStats {
        let state = self.lock();
        ArchiveStats {
            sealed_files: state.names.len() as u64,
            unreadable_files: state.problems.len() as u64,
            skipped_reads: state.problem_count,
        }
    }

    /// Hashes a sealed file and recomputes its record tree from its rows; see [`verify_seal`].
    pub fn verify_file(&self, storage_path: &str) -> Result<VerifiedSeal, ArchiveError> {
        verify_seal(&self.disk, &self.data_dir, storage_path)
    }

    /// The record tree's root over the rows as they are in the file now.
    pub fn records_root(&self, storage_path: &str) -> Result<Records, ArchiveError> {
        self.verify_file(storage_path).map(|v| v.records)
    }

    pub(crate) fn hour_key(&self, name: SealName) -> HourKey {
        HourKey::derive(&self.seal_key.0, name)
    }

    /// Revisions below `name`'s own that are still there, in order.
    pub(crate) fn earlier(&self, name: SealName) -> Vec<SealName> {
        let state = self.lock();
        (0..name.revision)
            .map(|r| SealName::new(name.signal, name.hour, r))
            .filter(|n| !state.retired.contains(n))
            .collect()
    }

    /// Names of a signal whose hour lies in `[from, to]` (either side open if `None`), in order.
    pub(crate) fn names_between(
        &self,
        signal: Signal,
        from: Option<Hour>,
        to: Option<Hour>,
    ) -> Vec<SealName> {
        self.lock()
            .names
            .iter()
            .filter(|n| n.signal == signal)
            .filter(|n| from.is_none_or(|h| n.hour >= h) && to.is_none_or(|h| n.hour <= h))
            .copied()
            .collect()
    }

    pub(crate) fn open_metrics(&self, name: SealName) -> Result<Arc<MetricsFile>, ArchiveError> {
        if let Some(file) = self.lock().metrics.get(&name) {
            return Ok(Arc::clone(file));
        }
        let path = name.storage_path();
        let mut intern = |labels: LabelSet| self.intern(labels);
        let file = MetricsFile::open(&self.disk, self.data_dir.join(&path), &path, &mut intern)?;
        let file = Arc::new(file);
        remember(&mut self.lock().metrics, name, &file);
        Ok(file)
    }

    pub(crate) fn open_logs(&self, name: SealName) -> Result<Arc<LogsFile>, ArchiveError> {
        if let Some(file) = self.lock().logs.get(&name) {
            return Ok(Arc::clone(file));
        }
        let path = name.storage_path();
        let file = Arc::new(LogsFile::open(&self.disk, self.data_dir.join(&path), &path)?);
        remember(&mut self.lock().logs, name, &file);
        Ok(file)
    }

    pub(crate) fn open_traces(&self, name: SealName) -> Result<Arc<TracesFile>, ArchiveError> {
        if let Some(file) = self.lock().traces.get(&name) {
            return Ok(Arc::clone(file));
        }
        let path = name.storage_path();
        let file = Arc::new(TracesFile::open(&self.disk, self.data_dir.join(&path), &path)?);
        remember(&mut self.lock().traces, name, &file);
        Ok(file)
    }

    /// Turns an unreadable file into `None`, so that the other hours are still served; the loss
    /// is logged, counted, listed and said in the answer.
    pub(crate) fn or_skip<T>(
        &self,
        context: &QueryContext,
        name: SealName,
        result: Result<T, ArchiveError>,
    ) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(e) => {
                let path = name.storage_path();
                let reason = e.into_source().message;
                context.warnings.add(format!("{path} is left out: {reason}"));
                let mut state = self.lock();
                state.problem_count += 1;
                if state.problems.insert(path.clone(), reason.clone()).is_none() {
                    tracing::error!(path, reason, "sealed file left out of queries");
                }
                None
            }
        }
    }

    fn intern(&self, labels: LabelSet) -> LabelSet {
        let mut state = self.lock();
        if let Some(known) = state.interned.get(&labels) {
            return known.clone();
        }
        if state.interned.len() >= INTERNED_MAX {
            state.interned.clear();
        }
        state.interned.insert(labels.clone());
        labels
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change of the state is a single insert: a panic elsewhere leaves it whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Evicts the oldest hour: queries look at recent ones most.
fn remember<T>(open: &mut BTreeMap<SealName, Arc<T>>, name: SealName, file: &Arc<T>) {
    if open.len() >= OPEN_FILES_MAX {
        open.pop_first();
    }
    open.insert(name, Arc::clone(file));
}

fn list_seals(disk: &dyn Disk, data_dir: &Path) -> Result<BTreeSet<SealName>, ArchiveError> {
    let list = |path: PathBuf| {
        disk.list(&path).map_err(|source| ArchiveError::Disk { action: "list", path, source })
    };
    let mut names = BTreeSet::new();
    for signal in Signal::ALL {
        let folder = data_dir.join("telemetry").join(signal.as_str());
        for date in list(folder.clone())?.into_iter().filter(|e| e.is_dir) {
            for file in list(folder.join(&date.name))? {
                names.extend(SealName::from_parts(signal, &date.name, &file.name));
            }
        }
    }
    Ok(names)
}
