//! Dashboards from files: those that the configuration names and those of Grafana's provisioning
//! folder (`dashboards/*.yaml`, `datasources/*.yaml`), read as they are and watched.
//!
//! Invariant: a dashboard that was read once is shown until a sound content of its file replaces
//! it, or the file is gone and its provider lets dashboards go.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::bail;
use obs_collect::scrape::expand_glob;
use obs_dash::{Language, Problem, Severity, SourceTypes};
use obs_ops::{
    DASHBOARD_BYTES_MAX, DashboardOrigin, DashboardService, FaultyFile, InstalledDashboard,
};
use serde::Deserialize;

/// Files of one provider, and how deep its folders are followed.
const FILES_MAX: usize = 5_000;
const DEPTH_MAX: usize = 8;

/// What tells that a file was written anew.
type Stamp = (Option<SystemTime>, u64);

/// Keeps what the files held when they were last sound.
#[derive(Debug, Default)]
pub(crate) struct Provisioning {
    /// Of the configuration; the last part may hold `*`.
    globs: Vec<PathBuf>,
    /// Grafana's provisioning folder.
    root: Option<PathBuf>,
    seen: BTreeMap<PathBuf, Seen>,
    /// Of the provider files that were read, by path; kept while one is faulty.
    providers: BTreeMap<PathBuf, Vec<Provider>>,
    sources: BTreeMap<PathBuf, Vec<Source>>,
    told: BTreeSet<String>,
}

