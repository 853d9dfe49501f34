//! The ledger against the verifier: crashes, tampering, receipts against their schemas.

mod crash;
mod ledger;
mod receipts;
mod support;
mod tamper;
