//! Which crate may know which: an edge goes only to a strictly lower layer, and some foreign
//! crates are fenced in.
//!
//! Development dependencies are free: a test may use what the crate may not.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context;
use cargo_metadata::{DependencyKind, MetadataCommand};

/// Runtime and HTTP: only from this layer up.
const SOCKET_LAYER: u64 = 3;
const SOCKET_CRATES: [&str; 6] = ["tokio", "hyper", "axum", "tonic", "reqwest", "tower"];
/// Columns and their files, and clients of object stores: only in these crates.
const ONLY_IN: [(&str, &[&str]); 2] =
    [("obs-archive", &["arrow", "parquet"]), ("obs-remote", &["object_store"])];

/// A crate of the workspace as the check sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Member {
    /// `None`: the manifest does not say.
    pub(crate) layer: Option<u64>,
    /// Crates of the workspace that it names.
    pub(crate) ours: Vec<String>,
    /// Foreign crates that it names.
    pub(crate) foreign: Vec<String>,
}

pub(crate) type Workspace = BTreeMap<String, Member>;

/// Prints what is wrong; `true` if nothing is.
pub(crate) fn run(root: &Path) -> anyhow::Result<bool> {
    let workspace = read(root)?;
    let problems = problems(&workspace);
    for problem in &problems {
        println!("{problem}");
    }
    println!("layers: {} crates, {} problems", workspace.len(), problems.len());
    Ok(problems.is_empty())
}

/// The workspace as its manifests describe it.
pub(crate) fn read(root: &Path) -> anyhow::Result<Workspace> {
    let metadata = MetadataCommand::new()
        .manifest_path(root.join("Cargo.toml"))
        .no_deps()
        .exec()
        .context("cannot read the workspace's manifests")?;
    let mut workspace = Workspace::new();
    for package in &metadata.packages {
        let mut member = Member {
            layer: package.metadata.pointer("/obs/layer").and_then(serde_json::Value::as_u64),
            ..Member::default()
        };
        for dependency in &package.dependencies {
            if dependency.kind == DependencyKind::Development {
                continue;
            }
            let list =
                if dependency.path.is_some() { &mut member.ours } else { &mut member.foreign };
            list.push(dependency.name.clone());
        }
        member.ours.sort();
        member.foreign.sort();
        workspace.insert(package.name.to_string(), member);
    }
    Ok(workspace)
}

/// One line per broken rule, with the path that leads there; sorted.
pub(crate) fn problems(workspace: &Workspace) -> Vec<String> {
    let mut out = Vec::new();
    for (name, member) in workspace {
        let Some(layer) = member.layer else {
            out.push(format!("{name}: its Cargo.toml names no `package.metadata.obs.layer`"));
            continue;
        };
        for target in &member.ours {
            match workspace.get(target).and_then(|m| m.layer) {
                Some(below) if below < layer => {}
                Some(other) => out.push(format!(
                    "{name} (layer {layer}) -> {target} (layer {other}): an edge goes only to a strictly lower layer"
                )),
                None => {}
            }
        }
        if layer < SOCKET_LAYER {
            fence(workspace, name, &SOCKET_CRATES, "layer 3 and above", &mut out);
        }
        for (home, fenced) in ONLY_IN.iter().filter(|(home, _)| name != home) {
            for used in member.foreign.iter().filter(|f| belongs(f, fenced)) {
                out.push(format!("{name} -> {used}: only {home} may use it"));
            }
        }
    }
    out.sort();
    out.dedup();
    out
}

/// Walks our crates below `start` and reports each fenced crate that one of them names.
fn fence(
    workspace: &Workspace,
    start: &str,
    fenced: &[&str],
    allowed: &str,
    out: &mut Vec<String>,
) {
    let mut todo = vec![vec![start.to_owned()]];
    let mut seen = vec![start.to_owned()];
    while let Some(path) = todo.pop() {
        let Some(member) = path.last().and_then(|last| workspace.get(last)) else { continue };
        for used in member.foreign.iter().filter(|f| belongs(f, fenced)) {
            out.push(format!("{} -> {used}: only {allowed} may use it", path.join(" -> ")));
        }
        for next in &member.ours {
            if !seen.contains(next) {
                seen.push(next.clone());
                let mut longer = path.clone();
                longer.push(next.clone());
                todo.push(longer);
            }
        }
    }
}

/// `tower` stands for `tower-http` too, `arrow` for `arrow-array`.
fn belongs(name: &str, families: &[&str]) -> bool {
    families.iter().any(|family| {
        name.strip_prefix(family).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(layer: u64, ours: &[&str], foreign: &[&str]) -> Member {
        let owned = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect();
        Member { layer: Some(layer), ours: owned(ours), foreign: owned(foreign) }
    }

    #[test]
    fn this_workspace_is_clean() {
        let workspace = read(crate::root()).unwrap();
        assert!(workspace.len() > 20, "{}", workspace.len());
        assert_eq!(problems(&workspace), Vec::<String>::new());
    }

    #[test]
    fn upward_and_sideways_edges_are_named() {
        let workspace = Workspace::from([
            ("a".to_owned(), member(0, &["b"], &[])),
            ("b".to_owned(), member(1, &["c"], &[])),
            ("c".to_owned(), member(1, &[], &[])),
        ]);
        let found = problems(&workspace).join("\n");
        assert!(found.contains("a (layer 0) -> b (layer 1)"), "{found}");
        assert!(found.contains("b (layer 1) -> c (layer 1)"), "{found}");
    }

    #[test]
    fn a_fenced_crate_is_found_through_our_own() {
        let workspace = Workspace::from([
            ("engine".to_owned(), member(2, &["wire"], &["tokio-util"])),
            ("wire".to_owned(), member(1, &[], &["tower-http", "arrow-array", "object_store"])),
            ("obs-archive".to_owned(), member(2, &[], &["parquet"])),
            ("api".to_owned(), member(4, &["wire"], &["axum"])),
        ]);
        let found = problems(&workspace);
        assert_eq!(
            found,
            [
                "engine -> tokio-util: only layer 3 and above may use it",
                "engine -> wire -> tower-http: only layer 3 and above may use it",
                "wire -> arrow-array: only obs-archive may use it",
                "wire -> object_store: only obs-remote may use it",
                "wire -> tower-http: only layer 3 and above may use it",
            ]
        );
    }

    #[test]
    fn a_crate_without_layer_is_refused() {
        let workspace = Workspace::from([("x".to_owned(), Member::default())]);
        assert!(problems(&workspace)[0].contains("names no"), "{:?}", problems(&workspace));
    }
}
