//! Receipts, durable append, checkpoint, recovery.
//!
//! Lives here: typed receipts ([`Receipt`]), the log file with its signed checkpoint ([`Ledger`]),
//! the log key, recovery after a crash, cosignatures of others and for others ([`Witness`]).
//! Not here: hashes, trees and the verifier (`obs-proof`), sealed files (`obs-archive`), asking
//! witnesses over the network (`vm-obs`). Only this crate writes receipts, and it never rewrites one.
//! Units: times are milliseconds since the Unix epoch unless a type says otherwise; 64-bit numbers
//! that ENGINE does not name are decimal strings.
//! Source: `docs/format/ledger.md`.

mod config;
mod cosigners;
mod error;
mod key;
mod ledger;
mod log;
mod queue;
mod receipt;
mod tiles;
mod witness;

pub use config::{LedgerConfig, LedgerMode};
pub use cosigners::{Asked, Cosigners, Round, Transport};
pub use error::LedgerError;
pub use ledger::{Cosigned, Head, Ledger};
pub use receipt::{
    AlertAck, AlertFired, AlertResolved, AnomalyDetected, Collection, CollectionGap, ConfigChange,
    DeletedFile, Gap, LedgerRecovered, LogBatch, LogCounts, MetricSnapshot, Receipt, ReceiptType,
    Records, Retention, SealFields, SealLink, SealRelation, Silence, SloDefinition, SloReport,
    SloResult, TraceBatch, TraceComplete,
};
pub use tiles::TilesWritten;
pub use witness::{Witness, WitnessConfig, WitnessError};
