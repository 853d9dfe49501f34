//! Fills a world from a folder: a Prometheus, Grafana and Alertmanager set-up, a pack, or both.

mod grafana;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use obs_collect::scrape::PrometheusConfig;
use obs_rules::{ReadOptions, RuleFile};
use obs_types::TimestampMs;
use serde_json::Value;

use super::compose::{self, Compose, Kind, below, parent};
use super::notify_file::read_notify;
use super::world::{DataSource, RuleInput, World};
use super::{Check, Finding, runbook};

/// Larger files are no configuration.
const FILE_BYTES_MAX: u64 = 8 << 20;
const FILES_MAX: usize = 20_000;
const FOLDERS_SKIPPED: [&str; 4] = ["node_modules", "target", "venv", "__pycache__"];

#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FolderError {
    #[error("cannot read {}: {source}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{}: more than {FILES_MAX} files; name the folder that holds the monitoring", path.display())]
    TooManyFiles { path: PathBuf },
    #[error("{}: no rules, dashboards, scrape or notification configuration in here", path.display())]
    Nothing { path: PathBuf },
}

/// The texts of a folder, and what each of them is.
struct Files {
    root: PathBuf,
    texts: BTreeMap<String, String>,
    /// Parsed YAML files.
    yaml: BTreeMap<String, Value>,
    folders: BTreeSet<String>,
}

/// Reads `root` and all below it. `now` dates the run; a folder has no clock.
pub fn read_folder(root: &Path, now: TimestampMs) -> Result<World, FolderError> {
    let mut world = World::empty(root.display().to_string(), now);
    let files = Files::read(root, &mut world)?;
    let compose = files
        .yaml
        .iter()
        .find_map(|(path, yaml)| {
            let name = path.rsplit('/').next().unwrap_or(path);
            name.contains("compose").then(|| compose::read(path, yaml)).flatten()
        })
        .unwrap_or_default();
    let reader = Reader { files: &files, compose: &compose };
    reader.mounts(&mut world);
    let loaded = reader.scrape(&mut world);
    reader.rules(&loaded, &mut world);
    reader.notify(&mut world);
    reader.grafana(&mut world);
    runbook::look(&files.texts, &mut world);
    for (what, why) in [
        ("ingest", "a folder takes no telemetry; ask a server with --url"),
        ("targets", "a folder scrapes nothing; ask a server with --url"),
        ("telemetry", "a folder holds no telemetry; add --url of a server that has it"),
        ("objectives", "needs telemetry"),
        ("ledger", "a folder of configuration has no ledger"),
        ("storage", "a folder of configuration holds no data"),
        ("headroom", "a folder has no running server"),
        ("delivery-drill", "not asked for; --deliver sends marked messages"),
    ] {
        world.absent.entry(what).or_insert_with(|| why.to_owned());
    }
    let nothing = world.rules.is_empty()
        && world.dashboards.as_ref().is_none_or(Vec::is_empty)
        && world.scrape.is_none()
        && world.notify.is_none()
        && world.found_by_reader.is_empty();
    if nothing { Err(FolderError::Nothing { path: root.to_owned() }) } else { Ok(world) }
}

/// From 1; the first line that contains `part`, 0 if none does.
pub(super) fn line_of(text: &str, part: &str) -> u64 {
    text.lines().position(|l| l.contains(part)).map_or(0, |at| at as u64 + 1)
}

fn is_yaml(path: &str) -> bool {
    path.ends_with(".yml") || path.ends_with(".yaml")
}

