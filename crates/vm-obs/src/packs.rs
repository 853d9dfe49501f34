//! Packs: all that one stack needs, in one folder. The packs of this repository are inside the
//! binary; others are read from folders. Format: `docs/packs.md`.
//!
//! Lives here: loading. Below: [`check`] finds the mistakes of a pack, [`install`] puts one into a
//! data folder, [`skeleton`] writes a new one.

mod check;
mod coverage;
mod covers;
mod declared;
mod expressions;
mod install;
mod services;
mod skeleton;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};
use obs_analysis::slo::{Slo, parse_slo_file};
use obs_api::Runbook;
use obs_collect::scrape::{PrometheusConfig, ScrapeJob};
use obs_dash::Dashboard;
use obs_ops::Watch;
use obs_rules::{ReadOptions, RuleFile};
use rust_embed::Embed;
use serde::Deserialize;

use crate::config::WatchForm;

pub(crate) use check::check;
pub(crate) use covers::Covered;
pub(crate) use declared::Declared;
pub(crate) use install::{folder_in, install, run_tests};
pub(crate) use services::{Service, contents};
pub(crate) use skeleton::write_new;

#[derive(Embed)]
#[folder = "$CARGO_MANIFEST_DIR/../../packs"]
struct Shipped;

/// `pack.yaml`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Manifest {
    pub name: String,
    pub version: String,
    pub description: String,
    #[serde(default)]
    pub requires: Vec<String>,
}

/// A loaded and checked pack.
#[derive(Clone, Debug)]
pub(crate) struct Pack {
    pub manifest: Manifest,
    pub rules: Vec<RuleFile>,
    pub slos: Vec<Slo>,
    pub dashboards: Vec<Dashboard>,
    pub jobs: Vec<ScrapeJob>,
    pub watches: Vec<Watch>,
    /// What the services of the pack expose.
    pub metrics: Vec<Declared>,
    /// Which service each part belongs to.
    pub services: Vec<Service>,
    /// What its documents name.
    pub covers: Vec<Covered>,
    /// Every file as it was read, by path.
    pub texts: Vec<(String, String)>,
}

impl Pack {
    /// The pack's runbooks, by path.
    pub(crate) fn runbooks(&self) -> Vec<Runbook> {
        let pack = &self.manifest.name;
        let prefix = format!("{pack}/runbooks/");
        let named = |path: &str| path.strip_prefix(&prefix)?.strip_suffix(".md").map(str::to_owned);
        self.texts
            .iter()
            .filter_map(|(path, text)| {
                let id = format!("{pack}.{}", named(path)?);
                Some(Runbook { id, pack: pack.clone(), text: text.clone() })
            })
            .collect()
    }
}

impl Pack {
    /// What it probes: the name of its file and the text.
    pub(crate) fn probes(&self) -> Option<(String, String)> {
        let name = format!("{}/{PROBES}", self.manifest.name);
        self.texts.iter().find(|(path, _)| *path == name).cloned()
    }
}

/// The file of a pack that says what is probed.
const PROBES: &str = "probes.yml";

/// Path below the pack's folder, and its text.
pub(crate) type Files = BTreeMap<String, String>;

/// Most bytes of one file of a pack.
const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Most files of a pack.
const FILES_MAX: usize = 2_000;

/// Names of the packs in the binary, sorted.
pub(crate) fn shipped() -> Vec<String> {
    let mut names: Vec<String> =
        Shipped::iter().filter_map(|p| p.strip_suffix("/pack.yaml").map(str::to_owned)).collect();
    names.sort();
    names
}

fn shipped_files(name: &str) -> Files {
    let prefix = format!("{name}/");
    Shipped::iter()
        .filter_map(|path| {
            let below = path.strip_prefix(&prefix)?.to_owned();
            let file = Shipped::get(&path)?;
            Some((below, String::from_utf8_lossy(&file.data).into_owned()))
        })
        .collect()
}

/// Every file below the folder; hidden ones are passed over.
pub(crate) fn folder_files(folder: &Path) -> anyhow::Result<Files> {
    let mut files = Files::new();
    let mut open = vec![folder.to_owned()];
    while let Some(dir) = open.pop() {
        for entry in std::fs::read_dir(&dir).with_context(|| dir.display().to_string())? {
            let entry = entry?;
            let path = entry.path();
            let kind = entry.file_type()?;
            if entry.file_name().to_string_lossy().starts_with('.') {
                continue;
            }
            if kind.is_dir() {
                open.push(path);
                continue;
            }
            let shown = path.display();
            // A link could lead out of the pack, and be something else tomorrow.
            anyhow::ensure!(kind.is_file(), "{shown}: expected a plain file or folder");
            let bytes = entry.metadata()?.len();
            anyhow::ensure!(
                bytes <= FILE_BYTES_MAX,
                "{shown}: {bytes} bytes, a file of a pack has at most {FILE_BYTES_MAX}"
            );
            anyhow::ensure!(
                files.len() < FILES_MAX,
                "{shown}: a pack has at most {FILES_MAX} files"
            );
            let text = std::fs::read_to_string(&path)
                .with_context(|| format!("{shown}: expected UTF-8 text"))?;
            let below = path.strip_prefix(folder).unwrap_or(&path);
            files.insert(below.to_string_lossy().replace('\\', "/"), text);
        }
    }
    Ok(files)
}

