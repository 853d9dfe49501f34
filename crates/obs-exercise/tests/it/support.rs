//! The healthy folder, and what is done to it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use obs_exercise::doctor::{Report, World, examine, read_folder};
use obs_types::TimestampMs;

pub(crate) const NOW: TimestampMs = TimestampMs(1_765_015_200_000);

/// A change of files: what to replace in which, what to remove, what to add.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Change {
    pub(crate) edit: &'static [(&'static str, &'static str, &'static str)],
    pub(crate) remove: &'static [&'static str],
    pub(crate) add: &'static [(&'static str, &'static str)],
}

/// A fault that the doctor must find: the code, and a part of the subject.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fault {
    pub(crate) name: &'static str,
    pub(crate) code: &'static str,
    pub(crate) subject: &'static str,
    pub(crate) change: Change,
}

pub(crate) const fn edit(
    name: &'static str,
    code: &'static str,
    subject: &'static str,
    edit: &'static [(&'static str, &'static str, &'static str)],
) -> Fault {
    Fault { name, code, subject, change: Change { edit, remove: &[], add: &[] } }
}

fn healthy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/healthy")
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target);
        } else {
            fs::copy(&path, &target).unwrap();
        }
    }
}

/// The healthy folder with a change, in a folder of its own.
pub(crate) fn folder(change: Change) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    copy(&healthy(), dir.path());
    for (file, from, to) in change.edit {
        let path = dir.path().join(file);
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{file} does not contain {from:?}");
        fs::write(&path, text.replace(from, to)).unwrap();
    }
    for file in change.remove {
        let path = dir.path().join(file);
        if path.is_dir() {
            fs::remove_dir_all(path).unwrap()
        } else {
            fs::remove_file(path).unwrap()
        }
    }
    for (file, text) in change.add {
        let path = dir.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    dir
}

pub(crate) fn world(dir: &Path) -> World {
    read_folder(dir, NOW).unwrap()
}

/// Asserts that the findings are of this one code, and that one names the subject.
pub(crate) fn assert_found(name: &str, report: &Report, code: &str, subject: &str) {
    if let Some(problem) = problem(name, report, code, subject) {
        panic!("{problem}");
    }
}

fn problem(name: &str, report: &Report, code: &str, subject: &str) -> Option<String> {
    let codes: BTreeSet<&str> = report.findings.iter().map(|f| f.code).collect();
    let named = report.findings.iter().any(|f| f.subject.contains(subject));
    let whole = report
        .findings
        .iter()
        .all(|f| !f.cause.is_empty() && !f.mend.is_empty() && !f.evidence.is_empty());
    (codes != BTreeSet::from([code]) || !named || !whole).then(|| {
        format!("{name}: wanted {code} about {subject:?}, got {codes:?}\n{}", report.to_text())
    })
}

pub(crate) fn assert_faults(faults: &[Fault], look: impl Fn(&Path) -> Report) {
    let (mut names, mut problems) = (BTreeMap::new(), Vec::new());
    for fault in faults {
        assert!(names.insert(fault.name, ()).is_none(), "{} is there twice", fault.name);
        let dir = folder(fault.change);
        let report = look(dir.path());
        // All of them are looked at before the first failure ends the test.
        if let Some(problem) = problem(fault.name, &report, fault.code, fault.subject) {
            problems.push(problem);
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n\n"));
}

pub(crate) fn look(dir: &Path) -> Report {
    examine(&world(dir))
}
