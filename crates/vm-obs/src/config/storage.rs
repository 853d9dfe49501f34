//! `storage:` of the configuration: tiers, retention, room on the disk.

use std::path::{Path, PathBuf};

use anyhow::bail;
use obs_archive::{RetentionPolicy, SignalPolicy};
use obs_ops::storage::WhenHigh;
use obs_types::DurationMs;
use serde::Deserialize;

use super::duration;

/// Shorter ages would delete hours while their late data still comes.
const AGE_MIN: DurationMs = DurationMs(86_400_000);
const CACHE_BYTES: u64 = 1 << 30;

/// Where sealed files lie and for how long.
#[derive(Clone, Debug)]
pub(crate) struct StorageConfig {
    pub policy: RetentionPolicy,
    /// Cold store; sealed files stay on the local disk without one.
    pub cold: Option<StoreConfig>,
    /// Where `storage backup` puts backups.
    pub backup: Option<StoreConfig>,
    pub cache_bytes: u64,
    pub when_high: WhenHigh,
    /// Free bytes below which the oldest hours go; a share of the disk where nothing is said.
    pub high_free: Option<u64>,
    /// Free bytes below which nothing new is taken.
    pub critical_free: Option<u64>,
}

/// One object store or folder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct StoreConfig {
    /// `s3://BUCKET/PREFIX`, `file:///FOLDER`, or a folder.
    pub address: String,
    pub endpoint: Option<String>,
    pub region: Option<String>,
    /// Else the environment.
    pub credentials_file: Option<PathBuf>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct StorageForm {
    /// Cold store. Example: `cold: s3://vm-obs/brick-01` or `cold: file:///mnt/cold`
    cold: Option<String>,
    /// Where backups go. Example: `backup: file:///mnt/backup`
    backup: Option<String>,
    /// S3 server other than AWS. Example: `endpoint: http://127.0.0.1:8333`
    endpoint: Option<String>,
    /// Region of the bucket. Example: `region: eu-central-1`
    region: Option<String>,
    /// File (mode 0600) with `AWS_ACCESS_KEY_ID=…` and `AWS_SECRET_ACCESS_KEY=…`; the environment
    /// by default. Example: `credentials_file: s3.credentials`
    credentials_file: Option<PathBuf>,
    /// Most bytes of cold files that are kept on the local disk. Example: `cache: 1GiB`
    cache: Option<String>,
    /// Example: `metrics: {warm: 30d, keep: 1y}`
    metrics: SignalForm,
    /// Example: `logs: {warm: 30d, keep: 1y, keep_errors: 5y}`
    logs: SignalForm,
    /// Example: `traces: {warm: 30d, keep: 30d, keep_errors: 5y}`
    traces: SignalForm,
    /// What happens to the oldest sealed hours when the disk gets full: `move` (to the cold store)
    /// or `delete`. Example: `when_high: move`
    when_high: Option<String>,
    /// Free bytes below which that begins; 10 % of the disk, at most 10 GB, by default.
    /// Example: `high_free: 20GB`
    high_free: Option<String>,
    /// Free bytes below which new data is refused; 3 % of the disk, at most 256 MiB, by default.
    /// Example: `critical_free: 2GB`
    critical_free: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct SignalForm {
    /// On the local disk up to this age, where there is a cold store.
    warm: Option<String>,
    /// Deleted at this age.
    keep: Option<String>,
    /// Error logs, and traces with an error, slow or sensitive ones, are deleted at this age only;
    /// `off` deletes them with the rest.
    keep_errors: Option<String>,
}

impl StorageForm {
    pub(super) fn check(
        self,
        folder: &Path,
        hot_retention: DurationMs,
    ) -> anyhow::Result<StorageConfig> {
        let engine = RetentionPolicy::ENGINE;
        let policy = RetentionPolicy {
            metrics: self.metrics.check("metrics", engine.metrics, hot_retention)?,
            logs: self.logs.check("logs", engine.logs, hot_retention)?,
            traces: self.traces.check("traces", engine.traces, hot_retention)?,
        };
        let store = |key: &str, address: Option<String>| -> anyhow::Result<Option<StoreConfig>> {
            let Some(address) = address else { return Ok(None) };
            let known = ["s3://", "file://"].iter().any(|scheme| address.starts_with(scheme));
            if address.contains("://") && !known {
                bail!(
                    "storage.{key}: {address:?} is not s3://BUCKET/PREFIX, file:///FOLDER or a folder"
                );
            }
            let address = match address.contains("://") {
                true => address,
                false => format!("file://{}", folder.join(address).display()),
            };
            Ok(Some(StoreConfig {
                address,
                endpoint: self.endpoint.clone(),
                region: self.region.clone(),
                credentials_file: self.credentials_file.as_ref().map(|f| folder.join(f)),
            }))
        };
        let size = |key: &str, text: &Option<String>| {
            text.as_deref().map(|t| bytes(&format!("storage.{key}"), t)).transpose()
        };
        Ok(StorageConfig {
            policy,
            cold: store("cold", self.cold.clone())?,
            backup: store("backup", self.backup.clone())?,
            cache_bytes: size("cache", &self.cache)?.unwrap_or(CACHE_BYTES),
            when_high: match self.when_high.as_deref() {
                None | Some("move") => WhenHigh::Move,
                Some("delete") => WhenHigh::Delete,
                Some(other) => bail!("storage.when_high: {other:?} is neither move nor delete"),
            },
            high_free: size("high_free", &self.high_free)?,
            critical_free: size("critical_free", &self.critical_free)?,
        })
    }
}

impl SignalForm {
    fn check(
        self,
        name: &str,
        standard: SignalPolicy,
        hot_retention: DurationMs,
    ) -> anyhow::Result<SignalPolicy> {
        let age = |key: &str, text: Option<&str>, standard: DurationMs| {
            let key = format!("storage.{name}.{key}");
            let age = text.map_or(Ok(standard), |t| duration(&key, t))?;
            if age < AGE_MIN {
                bail!("{key}: must be at least 1d");
            }
            Ok(age)
        };
        let keep = age("keep", self.keep.as_deref(), standard.keep)?;
        if keep < hot_retention {
            bail!(
                "storage.{name}.keep: is shorter than hot_retention, for which data is held anyway"
            );
        }
        // A shorter `keep` alone shortens what depends on it.
        let warm = age("warm", self.warm.as_deref(), standard.warm.min(keep))?;
        if warm > keep {
            bail!("storage.{name}.warm: is longer than keep");
        }
        let keep_errors = match self.keep_errors.as_deref() {
            Some("off") => None,
            Some(_) if name == "metrics" => {
                bail!("storage.metrics.keep_errors: metrics have no errors to keep")
            }
            text => match (text, standard.keep_errors) {
                (None, None) => None,
                (text, standard) => {
                    let errors = age("keep_errors", text, standard.unwrap_or(keep))?;
                    if text.is_some() && errors < keep {
                        bail!("storage.{name}.keep_errors: is shorter than keep");
                    }
                    Some(errors.max(keep))
                }
            },
        };
        Ok(SignalPolicy { warm, keep, keep_errors })
    }
}

/// `500MB`, `2GiB`, `1048576`.
fn bytes(key: &str, text: &str) -> anyhow::Result<u64> {
    let digits: String = text.chars().take_while(char::is_ascii_digit).collect();
    let unit = match text.get(digits.len()..).unwrap_or_default().trim() {
        "" | "B" => Some(1),
        "kB" | "KB" => Some(1_000),
        "MB" => Some(1_000_000),
        "GB" => Some(1_000_000_000),
        "TB" => Some(1_000_000_000_000),
        "KiB" => Some(1 << 10),
        "MiB" => Some(1 << 20),
        "GiB" => Some(1 << 30),
        "TiB" => Some(1 << 40),
        _ => None,
    };
    let number = digits.parse::<u64>().ok().zip(unit).and_then(|(n, unit)| n.checked_mul(unit));
    match number {
        Some(number) => Ok(number),
        None => bail!("{key}: {text:?} is not a size such as 500MB or 2GiB"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn parse(text: &str) -> anyhow::Result<StorageConfig> {
        Config::parse(text, Path::new("/etc/vm-obs")).map(|c| c.storage)
    }

    /// The table of ENGINE 6.2, "Retention Policies", row by row: how long each kind of data is in
    /// hot, warm and cold storage.
    #[test]
    fn engine_s_retention_table_6_2_is_the_standard() {
        let days = |n: i64| DurationMs(n * DurationMs::DAY.0);
        let all = Config::parse("", Path::new("/etc/vm-obs")).unwrap();
        let p = all.storage.policy;
        // | Metrics (raw) | 7 days | 30 days | 1 year |
        assert_eq!(
            (all.hot_retention, p.metrics.warm, p.metrics.keep),
            (days(7), days(30), days(365))
        );
        assert_eq!(p.metrics.keep_errors, None);
        // | Metrics (1h agg) | 30 days | 1 year | 5 years |, all of it beside the engine
        assert_eq!(all.aggregate_retention, Some(days(5 * 365)));
        // | Logs (all) | 7 days | 30 days | 1 year |
        assert_eq!((p.logs.warm, p.logs.keep), (days(30), days(365)));
        // | Logs (error+) | 30 days | 1 year | 5 years |
        assert_eq!(p.logs.keep_errors, Some(days(5 * 365)));
        // | Traces (sampled) | 7 days | 30 days | — |
        assert_eq!((p.traces.warm, p.traces.keep), (days(30), days(30)));
        // | Traces (errors) | 30 days | 1 year | 5 years |
        assert_eq!(p.traces.keep_errors, Some(days(5 * 365)));
    }

    #[test]
    fn what_is_written_comes_instead() {
        let c = parse("").unwrap();
        assert_eq!(c.policy, RetentionPolicy::ENGINE);
        assert_eq!((c.cold, c.when_high), (None, WhenHigh::Move));
        let c = parse(
            "storage: {cold: cold, backup: 's3://b/x', credentials_file: c, cache: 2GiB, \
             high_free: 500MB, logs: {keep: 60d}, traces: {keep_errors: off}}",
        )
        .unwrap();
        assert_eq!(c.cold.unwrap().address, "file:///etc/vm-obs/cold");
        assert_eq!(c.backup.unwrap().credentials_file, Some(PathBuf::from("/etc/vm-obs/c")));
        assert_eq!((c.cache_bytes, c.high_free), (2 << 30, Some(500_000_000)));
        assert_eq!(c.policy.logs.keep, DurationMs(60 * 86_400_000));
        assert_eq!(c.policy.traces.keep_errors, None);
    }

    #[test]
    fn mistakes_say_where() {
        for (text, wants) in [
            ("storage: {cold: 'ftp://x'}", ["storage.cold", "s3://"]),
            ("storage: {cache: 2 gigs}", ["storage.cache", "500MB"]),
            ("storage: {when_high: panic}", ["when_high", "delete"]),
            ("storage: {logs: {keep: 1h}}", ["storage.logs.keep", "1d"]),
            ("storage: {logs: {keep: 2d}}", ["storage.logs.keep", "hot_retention"]),
            ("storage: {logs: {warm: 2y}}", ["storage.logs.warm", "longer than keep"]),
            ("storage: {metrics: {keep_errors: 1y}}", ["storage.metrics", "no errors"]),
            ("storage: {logs: {keep_errors: 30d}}", ["keep_errors", "shorter"]),
            ("storage: {hot: 1d}", ["line 1", "hot"]),
        ] {
            let e = format!("{:#}", parse(text).unwrap_err());
            assert!(wants.iter().all(|w| e.contains(w)), "{text}: {e}");
        }
    }
}
