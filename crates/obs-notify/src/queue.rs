//! Notifications on disk: `notifications.jsonl`, one JSON object a line.
//!
//! Invariants:
//! - A message is sent after its `queued` line is synced; it is forgotten only by a `done` line. A
//!   crash between sending and that line repeats the message (at least once).
//! - A disk that refuses does not hold a message back, for the message may be about that disk: it
//!   waits in memory, and the file is written anew as soon as the disk takes it.
//! - A torn last line is cut off on opening; every other line is kept.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use obs_types::TimestampMs;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::NotifyError;

/// Finished deliveries kept for the log.
const LOG_MAX: usize = 1000;

/// The file is rewritten on opening when it is longer than this.
const FILE_BYTES_MAX: usize = 4 << 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryStatus {
    Queued,
    Sent,
    Failed,
}

/// One message to one target.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Delivery {
    pub id: u64,
    pub receiver: String,
    /// Which of the receiver's targets.
    pub target: usize,
    /// `slack:ops-channel`
    pub name: String,
    pub group_key: String,
    pub at_ms: i64,
    /// Alert ids told as firing.
    pub firing: BTreeSet<String>,
    /// Alert ids told as resolved.
    pub resolved: BTreeSet<String>,
    pub body: Value,
    pub status: DeliveryStatus,
    pub attempts: u32,
    /// Why the last attempt failed; never an address.
    pub detail: String,
    pub done_at_ms: Option<i64>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    Queued(Box<Delivery>),
    Done { id: u64, status: DeliveryStatus, attempts: u32, detail: String, at_ms: i64 },
}

/// The queue and the delivery log.
#[derive(Debug)]
pub struct Queue {
    path: PathBuf,
    file: File,
    next_id: u64,
    waiting: BTreeMap<u64, Delivery>,
    done: VecDeque<Delivery>,
    /// The disk refused something; the file is to be rewritten.
    behind: bool,
}

impl Queue {
    /// Opens or creates `dir/notifications.jsonl`.
    pub fn open(dir: &Path) -> Result<Self, NotifyError> {
        let path = dir.join("notifications.jsonl");
        let fail = |source| NotifyError::Queue { path: path.display().to_string(), source };
        std::fs::create_dir_all(dir).map_err(fail)?;
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            Err(e) => return Err(fail(e)),
        };
        let whole = bytes.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
        let mut queue = Self {
            file: OpenOptions::new().append(true).create(true).open(&path).map_err(fail)?,
            path: path.clone(),
            next_id: 1,
            waiting: BTreeMap::new(),
            done: VecDeque::new(),
            behind: false,
        };
        if whole < bytes.len() {
            queue.file.set_len(whole as u64).map_err(fail)?;
        }
        let text = String::from_utf8_lossy(bytes.get(..whole).unwrap_or_default()).into_owned();
        for line in text.lines() {
            match serde_json::from_str::<Line>(line) {
                Ok(line) => queue.replay(line),
                Err(e) => tracing::error!(error = %e, "unreadable line in the notification queue"),
            }
        }
        if whole > FILE_BYTES_MAX {
            queue.rewrite()?;
        }
        Ok(queue)
    }

    fn replay(&mut self, line: Line) {
        match line {
            Line::Queued(delivery) => {
                self.next_id = self.next_id.max(delivery.id.saturating_add(1));
                if delivery.status == DeliveryStatus::Queued {
                    self.waiting.insert(delivery.id, *delivery);
                } else {
                    self.keep(*delivery);
                }
            }
            Line::Done { id, status, attempts, detail, at_ms } => {
                if let Some(mut delivery) = self.waiting.remove(&id) {
                    delivery.status = status;
                    delivery.attempts = attempts;
                    delivery.detail = detail;
                    delivery.done_at_ms = Some(at_ms);
                    self.keep(delivery);
                }
            }
        }
    }

    fn keep(&mut self, delivery: Delivery) {
        self.done.push_back(delivery);
        while self.done.len() > LOG_MAX {
            self.done.pop_front();
        }
    }

    /// Takes messages and gives them their ids. They wait from now on in any case; `Err` beside
    /// them where the disk refused them, so that a crash would lose them.
    pub fn push(&mut self, deliveries: Vec<Delivery>) -> (Vec<Delivery>, Result<(), NotifyError>) {
        let mut out = Vec::with_capacity(deliveries.len());
        let mut text = Vec::new();
        for (id, mut delivery) in (self.next_id..).zip(deliveries) {
            delivery.id = id;
            put(&mut text, &Line::Queued(Box::new(delivery.clone())));
            out.push(delivery);
        }
        self.next_id += out.len() as u64;
        self.waiting.extend(out.iter().map(|d| (d.id, d.clone())));
        (out, self.persist(&text))
    }

    /// Notes the end of a delivery. `Err` where the disk refused the note, so that a crash would
    /// repeat the message.
    pub fn finish(
        &mut self,
        id: u64,
        status: DeliveryStatus,
        attempts: u32,
        detail: &str,
        now: TimestampMs,
    ) -> Result<(), NotifyError> {
        let line = Line::Done { id, status, attempts, detail: detail.to_owned(), at_ms: now.0 };
        let mut text = Vec::new();
        put(&mut text, &line);
        self.replay(line);
        self.persist(&text)
    }

    /// Writes what the disk refused before, if anything.
    pub fn catch_up(&mut self) -> Result<(), NotifyError> {
        if self.behind {
            self.rewrite()?;
            self.behind = false;
        }
        Ok(())
    }

    /// Messages not delivered yet, oldest first.
    pub fn waiting(&self) -> impl Iterator<Item = &Delivery> {
        self.waiting.values()
    }

    /// Finished deliveries, oldest first.
    pub fn log(&self) -> impl Iterator<Item = &Delivery> {
        self.done.iter()
    }

    /// The last message of each group: what it told as firing, and when.
    pub fn last_told(&self) -> BTreeMap<String, (BTreeSet<String>, TimestampMs)> {
        let mut all: Vec<&Delivery> = self.done.iter().chain(self.waiting.values()).collect();
        all.sort_by_key(|d| d.id);
        let told = |d: &Delivery| (d.group_key.clone(), (d.firing.clone(), TimestampMs(d.at_ms)));
        all.into_iter().map(told).collect()
    }

    /// Writes lines that memory holds already.
    fn persist(&mut self, text: &[u8]) -> Result<(), NotifyError> {
        if self.behind {
            return self.catch_up();
        }
        let written = self.append(text);
        self.behind = written.is_err();
        written
    }

    fn append(&mut self, text: &[u8]) -> Result<(), NotifyError> {
        let before = self.file.metadata().map(|m| m.len());
        let written = self.file.write_all(text).and_then(|()| self.file.sync_data());
        written.map_err(|source| {
            // Half a line would swallow the next one.
            if let Ok(len) = before
                && let Err(e) = self.file.set_len(len)
            {
                tracing::error!(error = %e, "cannot cut the notification queue back");
            }
            NotifyError::Queue { path: self.path.display().to_string(), source }
        })
    }

    /// Replaces the file by what is still of use.
    fn rewrite(&mut self) -> Result<(), NotifyError> {
        let fail = |source| NotifyError::Queue { path: self.path.display().to_string(), source };
        let mut text = Vec::new();
        for delivery in self.done.iter().chain(self.waiting.values()) {
            put(&mut text, &Line::Queued(Box::new(delivery.clone())));
        }
        let fresh = self.path.with_extension("tmp");
        let written = File::create(&fresh)
            .and_then(|mut file| file.write_all(&text).and_then(|()| file.sync_all()))
            .and_then(|()| std::fs::rename(&fresh, &self.path));
        if let Err(e) = written {
            // On a full disk half a file would only take the space that is to come back.
            let _gone_or_never_there = std::fs::remove_file(&fresh);
            return Err(fail(e));
        }
        if let Some(dir) = self.path.parent() {
            File::open(dir).and_then(|d| d.sync_all()).map_err(fail)?;
        }
        self.file = OpenOptions::new().append(true).open(&self.path).map_err(fail)?;
        Ok(())
    }
}

