//! The metrics engine: head, index, blocks, compaction, recovery.
