//! A new pack: small, whole, and passing its own check and tests.

use std::path::{Path, PathBuf};

use anyhow::ensure;

use super::{Files, install};

/// Path in the pack and text; `NAME` and `Name` stand for the pack's name in two spellings.
const TEMPLATES: [(&str, &str); 8] = [
    ("pack.yaml", include_str!("template/pack.yaml")),
    ("README.md", include_str!("template/README.md")),
    ("metrics.yml", include_str!("template/metrics.yml")),
    ("scrape.yml", include_str!("template/scrape.yml")),
    ("rules/NAME.yml", include_str!("template/rules.yml")),
    ("tests/NAME.yml", include_str!("template/tests.yml")),
    ("slos/NAME.yml", include_str!("template/slos.yml")),
    ("dashboards/NAME.json", include_str!("template/dashboard.json")),
];
const RUNBOOKS: [(&str, &str); 2] = [
    ("runbooks/NameDown.md", include_str!("template/NameDown.md")),
    ("runbooks/NameErrorsHigh.md", include_str!("template/NameErrorsHigh.md")),
];

/// Writes `PARENT/NAME`; `Err` if it is there already or the name is no pack's.
pub(crate) fn write_new(name: &str, parent: &Path) -> anyhow::Result<PathBuf> {
    ensure!(
        is_name(name),
        "{name:?} is no name of a pack: expected a lowercase letter, then at most 62 lowercase letters, digits and '-'"
    );
    let folder = parent.join(name);
    ensure!(!folder.exists(), "{} is there already", folder.display());
    install::write(&folder, &files(name))?;
    Ok(folder)
}

pub(super) fn is_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    name.len() <= 63
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(plain)
}

fn files(name: &str) -> Files {
    // Metric names know no '-'.
    let metric = name.replace('-', "_");
    let camel: String = name.split('-').map(capitalised).collect();
    let fill = |text: &str| {
        text.replace("NAME_METRIC", &metric).replace("NAME", name).replace("Name", &camel)
    };
    TEMPLATES.into_iter().chain(RUNBOOKS).map(|(path, text)| (fill(path), fill(text))).collect()
}

fn capitalised(word: &str) -> String {
    let mut letters = word.chars();
    let first = letters.next().map(|c| c.to_ascii_uppercase());
    first.into_iter().chain(letters).collect()
}
