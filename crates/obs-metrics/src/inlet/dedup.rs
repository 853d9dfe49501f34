//! Pairs of senders that scrape the same targets: of each series one replica is stored.
//!
//! Invariants, per series (label set without the replica labels):
//! - One replica leads. Its samples are passed on, those of the others are dropped and counted.
//! - Another replica takes over with a sample that is at least the interval younger than the newest
//!   of the leader: the leader has been silent for that long.
//! - So what is stored has no gap longer than the interval and one scrape while any replica sends,
//!   and never the samples of two replicas at one time.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use obs_types::{
    DurationMs, IngestError, IngestOutcome, MetricBatch, MetricSink, RejectReason, SeriesSamples,
    TimestampMs,
};

use super::{SeriesKey, series_key};
use crate::lock;

const SHARDS: usize = 16;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DedupConfig {
    /// Labels that tell the senders of one series apart; they are not stored. Series without any
    /// of them are passed on as they are.
    pub replica_labels: Vec<String>,
    /// How long the leader has to be silent before another takes over.
    pub interval: DurationMs,
    /// Series whose leader is remembered; new ones above that are refused as `cardinality_limit`.
    pub series_max: usize,
}

#[derive(Clone, Copy, Debug)]
struct Leader {
    replica: SeriesKey,
    newest: i64,
}

/// Passes one replica of each series on.
pub struct Dedup {
    inner: Arc<dyn MetricSink>,
    config: DedupConfig,
    shards: Vec<Mutex<HashMap<SeriesKey, Leader>>>,
    dropped: AtomicU64,
    takeovers: AtomicU64,
}

impl std::fmt::Debug for Dedup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dedup").field("config", &self.config).finish_non_exhaustive()
    }
}

impl Dedup {
    pub fn new(inner: Arc<dyn MetricSink>, config: DedupConfig) -> Self {
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        Self { inner, config, shards, dropped: AtomicU64::new(0), takeovers: AtomicU64::new(0) }
    }

    /// Samples of replicas that did not lead.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// How often a replica took over from one that had led before.
    pub fn takeovers(&self) -> u64 {
        self.takeovers.load(Ordering::Relaxed)
    }

    /// Forgets who led series whose newest sample is older than `t`; call it now and then.
    pub fn forget_before(&self, t: TimestampMs) {
        for shard in &self.shards {
            lock(shard).retain(|_, leader| leader.newest >= t.0);
        }
    }

    /// The series as it is stored; `None` if nothing of it is.
    fn pass(
        &self,
        mut series: SeriesSamples,
        outcome: &mut IngestOutcome,
    ) -> Option<SeriesSamples> {
        let names: Vec<&str> = self.config.replica_labels.iter().map(String::as_str).collect();
        let replica = series.labels.keep(&names);
        if replica.is_empty() {
            return Some(series);
        }
        let labels = series.labels.without(&names);
        let (key, replica) = (series_key(&labels), series_key(&replica));
        let mut shard = lock(self.shards.get(key.0 as usize % SHARDS)?);
        let full = shard.len() >= self.config.series_max / SHARDS;
        let mut leader = match shard.get(&key) {
            Some(leader) => *leader,
            None if full => {
                for _ in 0..series.samples.len() + series.histograms.len() {
                    outcome.reject(RejectReason::CardinalityLimit, || {
                        let max = self.config.series_max;
                        format!("{labels}: {max} series are the limit for deduplication")
                    });
                }
                return None;
            }
            None => Leader { replica, newest: i64::MIN },
        };
        let before = series.samples.len() + series.histograms.len();
        let mut wanted = |t: TimestampMs| {
            if leader.replica != replica {
                if t.0 < leader.newest.saturating_add(self.config.interval.0) {
                    return false;
                }
                leader.replica = replica;
                self.takeovers.fetch_add(1, Ordering::Relaxed);
            }
            leader.newest = leader.newest.max(t.0);
            true
        };
        series.samples.sort_by_key(|(t, _)| *t);
        series.histograms.sort_by_key(|(t, _)| *t);
        series.samples.retain(|(t, _)| wanted(*t));
        series.histograms.retain(|(t, _)| wanted(*t));
        shard.insert(key, leader);
        drop(shard);
        let after = series.samples.len() + series.histograms.len();
        self.dropped.fetch_add((before - after) as u64, Ordering::Relaxed);
        if leader.replica != replica {
            return None;
        }
        series.labels = labels;
        Some(series)
    }
}

