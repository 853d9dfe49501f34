//! How often metrics are asked for, by name.

use std::collections::{BTreeMap, HashMap};
use std::sync::Mutex;

use obs_types::{METRIC_NAME, TimestampMs};

use crate::engine::MetricsEngine;
use crate::lock;

/// Names that are remembered; of further ones nothing is known.
const NAMES_MAX: usize = 100_000;

/// Reads per metric name since the start.
#[derive(Debug, Default)]
pub(crate) struct Usage {
    names: Mutex<HashMap<Box<str>, (u64, TimestampMs)>>,
}

/// What is known of a metric name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameUsage {
    pub name: String,
    /// Series in memory.
    pub series: u64,
    /// How often a query read series of that name since the engine was opened.
    pub queries: u64,
    pub last_query: Option<TimestampMs>,
}

impl Usage {
    pub(crate) fn note<'a>(&self, names: impl Iterator<Item = &'a str>, now: TimestampMs) {
        let mut known = lock(&self.names);
        for name in names {
            let room = known.len() < NAMES_MAX;
            match known.get_mut(name) {
                Some((count, last)) => (*count, *last) = (*count + 1, now),
                None if room => {
                    known.insert(name.into(), (1, now));
                }
                None => {}
            }
        }
    }
}

impl MetricsEngine {
    /// Names with series in memory and names that were read, sorted; those never read have a count
    /// of 0. O(names).
    pub fn name_usage(&self) -> Vec<NameUsage> {
        let mut all: BTreeMap<String, NameUsage> = self.head.with_index(|index| {
            let names = index.values(METRIC_NAME).into_iter().flatten();
            let entry = |name: &str, series: usize| NameUsage {
                name: name.to_owned(),
                series: series as u64,
                queries: 0,
                last_query: None,
            };
            names.map(|(name, list)| (name.to_string(), entry(name, list.len()))).collect()
        });
        let mut read: Vec<(Box<str>, (u64, TimestampMs))> =
            lock(&self.usage.names).iter().map(|(name, seen)| (name.clone(), *seen)).collect();
        read.sort();
        for (name, (queries, last)) in read {
            let entry = all.entry(name.to_string()).or_insert_with(|| NameUsage {
                name: name.to_string(),
                series: 0,
                queries: 0,
                last_query: None,
            });
            (entry.queries, entry.last_query) = (queries, Some(last));
        }
        all.into_values().collect()
    }
}