/// The files of a pack by its name: from the first folder that has it, otherwise from the binary.
pub(crate) fn files_of(name: &str, folders: &[PathBuf]) -> anyhow::Result<Files> {
    let own = folders.iter().map(|d| d.join(name)).find(|d| d.join("pack.yaml").exists());
    let files = match own {
        Some(folder) => folder_files(&folder)?,
        None => shipped_files(name),
    };
    if !files.contains_key("pack.yaml") {
        bail!("there is no pack {name:?}; shipped are {}", shipped().join(", "));
    }
    Ok(files)
}

impl Pack {
    /// From the first of the folders that has it, otherwise from the binary.
    pub(crate) fn load(name: &str, folders: &[PathBuf]) -> anyhow::Result<Self> {
        let files = files_of(name, folders)?;
        Self::parse(name, &files).with_context(|| format!("pack {name}"))
    }

    /// Stops at the first mistake; [`check`] finds all of them.
    pub(crate) fn parse(name: &str, files: &Files) -> anyhow::Result<Self> {
        let text = files.get("pack.yaml").map_or("", String::as_str);
        let manifest: Manifest =
            serde_saphyr::from_str(text).map_err(|e| anyhow!("pack.yaml: {e}"))?;
        if manifest.name != name {
            bail!("pack.yaml names the pack {:?}", manifest.name);
        }
        let mut pack = Self::empty(manifest);
        pack.texts = files.iter().map(|(p, t)| (format!("{name}/{p}"), t.clone())).collect();
        for (path, text) in files {
            pack.add(path, text)?;
        }
        Ok(pack)
    }

    fn empty(manifest: Manifest) -> Self {
        Self {
            manifest,
            rules: Vec::new(),
            slos: Vec::new(),
            dashboards: Vec::new(),
            jobs: Vec::new(),
            watches: Vec::new(),
            metrics: Vec::new(),
            services: Vec::new(),
            covers: Vec::new(),
            texts: Vec::new(),
        }
    }

    /// Takes up one file. The error names it, with the line where the format knows it.
    fn add(&mut self, path: &str, text: &str) -> anyhow::Result<()> {
        let shown = format!("{}/{path}", self.manifest.name);
        if path == "scrape.yml" {
            self.jobs.extend(PrometheusConfig::parse(text, Path::new(&shown))?.jobs);
        } else if path == "metrics.yml" {
            self.metrics.extend(Declared::parse(&shown, text)?);
        } else if path == "services.yml" {
            self.services.extend(Service::parse(&shown, text)?);
        } else if path == "covers.yml" {
            self.covers.extend(Covered::parse(&shown, text)?);
        } else if path == "anomalies.yml" {
            let forms: Vec<WatchForm> =
                serde_saphyr::from_str(text).map_err(|e| anyhow!("{shown}: {e}"))?;
            self.watches.extend(forms.into_iter().map(WatchForm::check));
        } else if path == PROBES {
            crate::serve::check_pack_probes(&shown, text)?;
        } else if path.starts_with("rules/") && is_yaml(path) {
            self.rules.push(RuleFile::parse(&shown, text, ReadOptions::default())?);
        } else if path.starts_with("slos/") && is_yaml(path) {
            self.slos.extend(parse_slo_file(&shown, text)?);
        } else if path.starts_with("dashboards/") && path.ends_with(".json") {
            self.dashboards.push(Dashboard::from_grafana(text).with_context(|| shown)?);
        }
        Ok(())
    }
}

fn is_yaml(path: &str) -> bool {
    path.ends_with(".yml") || path.ends_with(".yaml")
}

/// Loads packs with everything that they require, each once, requirements first.
pub(crate) fn load_all(names: &[String], folders: &[PathBuf]) -> anyhow::Result<Vec<Pack>> {
    let mut loaded: Vec<Pack> = Vec::new();
    let mut open: Vec<(String, bool)> = names.iter().rev().map(|n| (n.clone(), false)).collect();
    let mut waiting: BTreeMap<String, Pack> = BTreeMap::new();
    while let Some((name, expanded)) = open.pop() {
        if loaded.iter().any(|p| p.manifest.name == name) {
            continue;
        }
        if expanded {
            loaded.extend(waiting.remove(&name));
        } else if let Entry::Vacant(place) = waiting.entry(name) {
            let pack = Pack::load(place.key(), folders)?;
            open.push((place.key().clone(), true));
            open.extend(pack.manifest.requires.iter().map(|r| (r.clone(), false)));
            place.insert(pack);
        }
    }
    Ok(loaded)
}
