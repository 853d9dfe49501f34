use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::scrape::config::{FileDiscovery, TargetGroup, expand_glob, read_target_groups};

/// The last good content of each file.
#[derive(Default)]
pub(super) struct Files {
    known: BTreeMap<PathBuf, Vec<TargetGroup>>,
}

impl Files {
    /// A file that cannot be read keeps its last good content; one that is gone is forgotten.
    pub(super) fn read(&mut self, source: &FileDiscovery) -> Vec<TargetGroup> {
        let mut now = BTreeMap::new();
        for path in source.files.iter().flat_map(|f| expand_glob(f)) {
            let groups = read_target_groups(&path).or_else(|e| {
                tracing::warn!(error = %e, "discovery file not read");
                self.known.remove(&path).ok_or(())
            });
            if let Ok(groups) = groups {
                now.insert(path, groups);
            }
        }
        self.known = now;
        let labelled = self.known.iter().flat_map(|(path, groups)| {
            let path = path.display().to_string();
            groups.iter().map(move |group| TargetGroup {
                targets: group.targets.clone(),
                labels: group.labels.with("__meta_filepath", &path),
            })
        });
        labelled.collect()
    }
}
