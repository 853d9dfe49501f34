//! The journal: a line of JSON for the beginning, then one for each check, synced before it counts.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::check::Check;

/// The first line.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Header {
    pub version: u32,
    pub run_id: String,
    pub profile: String,
    /// RFC 3339, by the clock of the server.
    pub started_at: String,
    pub for_seconds: f64,
}

/// A later line.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Entry {
    Check(Check),
    /// The verdict; nothing follows it.
    Closed(String),
}

/// What a journal file refuses.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JournalError {
    #[error("cannot use {}: {source}", path.display())]
    Io { path: PathBuf, source: std::io::Error },
    #[error("{} line {line}: {reason}", path.display())]
    Damaged { path: PathBuf, line: usize, reason: String },
    #[error(
        "{} is of profile {found:?} for {found_seconds} s, not {wanted:?} for {wanted_seconds} s",
        path.display()
    )]
    Other { path: PathBuf, found: String, found_seconds: f64, wanted: String, wanted_seconds: f64 },
}

/// An open journal with what stands in it.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: File,
    pub header: Header,
    pub checks: Vec<Check>,
    pub closed: Option<String>,
}

impl Journal {
    /// Goes on with the file at `path`, or begins it with `header`. A last line that a crash cut is
    /// taken off; it was never counted.
    pub fn open(path: &Path, header: Header) -> Result<Self, JournalError> {
        let io = |source| JournalError::Io { path: path.to_owned(), source };
        let exists = path.metadata().map(|m| m.len() > 0).unwrap_or(false);
        if exists {
            let found = Self::read(path)?;
            if found.header.profile != header.profile
                || (found.header.for_seconds - header.for_seconds).abs() > 0.5
            {
                return Err(JournalError::Other {
                    path: path.to_owned(),
                    found: found.header.profile,
                    found_seconds: found.header.for_seconds,
                    wanted: header.profile,
                    wanted_seconds: header.for_seconds,
                });
            }
            return Ok(found);
        }
        let file = OpenOptions::new().create(true).append(true).open(path).map_err(io)?;
        let mut journal =
            Self { path: path.to_owned(), file, header, checks: Vec::new(), closed: None };
        let line = serde_json::to_string(&journal.header).unwrap_or_default();
        journal.write(&line)?;
        Ok(journal)
    }

    /// A journal that is there.
    pub fn read(path: &Path) -> Result<Self, JournalError> {
        let io = |source| JournalError::Io { path: path.to_owned(), source };
        let mut file = OpenOptions::new().read(true).append(true).open(path).map_err(io)?;
        let mut whole_bytes = 0u64;
        let mut header = None;
        let (mut checks, mut closed) = (Vec::new(), None);
        let mut reader = BufReader::new(&mut file);
        for number in 1.. {
            let mut line = Vec::new();
            let length = reader.read_until(b'\n', &mut line).map_err(io)?;
            if line.last() != Some(&b'\n') {
                break;
            }
            let damaged = |e: serde_json::Error| JournalError::Damaged {
                path: path.to_owned(),
                line: number,
                reason: e.to_string(),
            };
            if header.is_none() {
                header = Some(serde_json::from_slice::<Header>(&line).map_err(damaged)?);
            } else {
                match serde_json::from_slice::<Entry>(&line).map_err(damaged)? {
                    Entry::Check(check) => checks.push(check),
                    Entry::Closed(verdict) => closed = Some(verdict),
                }
            }
            whole_bytes += length as u64;
        }
        let header = header.ok_or_else(|| JournalError::Damaged {
            path: path.to_owned(),
            line: 1,
            reason: "the first line is missing".to_owned(),
        })?;
        file.set_len(whole_bytes).map_err(io)?;
        Ok(Self { path: path.to_owned(), file, header, checks, closed })
    }

    pub fn add(&mut self, check: Check) -> Result<(), JournalError> {
        let line = serde_json::to_string(&Entry::Check(check.clone())).unwrap_or_default();
        self.write(&line)?;
        self.checks.push(check);
        Ok(())
    }

    pub fn close(&mut self, verdict: &str) -> Result<(), JournalError> {
        let line = serde_json::to_string(&Entry::Closed(verdict.to_owned())).unwrap_or_default();
        self.write(&line)?;
        self.closed = Some(verdict.to_owned());
        Ok(())
    }

    fn write(&mut self, line: &str) -> Result<(), JournalError> {
        let io = |source| JournalError::Io { path: self.path.clone(), source };
        self.file.write_all(format!("{line}\n").as_bytes()).map_err(io)?;
        self.file.sync_data().map_err(|source| JournalError::Io { path: self.path.clone(), source })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::Light;

    fn header() -> Header {
        Header {
            version: 1,
            run_id: "gate-1".into(),
            profile: "genesis".into(),
            started_at: "2025-12-06T14:00:00Z".into(),
            for_seconds: 60.0,
        }
    }

    #[test]
    fn a_journal_goes_on_where_it_was_cut() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        let check = |s: f64| Check {
            at: "t".into(),
            elapsed_seconds: s,
            light: Light::Green,
            criteria: Vec::new(),
        };
        let mut journal = Journal::open(&path, header()).unwrap();
        journal.add(check(0.0)).unwrap();
        journal.add(check(1.0)).unwrap();
        drop(journal);
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, &whole[..whole.len() - 5]).unwrap();
        let mut journal = Journal::open(&path, header()).unwrap();
        assert_eq!(journal.checks, [check(0.0)]);
        journal.add(check(1.0)).unwrap();
        journal.close("continue").unwrap();
        assert_eq!(std::fs::read(&path).unwrap()[..whole.len()], whole);
        let journal = Journal::read(&path).unwrap();
        assert_eq!((journal.checks.len(), journal.closed.as_deref()), (2, Some("continue")));

        let other = Header { profile: "standard".into(), ..header() };
        assert!(Journal::open(&path, other).unwrap_err().to_string().contains("standard"));
        std::fs::write(&path, "nonsense\n").unwrap();
        assert!(Journal::open(&path, header()).unwrap_err().to_string().contains("line 1"));
    }
}