impl Files {
    fn read(root: &Path, world: &mut World) -> Result<Self, FolderError> {
        let mut files = Self {
            root: root.to_owned(),
            texts: BTreeMap::new(),
            yaml: BTreeMap::new(),
            folders: BTreeSet::from([String::new()]),
        };
        let mut open = vec![root.to_owned()];
        let mut seen = 0;
        while let Some(dir) = open.pop() {
            let fail = |source| FolderError::Read { path: dir.clone(), source };
            for entry in std::fs::read_dir(&dir).map_err(fail)? {
                let path = entry.map_err(fail)?.path();
                let Ok(below) = path.strip_prefix(root) else { continue };
                let below = below.to_string_lossy().replace('\\', "/");
                let name = below.rsplit('/').next().unwrap_or(&below).to_owned();
                if name.starts_with('.') || FOLDERS_SKIPPED.contains(&name.as_str()) {
                    continue;
                }
                if path.is_dir() {
                    // A link upwards would be walked for ever.
                    if !path.is_symlink() {
                        files.folders.insert(below);
                        open.push(path);
                    }
                    continue;
                }
                seen += 1;
                if seen > FILES_MAX {
                    return Err(FolderError::TooManyFiles { path: root.to_owned() });
                }
                let size = path.metadata().map_or(u64::MAX, |m| m.len());
                let wanted = is_yaml(&below)
                    || [".json", ".md", ".sh", ".txt"].iter().any(|e| below.ends_with(e));
                if wanted
                    && size <= FILE_BYTES_MAX
                    && let Ok(text) = std::fs::read_to_string(&path)
                {
                    files.texts.insert(below, text);
                }
            }
        }
        for (path, text) in files.texts.iter().filter(|(p, _)| is_yaml(p)) {
            match serde_saphyr::from_str::<Value>(text) {
                Ok(yaml) => {
                    files.yaml.insert(path.clone(), yaml);
                }
                Err(e) => world.found_by_reader.extend(unreadable(path, text, &e)),
            }
        }
        Ok(files)
    }

    fn exists(&self, path: &str) -> bool {
        self.texts.contains_key(path)
            || self.folders.contains(path)
            || self.root.join(path).exists()
    }

    /// Paths that a pattern with `*` in its last part names.
    fn matching(&self, pattern: &str) -> Vec<String> {
        let Some((before, after)) = pattern.split_once('*') else {
            return self
                .texts
                .contains_key(pattern)
                .then(|| pattern.to_owned())
                .into_iter()
                .collect();
        };
        self.texts
            .keys()
            .filter(|p| {
                p.len() >= before.len() + after.len()
                    && p.starts_with(before)
                    && p.ends_with(after)
                    && parent(p) == parent(pattern)
            })
            .cloned()
            .collect()
    }

    /// Whether the file belongs to a pack, whose own layout says what is loaded.
    fn in_pack(&self, path: &str) -> bool {
        let mut folder = parent(path);
        loop {
            if self.texts.contains_key(&below(folder, "pack.yaml")) {
                return true;
            }
            if folder.is_empty() {
                return false;
            }
            folder = parent(folder);
        }
    }

    /// The configuration file of vm-obs itself, if there is one.
    fn own_config(&self) -> Option<(&str, &Value)> {
        let keys = ["packs", "packs_dir", "prometheus", "rule_files", "dashboards", "notify"];
        self.yaml.iter().find_map(|(path, yaml)| {
            let name = path.rsplit('/').next().unwrap_or(path);
            (name.starts_with("vm-obs") && keys.iter().any(|k| yaml.get(*k).is_some()))
                .then_some((path.as_str(), yaml))
        })
    }
}

/// Only of files that are about monitoring by their name or first words.
fn unreadable(path: &str, text: &str, e: &serde_saphyr::Error) -> Option<Finding> {
    let name = path.rsplit('/').next().unwrap_or(path).to_lowercase();
    let about = ["prometheus", "alert", "rule", "compose", "datasource", "dashboards"];
    let (line, _) = e.location().map_or((0, 0), |l| (l.line(), l.column()));
    let message = e.to_string().lines().next().unwrap_or_default().to_owned();
    // Templates of other tools look like broken YAML.
    (about.iter().any(|a| name.contains(a)) && !text.contains("{{-")).then(|| {
        Finding::critical(Check::Alerts, "file-unreadable", path)
            .at(path, line, message)
            .cause("the file is not YAML, so whatever loads it refuses it or starts without it")
            .mend("correct the line")
    })
}

struct Reader<'a> {
    files: &'a Files,
    compose: &'a Compose,
}