#[derive(Debug)]
struct Seen {
    stamp: Stamp,
    sources: SourceTypes,
    board: Option<InstalledDashboard>,
    problems: Vec<Problem>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Provider {
    name: String,
    #[serde(rename = "type")]
    kind: Option<String>,
    disable_deletion: bool,
    allow_ui_updates: bool,
    options: ProviderOptions,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct ProviderOptions {
    // `folder` in the first version of the file.
    #[serde(alias = "folder")]
    path: Option<PathBuf>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ProviderFile {
    providers: Vec<Provider>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Source {
    name: String,
    uid: String,
    #[serde(rename = "type")]
    kind: String,
    url: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct SourceFile {
    datasources: Vec<Source>,
}

/// A file that should be shown, and how.
struct Wanted {
    path: PathBuf,
    provider: String,
    editable: bool,
}

impl Provisioning {
    /// `root` is Grafana's folder with `dashboards/` and `datasources/`; it must be there.
    pub(crate) fn new(globs: Vec<PathBuf>, root: Option<PathBuf>) -> anyhow::Result<Self> {
        if let Some(root) = root.as_ref().filter(|r| !r.is_dir()) {
            bail!("grafana_provisioning: {} is no folder", root.display());
        }
        Ok(Self { globs, root, ..Self::default() })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.globs.is_empty() && self.root.is_none()
    }

    /// Reads what has changed and hands all of it to `service`.
    pub(crate) fn scan(&mut self, service: &DashboardService) {
        let mut faulty = Vec::new();
        let mut notices = Vec::new();
        self.read_sources(&mut faulty, &mut notices);
        let wanted = self.wanted(&mut faulty, &mut notices);
        let types = self.source_types();
        let mut present = BTreeSet::new();
        for file in &wanted {
            present.insert(file.path.clone());
            self.read(file, &types, service);
        }
        let keep: BTreeMap<&str, bool> = self
            .providers
            .values()
            .flatten()
            .map(|p| (p.name.as_str(), p.disable_deletion))
            .collect();
        let stays = |s: &Seen| {
            let origin = s.board.as_ref().map(|b| &b.origin);
            matches!(origin, Some(DashboardOrigin::File { provider, .. })
                if keep.get(provider.as_str()).copied().unwrap_or(false))
        };
        self.seen.retain(|path, seen| present.contains(path) || stays(seen));
        let mut boards: Vec<InstalledDashboard> = Vec::new();
        let mut taken: BTreeMap<String, PathBuf> = BTreeMap::new();
        for (path, seen) in &self.seen {
            if !seen.problems.is_empty() {
                let older_shown = seen.board.is_some();
                faulty.push(FaultyFile {
                    path: path.clone(),
                    problems: seen.problems.clone(),
                    older_shown,
                });
            }
            let Some(board) = &seen.board else { continue };
            match taken.get(&board.dashboard.uid) {
                Some(first) => notices.push(format!(
                    "{}: has the uid {:?} of {} and is not shown",
                    path.display(),
                    board.dashboard.uid,
                    first.display()
                )),
                None => {
                    taken.insert(board.dashboard.uid.clone(), path.clone());
                    boards.push(board.clone());
                }
            }
        }
        self.tell(&faulty, &notices);
        service.provide(boards, faulty, notices);
    }

    /// Each fault is logged when it is new, not at every look.
    fn tell(&mut self, faulty: &[FaultyFile], notices: &[String]) {
        let mut now = BTreeSet::new();
        for f in faulty {
            let problem = f.problems.first().map_or_else(String::new, ToString::to_string);
            let line = f.problems.first().map_or(0, |p| p.line);
            let text = format!("{}:{line}: {problem}", f.path.display());
            if !self.told.contains(&text) {
                tracing::warn!(older_shown = f.older_shown, "dashboard file not taken: {text}");
            }
            now.insert(text);
        }
        for notice in notices {
            if !self.told.contains(notice) {
                tracing::info!(notice, "dashboard provisioning");
            }
            now.insert(notice.clone());
        }
        self.told = now;
    }

    fn read(&mut self, file: &Wanted, types: &SourceTypes, service: &DashboardService) {
        let stamp = stamp_of(&file.path);
        if let Some(seen) = self.seen.get_mut(&file.path)
            && seen.stamp == stamp
            && seen.sources == *types
        {
            // The provider's own settings may have changed.
            if let Some(DashboardOrigin::File { provider, editable, .. }) =
                seen.board.as_mut().map(|b| &mut b.origin)
            {
                provider.clone_from(&file.provider);
                *editable = file.editable;
            }
            return;
        }
        let before = self.seen.remove(&file.path).and_then(|s| s.board);
        let (board, problems) = match read_limited(&file.path) {
            Ok(text) => {
                let linted = service.lint_with(&text, types);
                let fatal: Vec<Problem> =
                    linted.problems.iter().filter(|p| p.fatal).cloned().collect();
                // A worse one does not replace the one that runs.
                let errors = || -> Vec<Problem> {
                    let all = linted.problems.iter();
                    all.filter(|p| p.severity == Severity::Error).cloned().collect()
                };
                let worse = if before.is_some() { errors() } else { fatal };
                match linted.imported {
                    Some(imported) if worse.is_empty() => {
                        let mut dashboard = imported.dashboard;
                        if dashboard.uid.is_empty() {
                            let stem = file.path.file_stem().unwrap_or_default();
                            dashboard.uid = plain(&stem.to_string_lossy());
                        }
                        let origin = DashboardOrigin::File {
                            path: file.path.clone(),
                            provider: file.provider.clone(),
                            editable: file.editable,
                        };
                        (Some(InstalledDashboard::new(dashboard, origin)), Vec::new())
                    }
                    _ => (before, worse),
                }
            }
            Err(reason) => (before, vec![whole_file(reason, 0)]),
        };
        let seen = Seen { stamp, sources: types.clone(), board, problems };
        self.seen.insert(file.path.clone(), seen);
    }

    /// Names and uids of the data sources with their type.
    fn source_types(&self) -> SourceTypes {
        let all = self.sources.values().flatten();
        all.flat_map(|s| [(s.name.clone(), s.kind.clone()), (s.uid.clone(), s.kind.clone())])
            .filter(|(name, _)| !name.is_empty())
            .collect()
    }

    fn read_sources(&mut self, faulty: &mut Vec<FaultyFile>, notices: &mut Vec<String>) {
        let Some(root) = &self.root else { return };
        let files = yaml_files(&root.join("datasources"));
        self.sources.retain(|path, _| files.contains(path));
        for path in files {
            match read_yaml::<SourceFile>(&path) {
                Ok(file) => {
                    for s in &file.datasources {
                        let shown = format!("{}: data source {:?}", path.display(), s.name);
                        if !Language::from_datasource_type(&s.kind).is_known() {
                            notices.push(format!(
                                "{shown} is of type {:?}, which vm-obs does not speak",
                                s.kind
                            ));
                        } else if !s.url.is_empty() {
                            notices
                                .push(format!("{shown} at {} is answered by vm-obs itself", s.url));
                        }
                    }
                    self.sources.insert(path, file.datasources);
                }
                Err(problem) => {
                    let older_shown = self.sources.contains_key(&path);
                    faulty.push(FaultyFile { path, problems: vec![problem], older_shown });
                }
            }
        }
    }

    /// Every dashboard file there should be: the configuration's first.
    fn wanted(&mut self, faulty: &mut Vec<FaultyFile>, notices: &mut Vec<String>) -> Vec<Wanted> {
        let mut out: Vec<Wanted> = self
            .globs
            .iter()
            .flat_map(|glob| expand_glob(glob))
            .map(|path| Wanted { path, provider: String::new(), editable: true })
            .collect();
        let Some(root) = self.root.clone() else { return out };
        let files = yaml_files(&root.join("dashboards"));
        self.providers.retain(|path, _| files.contains(path));
        for path in files {
            match read_providers(&path) {
                Ok(all) => {
                    self.providers.insert(path, all);
                }
                Err(problem) => {
                    let older_shown = self.providers.contains_key(&path);
                    faulty.push(FaultyFile { path, problems: vec![problem], older_shown });
                }
            }
        }
        for (path, provider) in
            self.providers.iter().flat_map(|(p, all)| all.iter().map(move |a| (p, a)))
        {
            let name = &provider.name;
            if let Some(kind) = provider.kind.as_deref().filter(|k| *k != "file") {
                notices.push(format!(
                    "{}: provider {name:?} is of type {kind:?}; only file is read",
                    path.display()
                ));
                continue;
            }
            let Some(given) = &provider.options.path else {
                notices.push(format!("{}: provider {name:?} has no options.path", path.display()));
                continue;
            };
            let given = with_environment(given);
            let Some(folder) = folder_of(&root, &given) else {
                notices.push(format!(
                    "{}: provider {name:?} names {}, which is not here",
                    path.display(),
                    given.display()
                ));
                continue;
            };
            if folder != given {
                notices.push(format!(
                    "{}: provider {name:?} names {}; {} is read in its place",
                    path.display(),
                    given.display(),
                    folder.display()
                ));
            }
            let mut found = Vec::new();
            json_files(&folder, 0, &mut found);
            if found.len() >= FILES_MAX {
                notices.push(format!(
                    "{}: only the first {FILES_MAX} files are read",
                    folder.display()
                ));
            }
            out.extend(found.into_iter().map(|path| Wanted {
                path,
                provider: name.clone(),
                editable: provider.allow_ui_updates,
            }));
        }
        out
    }
}

fn whole_file(message: String, line: u64) -> Problem {
    Problem {
        severity: Severity::Error,
        code: "unreadable",
        path: String::new(),
        about: Box::default(),
        line,
        message,
        expected: "a file as Grafana's provisioning reads it".to_owned(),
        fatal: true,
    }
}

fn stamp_of(path: &Path) -> Stamp {
    std::fs::metadata(path).map_or((None, 0), |m| (m.modified().ok(), m.len()))
}

fn read_limited(path: &Path) -> Result<String, String> {
    let (_, len) = stamp_of(path);
    if len > DASHBOARD_BYTES_MAX as u64 {
        return Err(format!("has {len} bytes; at most {DASHBOARD_BYTES_MAX} are read"));
    }
    std::fs::read_to_string(path).map_err(|e| e.to_string())
}

fn read_yaml<T: for<'de> Deserialize<'de>>(path: &Path) -> Result<T, Problem> {
    let text = read_limited(path).map_err(|e| whole_file(e, 0))?;
    serde_saphyr::from_str(&text).map_err(|e| {
        let line = e.location().map_or(0, |l| l.line());
        let reason = e.to_string().lines().next().unwrap_or_default().to_owned();
        whole_file(reason, line)
    })
}

/// Today's form with `providers`, or the list alone of the first version.
fn read_providers(path: &Path) -> Result<Vec<Provider>, Problem> {
    match read_yaml::<ProviderFile>(path) {
        Ok(file) => Ok(file.providers),
        Err(problem) => read_yaml::<Vec<Provider>>(path).map_err(|_not_a_list| problem),
    }
}

/// Files directly in a folder, sorted.
fn yaml_files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut out: Vec<PathBuf> = entries
        .map(|e| e.path())
        .filter(|p| p.extension().is_some_and(|e| e == "yaml" || e == "yml"))
        .collect();
    out.sort();
    out
}

fn json_files(folder: &Path, depth: usize, out: &mut Vec<PathBuf>) {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut entries: Vec<PathBuf> = entries.map(|e| e.path()).collect();
    entries.sort();
    for path in entries {
        if out.len() >= FILES_MAX {
            return;
        }
        if path.is_dir() && depth < DEPTH_MAX {
            json_files(&path, depth + 1, out);
        } else if path.extension().is_some_and(|e| e == "json") {
            out.push(path);
        }
    }
}

/// `$NAME` and `${NAME}` as Grafana fills them in.
fn with_environment(path: &Path) -> PathBuf {
    let text = path.to_string_lossy();
    let mut out = String::new();
    let mut rest: &str = &text;
    while let Some((before, after)) = rest.split_once('$') {
        out.push_str(before);
        let (name, tail) = match after.strip_prefix('{').and_then(|a| a.split_once('}')) {
            Some((name, tail)) => (name, tail),
            None => {
                let word = |c: char| !c.is_ascii_alphanumeric() && c != '_';
                after.split_at(after.find(word).unwrap_or(after.len()))
            }
        };
        out.push_str(&std::env::var(name).unwrap_or_default());
        rest = tail;
    }
    out.push_str(rest);
    PathBuf::from(out)
}

/// The folder that a provider means. Paths of a container are looked for where a compose file
/// usually mounts them from: `/etc/grafana/provisioning/…` is the provisioning folder itself, any
/// other is looked for beside it by its last parts.
fn folder_of(root: &Path, given: &Path) -> Option<PathBuf> {
    let relative = if given.is_absolute() { None } else { Some(root.join(given)) };
    if let Some(folder) = relative.filter(|f| f.is_dir()) {
        return Some(folder);
    }
    if given.is_absolute() && given.is_dir() {
        return Some(given.to_owned());
    }
    if let Ok(inside) = given.strip_prefix("/etc/grafana/provisioning") {
        return Some(root.join(inside)).filter(|f| f.is_dir());
    }
    let parts: Vec<_> = given.components().collect();
    let near = [root.parent(), root.parent().and_then(Path::parent), Some(root)];
    for skip in 1..parts.len() {
        let tail: PathBuf = parts.iter().skip(skip).collect();
        let found = near.into_iter().flatten().map(|n| n.join(&tail)).find(|f| f.is_dir());
        if found.is_some() {
            return found;
        }
    }
    None
}

/// A file's name as a uid.
fn plain(name: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '-' || c == '_' { c } else { '-' };
    name.chars().map(plain).take(40).collect()
}

#[cfg(test)]
mod tests;
