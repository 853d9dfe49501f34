//! The deployment gate: criteria in three colours, asked in a rhythm, kept in a journal that
//! survives the one who watches.
//!
//! Lives here: profiles, one check, the verdict over all checks, journal, summary, comparison with
//! an earlier run. Not here: asking the server and waiting (`vm-obs`).
//! Source: the GENESIS guide, sections 7 and 8; `docs/exercises.md`.

mod check;
mod journal;
mod profile;
mod summary;

pub use check::{Check, Light, Measured, judge};
pub use journal::{Entry, Header, Journal, JournalError};
pub use profile::{Criterion, GateProfile, PROFILES, Phase, profile};
pub use summary::{Summary, Verdict};
