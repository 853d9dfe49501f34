//! Prometheus' block files: index, chunks, tombstones, read from bytes; XOR and float histogram
//! chunks written for remote read.
//!
//! A block folder holds `meta.json`, `index`, `chunks/000001`… and `tombstones`. The caller reads
//! the files; every error names the file and the byte in it. Every checksum is verified.
//! Source: Prometheus 3, TSDB disk format, index version 2.

mod bits;
mod chunk;
mod histogram;
mod index;
mod layout;
mod tombstones;

#[cfg(test)]
mod tests;

pub use chunk::{Chunk, ChunkEncoding, Samples, chunk_at, encode_float_histogram, encode_xor};
pub use index::{ChunkMeta, Index, IndexSeries};
pub use tombstones::{Tombstones, read_tombstones};

/// What is wrong with a file of a block, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file} at byte {offset}: {message}")]
pub struct TsdbError {
    pub file: String,
    /// From the start of the file.
    pub offset: u64,
    pub message: String,
}

impl TsdbError {
    pub(crate) fn new(file: &str, offset: usize, message: impl Into<String>) -> Self {
        Self { file: file.to_owned(), offset: offset as u64, message: message.into() }
    }
}
