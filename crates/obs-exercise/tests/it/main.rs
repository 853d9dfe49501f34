//! Seeded faults: each is a small change of a healthy set-up, and must be found and named, alone.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on ends there")]

mod audit;
mod chaos;
mod files;
mod fixes;
mod load;
mod probe;
mod running;
mod server;
mod stored;
mod support;
mod telemetry;
