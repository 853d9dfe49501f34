//! The Scheduler's configuration and its figures.
//!
//! ```yaml
//! anchors:
//!   - {name: vault, kind: file, dir: /mnt/vault/anchors, interval: 10m}
//!   - {name: repo, kind: git, dir: /srv/anchors, interval: 1h}
//!   - {name: tsa, kind: rfc3161, url: "http://tsa.example/tsr", roots: tsa-root.pem}
//!   - {name: ots, kind: opentimestamps, url: "https://calendar.example", headers: headers.txt}
//! ```
//! The file is read again when it changes; one that cannot be understood changes nothing.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, bail};
use obs_collect::registry::Registry;
use obs_disk::{Clock, Disk};
use obs_ledger::anchor::{
    Anchor, FileAnchor, GitAnchor, OpenTimestampsAnchor, Roots, Scheduled, Scheduler,
    SchedulerStats, TimeStampAnchor,
};
use obs_ledger::{Ledger, Transport};
use obs_proof::opentimestamps::BlockHeader;
use obs_types::DurationMs;
use serde::Deserialize;

use super::witness::Http;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileForm {
    anchors: Vec<AnchorForm>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct AnchorForm {
    name: String,
    kind: String,
    dir: Option<PathBuf>,
    url: Option<String>,
    /// PEM file of trusted authorities.
    roots: Option<PathBuf>,
    /// Bitcoin block headers, one a line: height, then 160 hex digits.
    headers: Option<PathBuf>,
    /// 1h by default.
    interval: Option<String>,
}

/// The Scheduler and the file that it is configured by.
pub(super) struct Anchors {
    pub(super) scheduler: Arc<Scheduler>,
    file: PathBuf,
    text: Mutex<String>,
    disk: Arc<dyn Disk>,
    transport: Arc<dyn Transport>,
    origin: String,
}

impl Anchors {
    /// `None` where the configuration names no file.
    pub(super) fn open(
        file: Option<&Path>,
        data: &Path,
        disk: &Arc<dyn Disk>,
        clock: &Arc<dyn Clock>,
        ledger: &Arc<Ledger>,
        registry: &Registry,
    ) -> anyhow::Result<Option<Arc<Self>>> {
        let Some(file) = file else { return Ok(None) };
        let text = read(file)?;
        let transport: Arc<dyn Transport> = Arc::new(Http::new()?);
        let origin = ledger.head().origin;
        let anchors = parse(file, &text, &origin, disk, &transport)?;
        let scheduler = Arc::new(Scheduler::open(
            Arc::clone(ledger),
            Arc::clone(disk),
            Arc::clone(clock),
            data.to_owned(),
            anchors,
        )?);
        register(registry, &scheduler);
        Ok(Some(Arc::new(Self {
            scheduler,
            file: file.to_owned(),
            text: Mutex::new(text),
            disk: Arc::clone(disk),
            transport,
            origin,
        })))
    }

    /// Takes over a changed file, then does what is due.
    pub(super) fn tick(&self) {
        if let Err(e) = self.reload() {
            tracing::error!(error = format!("{e:#}"), "anchors not reloaded, the old ones go on");
        }
        if let Err(e) = self.scheduler.tick() {
            tracing::error!(error = %e, "anchor not recorded, it is tried again");
        }
    }

    fn reload(&self) -> anyhow::Result<()> {
        let text = read(&self.file)?;
        let mut known = self.text.lock().unwrap_or_else(PoisonError::into_inner);
        if *known == text {
            return Ok(());
        }
        // Told once for each change, not with every tick.
        known.clone_from(&text);
        let anchors = parse(&self.file, &text, &self.origin, &self.disk, &self.transport)?;
        self.scheduler.reload(anchors)?;
        tracing::info!(file = %self.file.display(), "anchors reloaded");
        Ok(())
    }
}

fn read(path: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

fn parse(
    file: &Path,
    text: &str,
    origin: &str,
    disk: &Arc<dyn Disk>,
    transport: &Arc<dyn Transport>,
) -> anyhow::Result<Vec<Scheduled>> {
    let inner = || -> anyhow::Result<Vec<Scheduled>> {
        let form: FileForm = serde_saphyr::from_str(text).map_err(|e| anyhow::anyhow!("{e}"))?;
        let folder = file.parent().unwrap_or(Path::new("."));
        let mut out: Vec<Scheduled> = Vec::new();
        for form in form.anchors {
            let name = form.name.clone();
            let plain = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
            if name.is_empty() || !name.chars().all(plain) {
                bail!("name {name:?} may hold only letters, digits, '-' and '_'");
            }
            if out.iter().any(|s| s.name == name) {
                bail!("two anchors have the name {name:?}");
            }
            let scheduled = one(form, folder, origin, disk, transport);
            out.push(scheduled.with_context(|| format!("anchor {name:?}"))?);
        }
        Ok(out)
    };
    inner().with_context(|| format!("in {}", file.display()))
}

fn one(
    form: AnchorForm,
    folder: &Path,
    origin: &str,
    disk: &Arc<dyn Disk>,
    transport: &Arc<dyn Transport>,
) -> anyhow::Result<Scheduled> {
    let interval = form.interval.as_deref().unwrap_or("1h");
    let interval = obs_query::parse_duration(interval).context("interval")?;
    if interval < DurationMs(1_000) {
        bail!("interval: at least 1s");
    }
    let dir = form.dir.map(|d| folder.join(d));
    let dir = || dir.clone().context("dir is missing");
    let url = || form.url.as_deref().context("url is missing");
    let anchor: Box<dyn Anchor> = match form.kind.as_str() {
        "file" => Box::new(FileAnchor::new(dir()?, Arc::clone(disk))),
        "git" => Box::new(GitAnchor::new(dir()?, origin)),
        "rfc3161" => {
            let pem = form.roots.context("roots is missing: the authority's root as PEM")?;
            let roots = Roots::from_pem(&read(&folder.join(pem))?)?;
            Box::new(TimeStampAnchor::new(url()?, roots, Arc::clone(transport)))
        }
        "opentimestamps" => {
            let headers = match form.headers {
                Some(file) => read_headers(&read(&folder.join(file))?)?,
                None => BTreeMap::new(),
            };
            let headers = Box::new(move |height: u64| headers.get(&height).copied());
            Box::new(OpenTimestampsAnchor::new(url()?, Arc::clone(transport), headers))
        }
        other => bail!("kind {other:?} is not file, git, rfc3161 or opentimestamps"),
    };
    Ok(Scheduled { name: form.name, interval, anchor })
}

fn read_headers(text: &str) -> anyhow::Result<BTreeMap<u64, BlockHeader>> {
    let mut out = BTreeMap::new();
    for (i, line) in text.lines().enumerate().filter(|(_, l)| !l.trim().is_empty()) {
        let bad = || format!("headers line {}: not a height and 160 hex digits", i + 1);
        let (height, hex) = line.trim().split_once(' ').with_context(bad)?;
        let bytes = obs_proof::hash::from_hex("header", hex.trim()).with_context(bad)?;
        let header: [u8; 80] = bytes.try_into().ok().with_context(bad)?;
        out.insert(height.parse().with_context(bad)?, BlockHeader::from_bytes(&header));
    }
    Ok(out)
}

/// The six figures of VaultMesh's Scheduler, and the depth of the queue that its alert watches.
fn register(registry: &Registry, scheduler: &Arc<Scheduler>) {
    type Read = fn(&SchedulerStats) -> f64;
    let counters: [(&str, &str, Read); 3] = [
        ("scheduler_anchor_attempts_total", "Attempts to anchor the ledger.", |s| {
            s.attempts as f64
        }),
        ("scheduler_anchor_failures_total", "Attempts that failed.", |s| s.failures as f64),
        ("scheduler_config_reload_total", "Times the anchors were configured anew.", |s| {
            s.config_reloads as f64
        }),
    ];
    let gauges: [(&str, &str, Read); 4] = [
        ("scheduler_backoff_level", "Worst back-off level of all anchors, 0 to 5.", |s| {
            f64::from(s.backoff_level)
        }),
        ("scheduler_uptime_seconds", "How long the Scheduler has been running.", |s| {
            s.uptime_ms as f64 / 1_000.0
        }),
        ("scheduler_last_anchor_timestamp", "Time of the last anchor, Unix seconds.", |s| {
            s.last_anchor.map_or(0.0, |t| t.as_seconds_f64())
        }),
        ("guardian_anchor_queue_depth", "Receipts that some anchor does not cover yet.", |s| {
            s.queue_depth as f64
        }),
    ];
    let value = |read: Read| {
        let scheduler = Arc::downgrade(scheduler);
        move || scheduler.upgrade().map_or(f64::NAN, |s| read(&s.stats()))
    };
    for (name, help, read) in counters {
        registry.counter_callback(name, help, &[], value(read));
    }
    for (name, help, read) in gauges {
        registry.gauge_callback(name, help, &[], value(read));
    }
}

#[cfg(test)]
mod tests {
    use obs_disk::FakeDisk;

    use super::*;

    struct Nobody;

    impl Transport for Nobody {
        fn post(&self, _: &str, _: &str, _: Vec<u8>) -> Result<(u16, Vec<u8>), String> {
            Err("nobody".to_owned())
        }

        fn get(&self, _: &str) -> Result<(u16, Vec<u8>), String> {
            Err("nobody".to_owned())
        }
    }

    fn parsed(text: &str) -> anyhow::Result<Vec<Scheduled>> {
        let disk: Arc<dyn Disk> = Arc::new(FakeDisk::new());
        let transport: Arc<dyn Transport> = Arc::new(Nobody);
        parse(Path::new("/etc/anchors.yaml"), text, "log", &disk, &transport)
    }

    #[test]
    fn kinds_and_intervals() {
        let found = parsed(
            "anchors:\n- {name: a, kind: file, dir: x, interval: 10m}\n- {name: b, kind: git, dir: /y}\n- {name: c, kind: opentimestamps, url: http://c}\n",
        )
        .unwrap();
        let shown: Vec<(&str, i64, String)> =
            found.iter().map(|s| (s.anchor.kind(), s.interval.0, s.anchor.target())).collect();
        assert_eq!(
            shown,
            [
                ("file", 600_000, "/etc/x".to_owned()),
                ("git", 3_600_000, "/y".to_owned()),
                ("opentimestamps", 3_600_000, "http://c".to_owned()),
            ]
        );
    }

    #[test]
    fn mistakes_name_the_file_and_the_anchor() {
        for (text, says) in [
            ("anchors: [{name: a, kind: moon}]", "moon"),
            ("anchors: [{name: a, kind: file}]", "dir is missing"),
            ("anchors: [{name: a, kind: rfc3161, url: x}]", "roots is missing"),
            ("anchors: [{name: a b, kind: file, dir: x}]", "letters"),
            ("anchors: [{name: a, kind: file, dir: x, interval: 1ms}]", "at least 1s"),
            (
                "anchors: [{name: a, kind: git, dir: x}, {name: a, kind: git, dir: x}]",
                "two anchors",
            ),
            ("anchor: []", "anchor"),
        ] {
            let e = format!("{:#}", parsed(text).err().unwrap());
            assert!(e.contains(says) && e.contains("/etc/anchors.yaml"), "{text}: {e}");
        }
    }

    #[test]
    fn headers_are_read_by_height() {
        let found = read_headers(&format!("7 {}\n\n", "00".repeat(80))).unwrap();
        assert_eq!(found.keys().copied().collect::<Vec<_>>(), [7]);
        assert!(read_headers("7 00").is_err() && read_headers("x").is_err());
    }
}
