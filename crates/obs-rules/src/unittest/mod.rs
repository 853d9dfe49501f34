//! Rule unit tests in promtool's file format.
//!
//! Each test starts from empty storage with its own series, evaluates every group each
//! `evaluation_interval` from the start to the last `eval_time`, and compares firing alerts and
//! query answers.

mod file;
mod run;

use std::path::{Path, PathBuf};

use crate::RulesError;

/// What to run and how strictly to read.
#[derive(Clone, Debug, Default)]
pub struct TestOptions {
    /// Passes over unknown fields of rule files and test files.
    pub ignore_unknown_fields: bool,
    /// Runs only tests whose name contains this.
    pub run: Option<String>,
}

/// One test of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TestOutcome {
    /// Its name, or `test 1` and so on.
    pub name: String,
    /// Empty when it passed.
    pub failures: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileOutcome {
    pub path: String,
    /// Why the file could not be run at all: a test file or rule file that is wrong.
    pub error: Option<String>,
    pub tests: Vec<TestOutcome>,
}

impl FileOutcome {
    pub fn passed(&self) -> bool {
        self.error.is_none() && self.tests.iter().all(|t| t.failures.is_empty())
    }
}

/// All files, in the order given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    pub files: Vec<FileOutcome>,
}

impl Report {
    pub fn passed(&self) -> bool {
        self.files.iter().all(FileOutcome::passed)
    }

    /// (passed, failed) tests; a file that cannot be run is one failure.
    pub fn counts(&self) -> (usize, usize) {
        let mut counts = (0, 0);
        for file in &self.files {
            counts.1 += usize::from(file.error.is_some());
            for test in &file.tests {
                match test.failures.is_empty() {
                    true => counts.0 += 1,
                    false => counts.1 += 1,
                }
            }
        }
        counts
    }
}

/// Runs test files; rule files are found relative to each of them.
pub fn run_files<P: AsRef<Path>>(paths: &[P], options: &TestOptions) -> Report {
    Report { files: paths.iter().map(|p| run_file(p.as_ref(), options)).collect() }
}

fn run_file(path: &Path, options: &TestOptions) -> FileOutcome {
    let shown = path.display().to_string();
    match load_and_run(path, options) {
        Ok(tests) => FileOutcome { path: shown, error: None, tests },
        Err(e) => FileOutcome { path: shown, error: Some(e.to_string()), tests: Vec::new() },
    }
}

fn load_and_run(path: &Path, options: &TestOptions) -> Result<Vec<TestOutcome>, RulesError> {
    let shown = path.display().to_string();
    let text = std::fs::read_to_string(path)
        .map_err(|e| RulesError::Read { path: shown.clone(), reason: e.to_string() })?;
    let file = file::TestFile::parse(&shown, &text, options.ignore_unknown_fields)?;
    let folder = path.parent().map_or_else(PathBuf::new, Path::to_path_buf);
    run::run(&file, &folder, options)
}