impl MetricSink for Dedup {
    /// What another replica has stored counts neither as accepted nor as rejected.
    fn append(&self, batch: MetricBatch) -> Result<IngestOutcome, IngestError> {
        let mut outcome = IngestOutcome::default();
        let series = batch.series.into_iter();
        let series = series.filter_map(|s| self.pass(s, &mut outcome)).collect();
        let stored = self.inner.append(MetricBatch { series, metadata: batch.metadata })?;
        outcome.merge(stored);
        Ok(outcome)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use obs_types::LabelSet;
    use proptest::prelude::*;

    #[derive(Default)]
    struct Stored(Mutex<Vec<(LabelSet, i64, f64)>>);

    impl MetricSink for Stored {
        fn append(&self, batch: MetricBatch) -> Result<IngestOutcome, IngestError> {
            let mut all = self.0.lock().unwrap();
            let mut accepted = 0;
            for s in batch.series {
                accepted += s.samples.len() as u64;
                all.extend(s.samples.iter().map(|(t, v)| (s.labels.clone(), t.0, *v)));
            }
            Ok(IngestOutcome { accepted, ..IngestOutcome::default() })
        }
    }

    fn dedup(series_max: usize) -> (Arc<Stored>, Dedup) {
        let stored = Arc::new(Stored::default());
        let config = DedupConfig {
            replica_labels: vec!["replica".to_owned(), "pod".to_owned()],
            interval: DurationMs(30_000),
            series_max,
        };
        (Arc::clone(&stored), Dedup::new(stored, config))
    }

    fn send(dedup: &Dedup, labels: &[(&str, &str)], t: i64, v: f64) -> IngestOutcome {
        let series = SeriesSamples {
            labels: LabelSet::from_pairs(labels.iter().copied()),
            samples: vec![(TimestampMs(t), v)],
            ..SeriesSamples::default()
        };
        dedup.append(MetricBatch { series: vec![series], ..MetricBatch::default() }).unwrap()
    }

    #[test]
    fn series_without_a_replica_are_left_alone_and_leaders_are_bounded() {
        let (stored, d) = dedup(16);
        send(&d, &[("__name__", "m")], 5, 1.0);
        send(&d, &[("__name__", "m")], 5, 1.0);
        assert_eq!(stored.0.lock().unwrap().len(), 2);
        let mut refused = 0;
        for i in 0..200 {
            let i = i.to_string();
            let labels = [("__name__", "m"), ("i", i.as_str()), ("replica", "a")];
            refused += send(&d, &labels, 10, 1.0).rejected_count();
        }
        assert!((184..200).contains(&refused), "{refused}");
        d.forget_before(TimestampMs(11));
        assert_eq!(send(&d, &[("__name__", "m"), ("pod", "x")], 12, 1.0).accepted, 1);
    }

    proptest! {
        /// Two replicas scrape every 15 s, a little apart, each with outages of its own.
        #[test]
        fn one_replica_at_a_time_and_no_gap_while_one_of_them_sends(
            up in proptest::collection::vec((any::<bool>(), any::<bool>()), 1..60),
            apart in 0_i64..15_000,
        ) {
            let (stored, d) = dedup(1_000);
            let mut sent: Vec<(i64, usize)> = Vec::new();
            for (n, (a, b)) in up.iter().enumerate() {
                for (replica, is_up) in [*a, *b].into_iter().enumerate() {
                    let t = n as i64 * 15_000 + apart * replica as i64;
                    if is_up {
                        let name = ["a", "b"][replica];
                        send(&d, &[("__name__", "m"), ("replica", name)], t, replica as f64);
                        sent.push((t, replica));
                    }
                }
            }
            let stored = stored.0.lock().unwrap();
            prop_assert_eq!(stored.len() as u64 + d.dropped(), sent.len() as u64);
            prop_assert!(stored.iter().all(|(l, ..)| l.len() == 1), "replica labels are not stored");
            prop_assert!(stored.windows(2).all(|w| w[0].1 < w[1].1), "ascending, no time twice");
            // A change of replica needs thirty seconds of silence.
            for w in stored.windows(2) {
                prop_assert!(w[0].2 == w[1].2 || w[1].1 - w[0].1 >= 30_000);
            }
            // Whatever was sent lies less than the interval behind something that was stored.
            for (t, _) in &sent {
                prop_assert!(stored.iter().any(|(_, s, _)| (t - 30_000..=*t).contains(s)), "{}", t);
            }
            let changes = stored.windows(2).filter(|w| w[0].2 != w[1].2).count();
            prop_assert_eq!(d.takeovers(), changes as u64);
        }
    }
}
