//! Offline verification of a data folder or of a receipts folder.
//!
//! 1. The checkpoint is read first; everything is checked against exactly the prefix it names, so
//!    a live folder gives the same answer as a copy of it.
//! 2. Its signature must be by a trusted log key, its witnesses must make the policy's quorum.
//! 3. Every line: canonical, numbered without a hole, time not going back, `root_hash` the root
//!    over the lines before it. Then both roots, and the state an earlier run remembered.
//! 4. Seals: every hour of every stream follows the one before or is a declared gap; every sealed
//!    file is there with its size and hash, or its deletion is receipted.
//! 5. Contracts in receipts: signed by an actor of the registry, and of what the receipt says.
//!
//! Never OK about something that was not checked: what was skipped is in the report, and a log
//! without receipts is `NOTHING_VERIFIED`. The writer of the ledger shares the format page
//! (`docs/format/ledger.md`) with this module, not its code path.

mod contracts;
mod files;
mod finding;
mod lines;
mod options;
mod proof_file;
mod report;
mod run;
mod seals;
mod trust;

pub use files::{RecordReader, RecordSink, RecordsRead, SealedFile};
pub use finding::{Class, Code, Finding};
pub use options::{Depth, HELP, Parsed, UsageError, VerifyOptions};
pub use proof_file::{Proven, ShownRecord};
pub use report::{SealedHours, VerifyReport};
pub use run::{verify, verify_with};
