//! One writer for each hour: whoever makes the next revision of an hour and whoever replaces its
//! files give it the same number otherwise.

use std::sync::PoisonError;

use super::Archive;
use crate::{Hour, Signal};

/// An hour whose files nobody else changes while this lives.
#[derive(Debug)]
pub struct HeldHour<'a> {
    archive: &'a Archive,
    hour: (Signal, Hour),
}

impl Archive {
    /// Takes an hour for oneself, from making a file of it up to the receipt; `None` if somebody
    /// has it.
    pub fn hold(&self, signal: Signal, hour: Hour) -> Option<HeldHour<'_>> {
        let hour = (signal, hour);
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.insert(hour).then(|| HeldHour { archive: self, hour })
    }
}

impl Drop for HeldHour<'_> {
    fn drop(&mut self) {
        let mut held = self.archive.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.remove(&self.hour);
    }
}
