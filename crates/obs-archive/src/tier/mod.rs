//! Sealed files that were moved to a store, read in place of local ones.

mod cache;
mod cold;
mod disk;
mod plan;

pub use cold::{ColdFile, ColdTier};
pub(crate) use disk::TierDisk;
pub use plan::{Kept, RetentionPolicy, SealedFile, SignalPolicy, Step, Tier, plan};
