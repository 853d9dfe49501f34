//! The mends that the doctor does itself. Each keeps the file as it was beside it, as `FILE.bak`.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{Finding, Fix};

#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FixError {
    #[error("cannot read {}: {source}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{}: {reason}", path.display())]
    Shape { path: PathBuf, reason: String },
    #[error("{} is there already; move it away first", path.display())]
    BackupExists { path: PathBuf },
    #[error("cannot write {}: {source}", path.display())]
    Write { path: PathBuf, source: std::io::Error },
}

/// Does the mends of the findings, all of a file in one go. Gives a line about each thing done.
/// Stops at the first failure; the file it concerns is as it was.
pub fn apply(findings: &[Finding]) -> Result<Vec<String>, FixError> {
    let mut done = Vec::new();
    let mut files: Vec<&Path> = Vec::new();
    for fix in findings.iter().filter_map(|f| f.fix.as_ref()) {
        if !files.contains(&fix.file().as_path()) {
            files.push(fix.file());
        }
    }
    for file in files {
        let fixes: Vec<&Fix> =
            findings.iter().filter_map(|f| f.fix.as_ref()).filter(|f| f.file() == file).collect();
        done.extend(mend(file, &fixes)?);
    }
    Ok(done)
}

fn mend(file: &Path, fixes: &[&Fix]) -> Result<Vec<String>, FixError> {
    let text = std::fs::read_to_string(file)
        .map_err(|source| FixError::Read { path: file.to_owned(), source })?;
    let shape = |reason: String| FixError::Shape { path: file.to_owned(), reason };
    let mut json: Value = serde_json::from_str(&text).map_err(|e| shape(e.to_string()))?;
    let mut done = Vec::new();
    for fix in fixes {
        match fix {
            Fix::UnwrapDashboard { .. } => {
                let inner = json.get_mut("dashboard").map(Value::take);
                json = inner
                    .filter(Value::is_object)
                    .ok_or_else(|| shape("is not wrapped".to_owned()))?;
                done.push(format!("{}: took the dashboard out of its wrapper", file.display()));
            }
            Fix::ResolveInputs { inputs, .. } => {
                for (name, uid) in inputs {
                    let from = [format!("${{{name}}}"), format!("${name}")];
                    replace_sources(&mut json, &|s| from.contains(s).then(|| uid.clone()));
                    done.push(format!("{}: ${{{name}}} is now {uid}", file.display()));
                }
                if let Some(map) = json.as_object_mut() {
                    map.shift_remove("__inputs");
                }
            }
            Fix::RenameDataSource { from, to, .. } => {
                replace_sources(&mut json, &|s| (s == from).then(|| to.clone()));
                done.push(format!("{}: data source {from} is now {to}", file.display()));
            }
        }
    }
    let mut name = file.as_os_str().to_owned();
    name.push(".bak");
    let backup = PathBuf::from(name);
    if backup.exists() {
        return Err(FixError::BackupExists { path: backup });
    }
    let write = |path: &Path, text: &str| {
        std::fs::write(path, text)
            .map_err(|source| FixError::Write { path: path.to_owned(), source })
    };
    write(&backup, &text)?;
    write(file, &format!("{json:#}\n"))?;
    Ok(done)
}

/// Every reference to a data source, as text or as `{type, uid}`.
fn replace_sources(json: &mut Value, to: &dyn Fn(&String) -> Option<String>) {
    match json {
        Value::Object(map) => {
            for (key, value) in map {
                match (key.as_str(), &mut *value) {
                    ("__inputs" | "__requires", _) => {}
                    ("datasource", Value::String(name)) => {
                        if let Some(new) = to(name) {
                            *name = new;
                        }
                    }
                    ("datasource", Value::Object(o)) => {
                        if let Some(Value::String(uid)) = o.get_mut("uid")
                            && let Some(new) = to(uid)
                        {
                            *uid = new;
                        }
                    }
                    _ => replace_sources(value, to),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|i| replace_sources(i, to)),
        _ => {}
    }
}
