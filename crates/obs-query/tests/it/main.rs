//! The query front over real engines.

#![expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

mod dashboards;
mod engines;
mod incident;
mod tiers;
