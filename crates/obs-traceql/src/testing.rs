//! Runs a folder of TraceQL conformance lists: `xtask conformance traceql` and our own tests.
//!
//! A list is YAML with the keys `valid`, `parse_fails`, `validate_fails` and `unsupported`, each a
//! sequence of quoted queries. Only that much of YAML is read.

use std::fs;
use std::path::{Path, PathBuf};

use crate::{TraceQlError, parse};

/// What a run found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    pub passed: usize,
    pub total: usize,
    /// One line per case that failed: file, line, query, what was wanted and what came.
    pub failures: Vec<String>,
}

/// Why a list could not be run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    #[error("cannot read {path}")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{path}:{line}: {message}")]
    Format { path: PathBuf, line: usize, message: String },
    #[error("no .yaml file with queries in {path}")]
    Empty { path: PathBuf },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Valid,
    ParseFails,
    ValidateFails,
    Unsupported,
}

/// Runs every `*.yaml` of the folder, sorted by name. A valid query must also print to a text that
/// parses to an equal query.
pub fn run_dir(dir: &Path) -> Result<Report, RunError> {
    let read = |source| RunError::Read { path: dir.to_owned(), source };
    let mut files: Vec<PathBuf> = Vec::new();
    for entry in fs::read_dir(dir).map_err(read)? {
        let path = entry.map_err(read)?.path();
        if path.extension().is_some_and(|e| e == "yaml") {
            files.push(path);
        }
    }
    files.sort();
    let mut report = Report::default();
    for path in files {
        let text = fs::read_to_string(&path)
            .map_err(|source| RunError::Read { path: path.clone(), source })?;
        run_list(&path, &text, &mut report)?;
    }
    if report.total == 0 {
        return Err(RunError::Empty { path: dir.to_owned() });
    }
    Ok(report)
}

fn run_list(path: &Path, text: &str, report: &mut Report) -> Result<(), RunError> {
    let mut wanted = None;
    for (number, line) in text.lines().enumerate() {
        let bad = |message: &str| RunError::Format {
            path: path.to_owned(),
            line: number + 1,
            message: message.to_owned(),
        };
        let trimmed = line.trim();
        if trimmed.is_empty() || trimmed.starts_with('#') {
            continue;
        }
        if let Some(item) = trimmed.strip_prefix("- ") {
            let Some(wanted) = wanted else { continue };
            let query = scalar(item.trim()).ok_or_else(|| bad("the query is not quoted"))?;
            report.total += 1;
            match check(&query, wanted) {
                Ok(()) => report.passed += 1,
                Err(why) => report.failures.push(format!(
                    "{}:{}: {query}: {why}",
                    path.display(),
                    number + 1
                )),
            }
            continue;
        }
        wanted = match trimmed {
            "valid:" => Some(Outcome::Valid),
            "parse_fails:" => Some(Outcome::ParseFails),
            "validate_fails:" => Some(Outcome::ValidateFails),
            "unsupported:" => Some(Outcome::Unsupported),
            "dump:" => None,
            _ => return Err(bad("neither a known list nor a query")),
        };
    }
    Ok(())
}

/// A quoted YAML scalar at the start of the text; a comment may follow.
fn scalar(text: &str) -> Option<String> {
    let mut chars = text.chars().peekable();
    let quote = chars.next()?;
    let mut out = String::new();
    while let Some(c) = chars.next() {
        match (quote, c) {
            ('\'', '\'') => match chars.next_if_eq(&'\'') {
                Some(c) => out.push(c),
                None => return Some(out),
            },
            ('"', '"') => return Some(out),
            ('"', '\\') => out.push(match chars.next()? {
                'n' => '\n',
                't' => '\t',
                'r' => '\r',
                other => other,
            }),
            ('\'' | '"', c) => out.push(c),
            _ => return None,
        }
    }
    None
}

fn check(text: &str, wanted: Outcome) -> Result<(), String> {
    let (got, detail) = match parse(text) {
        Err(e) => (Outcome::ParseFails, e.to_string()),
        Ok(query) => match query.validate() {
            Ok(()) => {
                let printed = query.to_string();
                match parse(&printed) {
                    Ok(again) if again == query => {}
                    Ok(_) => {
                        return Err(format!("printed as {printed}, which means another query"));
                    }
                    Err(e) => return Err(format!("printed as {printed}: {e}")),
                }
                (Outcome::Valid, "it is valid".to_owned())
            }
            Err(e @ TraceQlError::Unsupported(_)) => (Outcome::Unsupported, e.to_string()),
            Err(e) => (Outcome::ValidateFails, e.to_string()),
        },
    };
    if got == wanted { Ok(()) } else { Err(format!("wanted {wanted:?}, got {got:?}: {detail}")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_expectation_is_a_failure() {
        let mut report = Report::default();
        let text = "valid:\n  - '{ .a }' # fine\n  - '{ . }'\nparse_fails:\n  - \"{ .a\\n }\"\n";
        run_list(Path::new("x.yaml"), text, &mut report).unwrap();
        assert_eq!((report.passed, report.total), (1, 3));
        assert!(report.failures[0].contains("x.yaml:3"), "{:?}", report.failures);
        assert!(report.failures[1].contains("got Valid"), "{:?}", report.failures);
    }
}
