//! The ledger against the verifier: crashes, tampering, receipts against their schemas.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod actors;
mod anchors;
mod crash;
mod keys;
mod ledger;
mod receipts;
mod second_verifier;
mod support;
mod tamper;
mod tiles;
mod witness;