fn put(out: &mut Vec<u8>, line: &Line) {
    match serde_json::to_vec(line) {
        Ok(bytes) => {
            out.extend_from_slice(&bytes);
            out.push(b'\n');
        }
        Err(e) => tracing::error!(error = %e, "a notification cannot be written as JSON"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(name: &str) -> Delivery {
        Delivery {
            id: 0,
            receiver: "ops".to_owned(),
            target: 0,
            name: name.to_owned(),
            group_key: "{}".to_owned(),
            at_ms: 1,
            firing: BTreeSet::from(["a".to_owned()]),
            resolved: BTreeSet::new(),
            body: Value::Null,
            status: DeliveryStatus::Queued,
            attempts: 0,
            detail: String::new(),
            done_at_ms: None,
        }
    }

    #[test]
    fn a_disk_that_refuses_holds_no_message_back() {
        let dir = tempfile::tempdir().unwrap();
        let mut queue = Queue::open(dir.path()).unwrap();
        let (first, written) = queue.push(vec![message("one")]);
        written.unwrap();

        // A handle that cannot write, and no room for a new file.
        queue.file = File::open(&queue.path).unwrap();
        let blocked = queue.path.with_extension("tmp");
        std::fs::create_dir(&blocked).unwrap();
        let (second, written) = queue.push(vec![message("two"), message("three")]);
        assert!(written.is_err());
        assert_eq!(second.iter().map(|d| d.id).collect::<Vec<_>>(), [2, 3]);
        assert_eq!(queue.waiting().count(), 3, "they are sent all the same");
        let sent =
            |queue: &mut Queue, id| queue.finish(id, DeliveryStatus::Sent, 1, "", TimestampMs(5));
        assert!(sent(&mut queue, first[0].id).is_err());
        assert!(queue.catch_up().is_err());
        assert_eq!(Queue::open(dir.path()).unwrap().waiting().count(), 1, "as the disk has it");

        std::fs::remove_dir(&blocked).unwrap();
        sent(&mut queue, second[0].id).unwrap();
        queue.push(vec![message("four")]).1.unwrap();
        let again = Queue::open(dir.path()).unwrap();
        let names =
            |all: Vec<&Delivery>| all.into_iter().map(|d| d.name.clone()).collect::<Vec<_>>();
        assert_eq!(names(again.waiting().collect()), ["three", "four"]);
        assert_eq!(names(again.log().collect()), ["one", "two"]);
    }
}
