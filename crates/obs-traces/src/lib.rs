//! The trace engine: head, index, blocks, recovery.
