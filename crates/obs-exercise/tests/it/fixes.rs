//! What `--fix` does, and that it leaves nothing to find.

use std::fs;

use obs_exercise::doctor::{FixError, apply};

use crate::support::{Change, folder, look};

const AURORA: &str = "dashboards/aurora.json";

#[test]
fn wrapper_inputs_and_names_are_mended_and_the_file_is_kept() {
    let dir = folder(Change {
        edit: &[
            (
                AURORA,
                "{\n  \"title\": \"Aurora KPIs\"",
                "{\"dashboard\": {\n  \"title\": \"Aurora KPIs\"",
            ),
            (AURORA, "  ]\n}\n", "  ]\n}}\n"),
            (AURORA, "\"uid\": \"prom\"", "\"uid\": \"${DS_PROMETHEUS}\""),
            ("dashboards/genesis.json", "\"uid\": \"prom\"", "\"uid\": \"PBFA97CFB590B2093\""),
        ],
        remove: &[],
        add: &[],
    });
    let before = fs::read_to_string(dir.path().join(AURORA)).unwrap();
    let report = look(dir.path());
    assert_eq!(report.findings.len(), 3, "{}", report.to_text());
    let done = apply(&report.findings).unwrap();
    assert_eq!(done.len(), 3, "{done:?}");
    let after = look(dir.path());
    assert!(after.is_clean(), "{}", after.to_text());
    let kept = fs::read_to_string(dir.path().join("dashboards/aurora.json.bak")).unwrap();
    assert_eq!(kept, before);
}

#[test]
fn a_backup_is_never_overwritten() {
    let dir = folder(Change {
        edit: &[(AURORA, "\"uid\": \"prom\"", "\"uid\": \"${DS_PROMETHEUS}\"")],
        remove: &[],
        add: &[("dashboards/aurora.json.bak", "precious")],
    });
    let before = fs::read_to_string(dir.path().join(AURORA)).unwrap();
    let e = apply(&look(dir.path()).findings).unwrap_err();
    assert!(matches!(e, FixError::BackupExists { .. }), "{e}");
    assert_eq!(fs::read_to_string(dir.path().join(AURORA)).unwrap(), before);
}
