use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use obs_ledger::Ledger;
use obs_types::TimestampMs;
use serde_json::Value;

use crate::OpsError;

/// Hands out ids such as `obs-op-2025-12-06-001`: numbered within the day, never twice, because
/// the ledger says which were used.
#[derive(Debug)]
pub struct DayIds {
    prefix: &'static str,
    used: Mutex<BTreeMap<String, u32>>,
}

/// `2025-12-06`
pub(crate) fn day(t: TimestampMs) -> String {
    let stamp = jiff::Timestamp::from_millisecond(t.0).unwrap_or_default();
    stamp.to_string().chars().take(10).collect()
}

impl DayIds {
    /// `field` of the receipts holds the ids with `prefix`.
    pub fn from_ledger(
        ledger: &Ledger,
        prefix: &'static str,
        field: &str,
    ) -> Result<Self, OpsError> {
        let mut used: BTreeMap<String, u32> = BTreeMap::new();
        ledger.read(0, &mut |_seq, line| {
            // Most lines do not name the prefix at all; parsing those would be wasted.
            if line.contains(prefix)
                && let Ok(receipt) = serde_json::from_str::<Value>(line)
                && let Some(id) = receipt.get(field).and_then(Value::as_str)
                && let Some((date, number)) =
                    id.strip_prefix(prefix).and_then(|rest| rest.rsplit_once('-'))
                && let Ok(number) = number.parse::<u32>()
            {
                let last = used.entry(date.to_owned()).or_default();
                *last = (*last).max(number);
            }
            true
        })?;
        Ok(Self { prefix, used: Mutex::new(used) })
    }

    /// The number of the next id of the day.
    pub fn next_number(&self, now: TimestampMs) -> u32 {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        let last = used.entry(day(now)).or_default();
        *last += 1;
        *last
    }

    pub fn next(&self, now: TimestampMs) -> String {
        let number = self.next_number(now);
        format!("{}{}-{number:03}", self.prefix, day(now))
    }
}
