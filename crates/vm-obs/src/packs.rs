//! Packs: all that one stack needs, in one folder. The packs of this repository are inside the
//! binary; others are read from a folder. Format: `docs/packs.md`.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::Path;

use anyhow::{Context, anyhow, bail};
use obs_analysis::slo::{Slo, parse_slo_file};
use obs_collect::scrape::{PrometheusConfig, ScrapeJob};
use obs_dash::Dashboard;
use obs_ops::Watch;
use obs_rules::{ReadOptions, RuleFile};
use rust_embed::Embed;
use serde::Deserialize;

use crate::config::WatchForm;

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
    /// Every file as it was read, by path.
    pub texts: Vec<(String, String)>,
}

/// Path below the pack's folder, and its text.
type Files = BTreeMap<String, String>;

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

fn folder_files(folder: &Path) -> anyhow::Result<Files> {
    let mut files = Files::new();
    let mut open = vec![folder.to_owned()];
    while let Some(dir) = open.pop() {
        for entry in std::fs::read_dir(&dir).with_context(|| dir.display().to_string())? {
            let path = entry?.path();
            if path.is_dir() {
                open.push(path);
            } else if let (Ok(below), Ok(text)) =
                (path.strip_prefix(folder), std::fs::read_to_string(&path))
            {
                files.insert(below.to_string_lossy().into_owned(), text);
            }
        }
    }
    Ok(files)
}

impl Pack {
    /// From `packs_dir` if it is there, otherwise from the binary.
    pub(crate) fn load(name: &str, packs_dir: Option<&Path>) -> anyhow::Result<Self> {
        let own = packs_dir.map(|d| d.join(name)).filter(|d| d.join("pack.yaml").exists());
        let files = match own {
            Some(folder) => folder_files(&folder)?,
            None => shipped_files(name),
        };
        if !files.contains_key("pack.yaml") {
            bail!("there is no pack {name:?}; shipped are {}", shipped().join(", "));
        }
        Self::check(name, &files).with_context(|| format!("pack {name}"))
    }

    fn check(name: &str, files: &Files) -> anyhow::Result<Self> {
        let text = files.get("pack.yaml").map_or("", String::as_str);
        let manifest: Manifest =
            serde_saphyr::from_str(text).map_err(|e| anyhow!("pack.yaml: {e}"))?;
        if manifest.name != name {
            bail!("pack.yaml names the pack {:?}", manifest.name);
        }
        let mut pack = Self {
            manifest,
            rules: Vec::new(),
            slos: Vec::new(),
            dashboards: Vec::new(),
            jobs: Vec::new(),
            watches: Vec::new(),
            texts: files.iter().map(|(p, t)| (format!("{name}/{p}"), t.clone())).collect(),
        };
        for (path, text) in files {
            let shown = format!("{name}/{path}");
            if path == "scrape.yml" {
                let config = PrometheusConfig::parse(text, Path::new(&shown))?;
                pack.jobs.extend(config.jobs);
            } else if path == "anomalies.yml" {
                let forms: Vec<WatchForm> =
                    serde_saphyr::from_str(text).map_err(|e| anyhow!("{path}: {e}"))?;
                pack.watches.extend(forms.into_iter().map(WatchForm::check));
            } else if path.starts_with("rules/") && is_yaml(path) {
                pack.rules.push(RuleFile::parse(&shown, text, ReadOptions::default())?);
            } else if path.starts_with("slos/") && is_yaml(path) {
                pack.slos.extend(parse_slo_file(&shown, text)?);
            } else if path.starts_with("dashboards/") && path.ends_with(".json") {
                let dashboard = Dashboard::from_grafana(text).with_context(|| path.clone())?;
                pack.dashboards.push(dashboard);
            }
        }
        Ok(pack)
    }
}

fn is_yaml(path: &str) -> bool {
    path.ends_with(".yml") || path.ends_with(".yaml")
}

/// Loads packs with everything that they require, each once, requirements first.
pub(crate) fn load_all(names: &[String], packs_dir: Option<&Path>) -> anyhow::Result<Vec<Pack>> {
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
            let pack = Pack::load(place.key(), packs_dir)?;
            open.push((place.key().clone(), true));
            open.extend(pack.manifest.requires.iter().map(|r| (r.clone(), false)));
            place.insert(pack);
        }
    }
    Ok(loaded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shipped_pack_loads() {
        for name in shipped() {
            let pack = Pack::load(&name, None).unwrap_or_else(|e| panic!("{name}: {e:#}"));
            assert!(!pack.rules.is_empty(), "{name} has no rules");
            for board in &pack.dashboards {
                assert!(!board.uid.is_empty(), "{name}: a dashboard needs a uid");
            }
        }
    }

    #[test]
    fn an_unknown_pack_says_which_there_are() {
        let e = Pack::load("none", None).unwrap_err().to_string();
        assert!(e.contains("\"none\""), "{e}");
    }
}
