//! What was saved before: a file for each version below `dashboards/UID/`.

use std::path::PathBuf;

use obs_types::TimestampMs;
use serde_json::{Value, json};

use super::{DashboardService, DashboardVersion, is_uid};
use crate::{OpsError, state};

impl DashboardService {
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

    pub(super) fn saved_uids(&self) -> Result<Vec<String>, OpsError> {
        let entries =
            self.disk.list(&self.dir).map_err(|e| self.refuse(&self.dir, e.to_string()))?;
        Ok(entries.into_iter().filter(|e| e.is_dir).map(|e| e.name).collect())
    }

    /// Ascending.
    pub(super) fn version_numbers(&self, uid: &str) -> Result<Vec<u64>, OpsError> {
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

    pub(super) fn version_path(&self, uid: &str, number: u64) -> PathBuf {
        self.dir.join(uid).join(format!("{number:06}.json"))
    }

    pub(super) fn write_version(
        &self,
        uid: &str,
        version: &DashboardVersion,
    ) -> Result<(), OpsError> {
        let path = self.version_path(uid, version.version);
        let file = json!({
            "v": 1, "version": version.version, "saved_at_ms": version.saved_at.0,
            "by": version.by, "message": version.message,
            "hash": version.hash.map(|h| h.to_string()), "dashboard": version.dashboard,
        });
        state::write(self.disk.as_ref(), &path, format!("{file:#}\n").as_bytes())
    }

    pub(super) fn read_version(
        &self,
        uid: &str,
        number: u64,
    ) -> Result<DashboardVersion, OpsError> {
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
