//! RFC 8785 inputs and outputs (cyberphone/json-canonicalization).

use std::path::Path;

use serde_json::Value;

use super::{Report, json_files, read, read_text};
use crate::canonical;

pub(super) fn run(dir: &Path, report: &mut Report) -> Result<(), String> {
    for path in json_files(&dir.join("input"))? {
        let name = path.file_name().map_or_else(String::new, |n| n.to_string_lossy().into_owned());
        let input: Value = serde_json::from_slice(&read(&path)?).map_err(|e| e.to_string())?;
        let want = read_text(&dir.join("output").join(&name))?;
        let got = canonical::to_string(&input).map_err(|e| e.to_string());
        report.equal(format!("jcs {name}"), got.as_deref(), Ok(want.trim_end_matches('\n')));
        let hex_path = dir.join("outhex").join(name.replace(".json", ".txt"));
        let hex: String = read_text(&hex_path)?.split_whitespace().collect();
        let bytes = super::hex(&hex)?;
        report.equal(format!("jcs {name} bytes"), got.unwrap_or_default().into_bytes(), bytes);
    }
    Ok(())
}
