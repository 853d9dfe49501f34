//! What undoes faults, written down before they begin.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::exchange::{AllowedHosts, Request, client_config, exchange};

/// One way back. Each may be done twice without harm.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(tag = "undo", rename_all = "snake_case")]
pub enum Undo {
    /// Let a stopped process run; `started` tells it from a later one with its number.
    Resume {
        pid: i32,
        started: u64,
    },
    /// End a process that holds resources for us.
    End {
        pid: i32,
        started: u64,
    },
    /// End a program that we started, with all that it started in its process group.
    EndGroup {
        pid: i32,
        started: u64,
    },
    Remove {
        path: PathBuf,
    },
    Http {
        method: String,
        url: String,
        body: String,
    },
    /// A shell command, such as one that starts a service again.
    Command {
        command: String,
    },
}

/// A file of undo steps; gone when there is nothing to undo.
#[derive(Debug)]
pub struct UndoJournal {
    path: PathBuf,
    file: File,
    steps: Vec<(u64, Undo)>,
    next: u64,
}

#[derive(Deserialize, Serialize)]
enum Line {
    Undo(u64, Undo),
    Done(u64),
}

/// Ticks since boot at which a process began, from its `stat`; `None` where it is gone.
pub(super) fn started(pid: i32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name may hold anything, so what follows its last parenthesis counts.
    let rest = stat.rsplit_once(')')?.1;
    let mut fields = rest.split_whitespace();
    let state = fields.next()?;
    if state == "Z" {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

impl UndoJournal {
    /// `folder/NAME.undo`
    pub fn create(folder: &Path, name: &str) -> std::io::Result<Self> {
        std::fs::create_dir_all(folder)?;
        let path = folder.join(format!("{name}.undo"));
        let file = OpenOptions::new().create_new(true).append(true).open(&path)?;
        Ok(Self { path, file, steps: Vec::new(), next: 0 })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// On disk when it returns; gives the number to say [`Self::done`] with.
    pub fn add(&mut self, undo: Undo) -> std::io::Result<u64> {
        let number = self.next;
        self.write(&Line::Undo(number, undo.clone()))?;
        self.steps.push((number, undo));
        self.next += 1;
        Ok(number)
    }

    fn write(&mut self, line: &Line) -> std::io::Result<()> {
        let text = serde_json::to_string(line).map_err(std::io::Error::other)?;
        self.file.write_all(format!("{text}\n").as_bytes())?;
        self.file.sync_data()
    }

    /// Undoes one step; Err says what did not work.
    pub async fn undo(&mut self, number: u64) -> Result<(), String> {
        let Some(at) = self.steps.iter().position(|(n, _)| *n == number) else { return Ok(()) };
        let (_, step) = self.steps.remove(at);
        let outcome = perform(&step).await;
        self.write(&Line::Done(number)).map_err(|e| e.to_string())?;
        outcome
    }

    /// Undoes everything, the last first, and removes the file.
    pub async fn undo_all(mut self) -> Vec<String> {
        let mut problems = Vec::new();
        while let Some((number, _)) = self.steps.last().cloned() {
            problems.extend(self.undo(number).await.err());
        }
        if let Err(e) = std::fs::remove_file(&self.path) {
            problems.push(format!("cannot remove {}: {e}", self.path.display()));
        }
        problems
    }
}

/// Journals that runs left behind when they were killed.
pub fn leftovers(folder: &Path) -> Vec<PathBuf> {
    let files = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|f| f.path());
    let mut out: Vec<PathBuf> =
        files.filter(|p| p.extension().is_some_and(|e| e == "undo")).collect();
    out.sort();
    out
}

/// Undoes what a journal still holds and removes it. A line that was cut is of a fault that had not
/// begun.
pub async fn replay(path: &Path) -> Result<Vec<String>, String> {
    let text = std::fs::read_to_string(path)
        .map_err(|e| format!("cannot read {}: {e}", path.display()))?;
    let mut steps: Vec<(u64, Undo)> = Vec::new();
    for line in text.lines() {
        match serde_json::from_str::<Line>(line) {
            Ok(Line::Undo(number, undo)) => steps.push((number, undo)),
            Ok(Line::Done(number)) => steps.retain(|(n, _)| *n != number),
            Err(_) => break,
        }
    }
    let mut said = Vec::new();
    for (_, step) in steps.iter().rev() {
        match perform(step).await {
            Ok(()) => said.push(format!("undone: {step:?}")),
            Err(e) => said.push(format!("not undone: {step:?}: {e}")),
        }
    }
    std::fs::remove_file(path).map_err(|e| format!("cannot remove {}: {e}", path.display()))?;
    Ok(said)
}

pub(super) fn signal(pid: i32, signal: rustix::process::Signal) -> Result<(), String> {
    let pid = rustix::process::Pid::from_raw(pid).ok_or("no process has the number 0")?;
    rustix::process::kill_process(pid, signal).map_err(|e| e.to_string())
}

async fn perform(step: &Undo) -> Result<(), String> {
    use rustix::process::Signal;
    match step {
        // Another process may have the number by now; it is left alone.
        Undo::Resume { pid, started: when } if started(*pid) == Some(*when) => {
            signal(*pid, Signal::CONT)
        }
        Undo::End { pid, started: when } if started(*pid) == Some(*when) => {
            signal(*pid, Signal::KILL)
        }
        Undo::EndGroup { pid, started: when } if started(*pid) == Some(*when) => {
            let group = rustix::process::Pid::from_raw(*pid).ok_or("no group has the number 0")?;
            rustix::process::kill_process_group(group, Signal::KILL).map_err(|e| e.to_string())
        }
        Undo::Resume { .. } | Undo::End { .. } | Undo::EndGroup { .. } => Ok(()),
        Undo::Remove { path } => match std::fs::remove_file(path) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(e.to_string()),
            _ => Ok(()),
        },
        Undo::Http { method, url, body } => {
            let request = Request {
                method: method.parse().map_err(|_e| format!("{method:?} is no method"))?,
                uri: url.parse().map_err(|e| format!("{url:?}: {e}"))?,
                headers: hyper::HeaderMap::new(),
                body: bytes::Bytes::from(body.clone()),
            };
            let tls = client_config(&crate::exchange::TlsForm::default(), &[])
                .map_err(|e| e.to_string())?;
            // What was allowed when the fault began is allowed to end.
            let anybody = AllowedHosts::new(["*".to_owned()]);
            let reply =
                exchange(&request, &tls, &anybody, Duration::from_secs(10), 1 << 20).await?;
            match reply.status.as_u16() {
                404 | 200..=299 => Ok(()),
                status => Err(format!("{method} {url} answered {status}")),
            }
        }
        Undo::Command { command } => {
            let status = tokio::process::Command::new("sh")
                .args(["-c", command])
                .stdin(std::process::Stdio::null())
                .status()
                .await
                .map_err(|e| e.to_string())?;
            if status.success() { Ok(()) } else { Err(format!("{command:?} ended with {status}")) }
        }
    }
}
