//! The engine against a plain model, through crashes, damage and full disks.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod crash;
mod limits;
mod model;
mod queries;
mod world;
