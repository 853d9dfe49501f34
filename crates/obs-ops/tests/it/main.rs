//! Operations over real engines, a real ledger and a clock that only the test moves.

#![expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

mod alerts;
mod faults;
mod reseal;
mod seals;
mod slos_and_anomalies;
mod storage;
mod world;
