//! The log engine: head, index, blocks, recovery.
