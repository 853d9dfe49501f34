//! Anchors: checkpoints in places that this node does not control.
//!
//! Lives here: the backends ([`FileAnchor`], [`GitAnchor`], [`TimeStampAnchor`],
//! [`OpenTimestampsAnchor`]), and the [`Scheduler`] that serves them. Not here: HTTP (a
//! [`crate::Transport`] is handed in) and configuration files.

mod der;
mod file;
mod git;
mod opentimestamps;
pub mod rfc3161;
mod scheduler;

pub use file::FileAnchor;
pub use git::GitAnchor;
pub use opentimestamps::{Headers, OpenTimestampsAnchor};
pub use rfc3161::{Roots, StampError, TimeStampAnchor};
pub use scheduler::{AnchorStatus, BACKOFF_LEVEL_MAX, Scheduled, Scheduler, SchedulerStats};

use obs_types::TimestampMs;

/// What is to be anchored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// Receipts that the checkpoint covers.
    pub size: u64,
    /// The signed note.
    pub note: String,
    /// Its text: what time stamps are about.
    pub text: String,
}

/// What a backend gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Anchored {
    /// It stands there; `at` is the time that somebody else names, if one does.
    Done { proof: Vec<u8>, at: Option<TimestampMs> },
    /// A promise, which proves nothing yet.
    Pending { proof: Vec<u8> },
}

/// A place for checkpoints.
pub trait Anchor: Send + Sync {
    /// `file`, `git`, `rfc3161` or `opentimestamps`.
    fn kind(&self) -> &'static str;
    /// Folder or address.
    fn target(&self) -> String;
    /// Extension of a proof's file.
    fn extension(&self) -> &'static str;
    /// `Err` is a reason to try again later.
    fn submit(&self, subject: &Subject) -> Result<Anchored, String>;

    /// Asks again about a promise; `None` if it is one still.
    fn upgrade(&self, _pending: &[u8], _subject: &Subject) -> Result<Option<Anchored>, String> {
        Ok(None)
    }

    /// The newest checkpoint that stands there, where such a place can be asked.
    fn newest(&self) -> Result<Option<String>, String> {
        Ok(None)
    }
}
