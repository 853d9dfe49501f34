use obs_types::IngestOutcome;

use crate::WireError;

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
    /// Labels of one series, where a sender's shared attributes are copied into each.
    pub labels_max: usize,
}

/// Bytes that decoded items may take together: attributes of a resource are sent once and copied
/// into every item, so a body within its limit could still ask for a thousand times its size.
#[derive(Debug)]
pub(crate) struct Budget {
    what: &'static str,
    left: usize,
    limit: usize,
}

impl Budget {
    pub(crate) fn new(what: &'static str, caps: &WireCaps) -> Self {
        let limit = caps.output_bytes_max.saturating_mul(4);
        Self { what, left: limit, limit }
    }

    pub(crate) fn spend(&mut self, bytes: usize) -> Result<(), WireError> {
        let left = self.left.checked_sub(bytes);
        self.left = left.ok_or(WireError::Bomb { what: self.what, limit: self.limit as u64 })?;
        Ok(())
    }
}

impl Default for WireCaps {
    fn default() -> Self {
        Self {
            compressed_bytes_max: 16 << 20,
            output_bytes_max: 64 << 20,
            nesting_max: 64,
            messages_max: 1_000_000,
            labels_max: 256,
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
