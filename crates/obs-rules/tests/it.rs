//! Prometheus' rule files and promtool's test files, and the packs' own tests.

use std::path::{Path, PathBuf};

use obs_rules::unittest::{FileOutcome, TestOptions, run_files};
use obs_rules::{ReadOptions, RuleFile};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn vectors(folder: &str) -> Option<PathBuf> {
    let base = std::env::var_os("VMOBS_VECTORS")
        .map_or_else(|| root().join("../shared/vectors"), PathBuf::from);
    let path = base.join(folder);
    if !path.is_dir() {
        eprintln!("skipped: no vectors");
        return None;
    }
    Some(path)
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut all: Vec<PathBuf> =
        std::fs::read_dir(folder).expect("a folder").map(|e| e.expect("an entry").path()).collect();
    all.sort();
    all
}

#[test]
fn rule_files_are_accepted_and_refused_as_prometheus_does() {
    let Some(folder) = vectors("prometheus/rulefmt") else { return };
    let mut seen = 0;
    for path in files(&folder) {
        let name = path.file_name().unwrap().to_str().unwrap();
        let options = ReadOptions {
            legacy_names: name.starts_with("legacy_validation"),
            ..ReadOptions::default()
        };
        let result = RuleFile::load(&path, options);
        assert_eq!(result.is_err(), name.contains(".bad."), "{name}: {result:?}");
        if let Err(e) = result {
            assert!(e.to_string().contains(name), "the message names the file: {e}");
        }
        seen += 1;
    }
    assert_eq!(seen, 16);
}

fn outcome(path: &Path, lenient: bool) -> FileOutcome {
    let options = TestOptions { ignore_unknown_fields: lenient, ..TestOptions::default() };
    run_files(&[path], &options).files.remove(0)
}

#[test]
fn promtools_own_tests_pass_and_fail_where_they_must() {
    let Some(folder) = vectors("prometheus/promtool") else { return };
    for name in [
        "unittest.yml",
        "start-time-test.yml",
        "long-period.yml",
        "no-test-group-interval.yml",
        "at-modifier-test.yml",
        "negative-offset-test.yml",
    ] {
        let got = outcome(&folder.join(name), false);
        assert!(got.passed() && !got.tests.is_empty(), "{name}: {got:#?}");
    }
    for name in [
        "failing.yml",
        "bad-input-series.yml",
        "bad-promql.yml",
        "bad-rules-error-test.yml",
        "bad-rules-syntax-test.yml",
        "rules_run_no_fuzzy.yml",
    ] {
        assert!(!outcome(&folder.join(name), false).passed(), "{name}");
    }
    for name in ["rules_run.yml", "rules_run_fuzzy.yml"] {
        let got = outcome(&folder.join(name), false);
        assert_eq!(got.error, None);
        for test in &got.tests {
            assert_eq!(
                test.failures.is_empty(),
                test.name.starts_with("correct"),
                "{name}: {test:?}"
            );
        }
    }
    assert!(outcome(&folder.join("rules_run_extrafields.yml"), false).error.is_some());
    let lenient = outcome(&folder.join("rules_run_extrafields.yml"), true);
    assert!(lenient.passed(), "{lenient:?}");
}

#[test]
fn the_packs_rules_fire_and_resolve() {
    for pack in ["host", "vaultmesh"] {
        let tests = files(&root().join("packs").join(pack).join("tests"));
        let report = run_files(&tests, &TestOptions::default());
        assert!(report.passed(), "{pack}: {report:#?}");
        assert!(report.counts().0 >= 3, "{pack}");
    }
}