impl Reader<'_> {
    /// What compose mounts and is not there: Docker makes an empty folder of it.
    fn mounts(&self, world: &mut World) {
        for service in &self.compose.services {
            for (host, target) in &service.mounts {
                if self.files.exists(host) {
                    continue;
                }
                let text = &self.files.texts[&self.compose.path];
                let name = host.rsplit('/').next().unwrap_or(host);
                world.found_by_reader.push(
                    Finding::critical(Check::Dashboards, "mount-missing", format!("{}: {target}", service.name))
                        .at(&self.compose.path, line_of(text, name), format!("mounts ./{host}, which does not exist"))
                        .cause("the files were never copied here; Docker starts the container with an empty folder in their place and reports it healthy")
                        .mend(format!("copy ./{host} to this machine, then recreate the service {}", service.name)),
                );
            }
            if service.kind == Kind::Grafana {
                self.default_password(service, world);
            }
        }
    }

    /// Reads `prometheus.yml`; gives the rule files that it or another configuration loads.
    fn scrape(&self, world: &mut World) -> BTreeSet<String> {
        let mut loaded = BTreeSet::new();
        if let Some((path, own)) = self.files.own_config() {
            for pattern in strings(own.get("rule_files")) {
                loaded.extend(self.files.matching(&below(parent(path), &pattern)));
            }
        }
        let service = self.compose.service(Kind::Prometheus);
        // What compose mounts as the configuration is it, whatever else lies around.
        let mounted = service.and_then(|s| s.host_path("/etc/prometheus/prometheus.yml"));
        let found = mounted.filter(|p| self.files.yaml.contains_key(p)).or_else(|| {
            self.files
                .yaml
                .iter()
                .find(|(p, y)| {
                    y.get("scrape_configs").is_some_and(Value::is_array) && !self.files.in_pack(p)
                })
                .map(|(p, _)| p.clone())
        });
        let Some(path) = found else {
            let scrapes = self.files.yaml.iter().filter(|(_, y)| y.get("scrape_configs").is_some());
            for (path, _) in scrapes {
                let text = &self.files.texts[path];
                match PrometheusConfig::parse(text, Path::new(path)) {
                    Ok(config) => world.scrape = Some((path.clone(), config)),
                    Err(e) => world.found_by_reader.push(refused(path, &e.to_string())),
                }
            }
            return loaded;
        };
        let (text, yaml) = (&self.files.texts[&path], &self.files.yaml[&path]);
        for pattern in strings(yaml.get("rule_files")) {
            let matched = self.rule_paths(&path, &pattern);
            if matched.is_empty() {
                world.found_by_reader.push(
                    Finding::critical(Check::Alerts, "rule-file-missing", &pattern)
                        .at(&path, line_of(text, &pattern), "is listed under rule_files and matches no file")
                        .cause("Prometheus starts without complaint when a pattern matches nothing; its rules are simply not there")
                        .mend("copy the file to where the configuration looks, or correct the path (in a container: also mount it)"),
                );
            }
            loaded.extend(matched);
        }
        match PrometheusConfig::parse(text, Path::new(&path)) {
            Ok(config) => {
                self.targets_in_containers(&path, text, &config, world);
                world.scrape = Some((path.clone(), config));
            }
            Err(e) => world.found_by_reader.push(refused(&path, &e.to_string())),
        }
        let has_alertmanager = yaml
            .pointer("/alerting/alertmanagers")
            .and_then(Value::as_array)
            .is_some_and(|a| !a.is_empty());
        let has_alerts = self.files.texts.values().any(|t| {
            t.lines().any(|l| l.trim_start().trim_start_matches("- ").starts_with("alert:"))
        });
        if !has_alertmanager && has_alerts {
            world.found_by_reader.push(
                Finding::critical(Check::Alerts, "no-alertmanager", &path)
                    .at(&path, line_of(text, "alerting"), "has no alerting.alertmanagers")
                    .cause("alerts turn red in Prometheus and nobody is told")
                    .mend("add `alerting: {alertmanagers: [{static_configs: [{targets: [\"HOST:9093\"]}]}]}`"),
            );
        }
        loaded
    }

    /// `localhost` inside a container is the container.
    fn targets_in_containers(
        &self,
        path: &str,
        text: &str,
        config: &PrometheusConfig,
        world: &mut World,
    ) {
        let Some(service) = self.compose.service(Kind::Prometheus) else { return };
        if service.host_network {
            return;
        }
        for job in &config.jobs {
            for target in job.static_targets.iter().flat_map(|g| &g.targets) {
                let local = target.starts_with("localhost") || target.starts_with("127.0.0.1");
                if local && target.rsplit(':').next() != Some("9090") {
                    world.found_by_reader.push(
                        Finding::critical(Check::Targets, "target-inside-container", format!("{} {target}", job.name))
                            .at(path, line_of(text, target), "is scraped from inside a container")
                            .cause("localhost there is Prometheus' own container, where nothing listens on that port")
                            .mend("name the service of the compose file, or host.docker.internal with extra_hosts, or use network_mode: host"),
                    );
                }
            }
        }
    }

    /// A path of `rule_files`, as seen by Prometheus, in the folder.
    fn rule_paths(&self, config: &str, pattern: &str) -> Vec<String> {
        let service = self.compose.service(Kind::Prometheus);
        if let Some(service) = service {
            let inside = match pattern.strip_prefix('/') {
                Some(_) => pattern.to_owned(),
                None => format!("/etc/prometheus/{pattern}"),
            };
            return service.host_path(&inside).map(|p| self.files.matching(&p)).unwrap_or_default();
        }
        if !pattern.starts_with('/') {
            return self.files.matching(&below(parent(config), pattern));
        }
        // An absolute path of the machine it runs on: the folder mirrors its end.
        let parts: Vec<&str> = pattern.trim_start_matches('/').split('/').collect();
        (0..parts.len())
            .flat_map(|from| {
                let tail = parts.get(from..).unwrap_or_default().join("/");
                [below(parent(config), &tail), tail]
            })
            .map(|p| self.files.matching(&p))
            .find(|m| !m.is_empty())
            .unwrap_or_default()
    }

    fn rules(&self, loaded: &BTreeSet<String>, world: &mut World) {
        for (path, yaml) in &self.files.yaml {
            let groups = yaml.get("groups").and_then(Value::as_array);
            let is_rules =
                groups.is_some_and(|g| !g.is_empty() && g.iter().all(|g| g.get("rules").is_some()));
            if !is_rules || yaml.get("apiVersion").is_some() || yaml.get("tests").is_some() {
                continue;
            }
            let text = &self.files.texts[path];
            let read = RuleFile::parse(path, text, ReadOptions::default());
            // Without any configuration there is nothing that would have to name the file.
            let nobody_loads = world.scrape.is_none() && self.files.own_config().is_none();
            world.rules.push(RuleInput {
                path: path.clone(),
                text: text.clone(),
                rules: read.map_err(|e| e.to_string()),
                loaded: loaded.contains(path) || self.files.in_pack(path) || nobody_loads,
            });
        }
    }

    fn notify(&self, world: &mut World) {
        let service = self.compose.service(Kind::Alertmanager);
        let mounted = service.and_then(|s| s.host_path("/etc/alertmanager/alertmanager.yml"));
        let found = mounted.filter(|p| self.files.yaml.contains_key(p)).or_else(|| {
            self.files
                .yaml
                .iter()
                .find(|(_, y)| y.get("route").is_some() && y.get("receivers").is_some())
                .map(|(p, _)| p.clone())
        });
        let Some(path) = found else {
            let why = "no notification configuration (`route` and `receivers`) in the folder";
            world.absent.insert("notify", why.to_owned());
            return;
        };
        match read_notify(&path, &self.files.texts[&path]) {
            Ok(input) => world.notify = Some(input),
            Err(e) => {
                world.absent.insert("notify", format!("{path} cannot be read"));
                world.found_by_reader.push(
                    Finding::critical(Check::Alerts, "notify-invalid", &path)
                        .at(&path, 0, e)
                        .cause("Alertmanager refuses the file and keeps the old one, or does not start")
                        .mend("correct it; `amtool check-config` says the same"),
                );
            }
        }
    }
}

fn refused(path: &str, why: &str) -> Finding {
    Finding::critical(Check::Targets, "scrape-invalid", path)
        .at(path, 0, why)
        .cause("Prometheus refuses the file and does not start, or keeps the one before")
        .mend("correct it; `promtool check config` says the same")
}

fn strings(yaml: Option<&Value>) -> Vec<String> {
    let all = yaml.and_then(Value::as_array).into_iter().flatten();
    all.filter_map(|v| v.as_str().map(str::to_owned)).collect()
}

/// vm-obs answers each dialect itself.
pub fn own_data_sources() -> Vec<DataSource> {
    ["prometheus", "loki", "tempo"]
        .map(|kind| DataSource {
            name: kind.to_owned(),
            uid: kind.to_owned(),
            kind: kind.to_owned(),
            is_default: kind == "prometheus",
            url: String::new(),
        })
        .to_vec()
}
