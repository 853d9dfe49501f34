//! Receipts, durable append, checkpoint, recovery.
//!
//! Lives here: typed receipts ([`Receipt`]), the log file with its signed checkpoint ([`Ledger`]),
//! the log key, recovery after a crash, cosignatures of others and for others ([`Witness`]),
//! anchors ([`anchor`]).
//! Not here: hashes, trees and the verifier (`obs-proof`), sealed files (`obs-archive`), the
//! network (a [`Transport`] is handed in). Only this crate writes receipts, and it never rewrites one.
//! Units: times are milliseconds since the Unix epoch unless a type says otherwise; 64-bit numbers
//! that ENGINE does not name are decimal strings.
//! Source: `docs/format/ledger.md`.

pub mod anchor;
mod config;
mod cosigners;
mod error;
mod key;
mod ledger;
mod log;
mod queue;
mod receipt;
mod tiles;
mod transport;
mod witness;

pub use config::{LedgerConfig, LedgerMode};
pub use cosigners::{Asked, Cosigners, Round};
pub use error::LedgerError;
pub use ledger::{Cosigned, Head, KeyPlan, Ledger, key_files};
pub use receipt::{
    AlertAck, AlertFired, AlertResolved, AnchorReceipt, AnomalyDetected, Collection, CollectionGap,
    ConfigChange, DeletedFile, Exercise, FiledReport, Gap, LedgerRecovered, LogBatch, LogCounts,
    MetricSnapshot, MissedScrapes, MovedFile, OutsideChain, Receipt, ReceiptType, Records,
    ReportKind, Reseal, ResealCause, Retention, SealFields, SealLink, SealRelation, Silence,
    SloDefinition, SloReport, SloResult, TierMove, TraceBatch, TraceComplete,
};
pub use tiles::TilesWritten;
pub use transport::Transport;
pub use witness::{Witness, WitnessConfig, WitnessError};
