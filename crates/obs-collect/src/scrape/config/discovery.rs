//! Where targets come from: static groups and files.

use std::path::{Path, PathBuf};
use std::time::Duration;

use obs_types::LabelSet;

use super::forms::{FileSdForm, GroupForm};
use super::units::duration;
use super::{Checker, ScrapeConfigError};

/// Targets with their common labels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetGroup {
    pub targets: Vec<String>,
    pub labels: LabelSet,
}

/// Files that list target groups; read again every `refresh`.
#[derive(Clone, Debug)]
pub struct FileDiscovery {
    /// Paths whose last component may hold one `*`.
    pub files: Vec<PathBuf>,
    pub refresh: Duration,
}

/// Reads a `file_sd` file: a list of `{targets, labels}` in YAML or JSON.
pub fn read_target_groups(path: &Path) -> Result<Vec<TargetGroup>, ScrapeConfigError> {
    let fail = |message: String| ScrapeConfigError { path: path.to_owned(), message };
    let text = std::fs::read_to_string(path).map_err(|e| fail(e.to_string()))?;
    let groups: Vec<GroupForm> = serde_saphyr::from_str(&text).map_err(|e| fail(e.to_string()))?;
    groups.into_iter().map(|g| group(g).map_err(fail)).collect()
}

impl Checker {
    pub(super) fn file_sd(&self, form: FileSdForm) -> Result<FileDiscovery, String> {
        if form.files.is_empty() {
            return Err("file service discovery config must contain at least one path name".into());
        }
        for file in &form.files {
            let name = file.rsplit('/').next().unwrap_or(file);
            let known = [".json", ".yml", ".yaml"].iter().any(|e| name.ends_with(e));
            if !known
                || name.matches('*').count() > 1
                || file.matches('*').count() > name.matches('*').count()
            {
                return Err(format!("path name {file:?} is not valid for file discovery"));
            }
        }
        Ok(FileDiscovery {
            files: form.files.iter().map(|f| self.path(f)).collect(),
            refresh: form
                .refresh_interval
                .as_deref()
                .map_or(Ok(Duration::from_secs(30)), |t| duration("refresh_interval", t))?,
        })
    }
}

pub(super) fn group(form: GroupForm) -> Result<TargetGroup, String> {
    let labels = form.labels.unwrap_or_default();
    for (name, value) in &labels {
        if !valid_label_name(name) {
            return Err(format!("{name:?} is not a valid label name"));
        }
        if value.contains('\0') {
            return Err(format!("label {name:?} has an invalid value"));
        }
    }
    for target in &form.targets {
        check_target(target)?;
    }
    Ok(TargetGroup { targets: form.targets, labels: LabelSet::from_iter(labels) })
}

fn check_target(target: &str) -> Result<(), String> {
    if target.contains('/') {
        return Err(format!("{target:?} is not a valid hostname: it is an address, not a URL"));
    }
    if target.is_empty() {
        return Err("empty target".to_owned());
    }
    Ok(())
}

/// UTF-8 names are allowed since Prometheus 3; only the empty one is not.
pub(super) fn valid_label_name(name: &str) -> bool {
    !name.is_empty()
}
