//! The folder of a server that has ended.

use std::path::{Path, PathBuf};

use crate::support::{run, shorten};

/// The folder answers without a server.
pub(super) fn offline_verbs(data: &str) {
    for (arguments, says) in [
        (
            vec![
                "metrics",
                "query",
                "--query",
                "count(up)",
                "--from",
                "2025-12-06T14:50:00Z",
                "--to",
                "2025-12-06T15:00:00Z",
            ],
            "",
        ),
        (
            vec![
                "logs",
                "query",
                "--service",
                "guardian",
                "--from",
                "2025-12-06",
                "--to",
                "2025-12-07",
            ],
            "guardian",
        ),
        (vec!["trace", "search", "--from", "2025-12-06", "--to", "2025-12-07"], ""),
        (vec!["query", "--type", "log_batch"], "log"),
        (
            vec![
                "metrics",
                "export",
                "--from",
                "2025-12-06",
                "--to",
                "2025-12-07",
                "--match",
                "oracle_up",
            ],
            "oracle_up",
        ),
    ] {
        let (code, text) = run(&[arguments.as_slice(), &["--data", data]].concat());
        assert!(
            code == 0 && text.contains(says) && !text.trim().is_empty(),
            "vm-obs {} --data: {code}: {}",
            arguments.join(" "),
            shorten(&text)
        );
    }
}

/// Flips one byte in the middle, verifies, restores.
pub(super) fn a_changed_byte_is_noticed(data: &Path) {
    let folder = data.display().to_string();
    let mut sealed = Vec::new();
    files_below(&data.join("telemetry"), &mut sealed);
    sealed.sort();
    assert!(sealed.iter().any(|f| f.extension().is_some_and(|e| e == "parquet")), "{sealed:?}");
    assert!(sealed.iter().any(|f| f.extension().is_some_and(|e| e == "gz")), "{sealed:?}");
    sealed.push(data.join("receipts/observability/observability_events.jsonl"));
    for path in sealed {
        let good = std::fs::read(&path).unwrap();
        let mut bad = good.clone();
        let middle = bad.len() / 2;
        bad[middle] ^= 1;
        std::fs::write(&path, &bad).unwrap();
        let (code, text) = run(&["verify", &folder]);
        // A record tree can be made again from the sealed file; damage to it hides nothing.
        let wanted = if path.extension().is_some_and(|e| e == "mt") { 2 } else { 1 };
        assert_eq!(code, wanted, "a changed byte in {}:\n{text}", path.display());
        std::fs::write(&path, &good).unwrap();
    }
    let (code, text) = run(&["verify", &folder]);
    assert_eq!(code, 0, "restored, and yet:\n{text}");
}

fn files_below(folder: &Path, out: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files_below(&path, out);
        } else {
            out.push(path);
        }
    }
}
