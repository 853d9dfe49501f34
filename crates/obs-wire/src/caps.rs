use obs_types::IngestOutcome;

/// Limits of one request body, given to every decoder.
#[derive(Clone, Copy, Debug)]
pub struct WireCaps {
    /// Bytes as they come over the wire.
    pub compressed_bytes_max: usize,
    /// Bytes after decompression.
    pub output_bytes_max: usize,
    /// Depth of nested values.
    pub nesting_max: usize,
    /// Messages (or JSON objects) in one body: an empty protobuf message costs 2 bytes to send and
    /// hundreds to hold.
    pub messages_max: usize,
}

impl Default for WireCaps {
    fn default() -> Self {
        Self {
            compressed_bytes_max: 16 << 20,
            output_bytes_max: 64 << 20,
            nesting_max: 64,
            messages_max: 1_000_000,
        }
    }
}

/// A decoded body: what can be stored, and the items that were dropped, by reason. `accepted` of
/// the outcome stays 0; the sink counts what it takes.
#[derive(Clone, Debug, Default)]
pub struct Decoded<T> {
    pub batch: T,
    pub outcome: IngestOutcome,
}
