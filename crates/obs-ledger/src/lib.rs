//! Receipts, durable append, checkpoint, recovery.
