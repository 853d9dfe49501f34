//! Watches series for the unusual and puts each find on record.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use obs_analysis::anomaly::{AnomalyRecord, DEFAULT_CONFIG, Detector, compare_peers};
use obs_analysis::slo::InstantQuery;
use obs_ledger::{AnomalyDetected, Ledger, Receipt};
use obs_types::{DurationMs, LabelSet, METRIC_NAME, NodeName, TimestampMs};

use crate::OpsError;
use crate::ids::DayIds;

/// A query whose series are watched.
#[derive(Clone, Debug, PartialEq)]
pub struct Watch {
    /// How the series are called in records: a metric name.
    pub metric: String,
    pub query: String,
    /// Compare the series of one moment with each other (replicas of one service); differences up
    /// to this are normal.
    pub peers: Option<f64>,
}

/// Most series that are watched at a time; a detector takes kilobytes.
const SERIES_MAX: usize = 5_000;
/// A peer that stays odd is recorded again after this.
const PEER_REPEAT: DurationMs = DurationMs(30 * 60_000);
/// A series that gave no value for so long is forgotten.
const FORGET: DurationMs = DurationMs(6 * 3_600_000);

#[derive(Debug)]
struct Watched {
    detector: Detector,
    seen: TimestampMs,
}

/// Runs the detectors.
#[derive(Debug)]
pub struct AnomalyService {
    ledger: Arc<Ledger>,
    ids: DayIds,
    watches: Vec<Watch>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    series: BTreeMap<(String, LabelSet), Watched>,
    peers: BTreeMap<(String, String), TimestampMs>,
    over_limit: BTreeSet<String>,
}

impl AnomalyService {
    pub fn open(ledger: Arc<Ledger>, watches: Vec<Watch>) -> Result<Self, OpsError> {
        let ids = DayIds::from_ledger(&ledger, "anomaly-", "anomaly_id")?;
        Ok(Self { ledger, ids, watches, state: Mutex::default() })
    }

    /// Takes the newest values of all watches. `open_alerts` are ids that an anomaly is
    /// correlated with. Gives what was recorded.
    pub fn step(
        &self,
        now: TimestampMs,
        query: &dyn InstantQuery,
        open_alerts: &[String],
    ) -> Result<Vec<AnomalyRecord>, OpsError> {
        let mut records = Vec::new();
        for watch in &self.watches {
            let values = match query.instant(&watch.query, now) {
                Ok(values) => values,
                Err(e) => {
                    tracing::debug!(metric = watch.metric, error = e, "watch not evaluated");
                    continue;
                }
            };
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            for (labels, value) in &values {
                records.extend(self.push(&mut state, watch, labels, *value, now, open_alerts));
            }
            if let Some(tolerance) = watch.peers {
                records.extend(self.peers(&mut state, watch, &values, tolerance, now, open_alerts));
            }
            state.series.retain(|(metric, _), w| {
                *metric != watch.metric || now.0.saturating_sub(w.seen.0) < FORGET.0
            });
        }
        if !records.is_empty() {
            self.ledger.append(records.iter().map(receipt).collect())?;
            for r in &records {
                tracing::warn!(
                    anomaly_id = r.anomaly_id,
                    metric = r.metric,
                    observed = r.observed_value,
                    sigma = r.deviation_sigma,
                    "anomaly detected"
                );
            }
        }
        Ok(records)
    }

    fn push(
        &self,
        state: &mut State,
        watch: &Watch,
        labels: &LabelSet,
        value: f64,
        now: TimestampMs,
        open_alerts: &[String],
    ) -> Option<AnomalyRecord> {
        let key = (watch.metric.clone(), labels.without(&[METRIC_NAME]));
        if state.series.len() >= SERIES_MAX && !state.series.contains_key(&key) {
            if state.over_limit.insert(watch.metric.clone()) {
                tracing::warn!(
                    metric = watch.metric,
                    limit = SERIES_MAX,
                    "too many series to watch, some are left out"
                );
            }
            return None;
        }
        let watched = state
            .series
            .entry(key)
            .or_insert_with(|| Watched { detector: Detector::new(DEFAULT_CONFIG), seen: now });
        watched.seen = now;
        let detection = watched.detector.push(now, value)?;
        Some(AnomalyRecord::from_detection(
            &detection,
            &watch.metric,
            node(labels),
            self.ids.next_number(now),
            open_alerts.to_vec(),
        ))
    }

    fn peers(
        &self,
        state: &mut State,
        watch: &Watch,
        values: &[(LabelSet, f64)],
        tolerance: f64,
        now: TimestampMs,
        open_alerts: &[String],
    ) -> Vec<AnomalyRecord> {
        let members: Vec<(String, f64)> =
            values.iter().map(|(l, v)| (l.without(&[METRIC_NAME]).to_string(), *v)).collect();
        let mut records = Vec::new();
        for outlier in compare_peers(&members, tolerance) {
            let key = (watch.metric.clone(), outlier.name.clone());
            let recent =
                state.peers.get(&key).is_some_and(|at| now.0.saturating_sub(at.0) < PEER_REPEAT.0);
            if recent {
                continue;
            }
            state.peers.insert(key, now);
            let node = values
                .iter()
                .find(|(l, _)| l.without(&[METRIC_NAME]).to_string() == outlier.name)
                .and_then(|(l, _)| node(l));
            records.push(AnomalyRecord::from_peer(
                &outlier,
                now,
                &watch.metric,
                node,
                self.ids.next_number(now),
                open_alerts.to_vec(),
            ));
        }
        records
    }
}

fn node(labels: &LabelSet) -> Option<NodeName> {
    labels.get("node").map(NodeName::new)
}

fn receipt(r: &AnomalyRecord) -> Receipt {
    let finite = |v: f64| if v.is_finite() { v } else { 0.0 };
    Receipt::anomaly_detected(AnomalyDetected {
        anomaly_id: r.anomaly_id.clone(),
        detected_at: r.timestamp,
        detection_method: r.detection_method.to_owned(),
        metric: r.metric.clone(),
        node: r.node.as_ref().map(NodeName::did).unwrap_or_default(),
        expected_min: finite(r.expected_min),
        expected_max: finite(r.expected_max),
        observed_value: finite(r.observed_value),
        deviation_sigma: finite(r.deviation_sigma),
        confidence: finite(r.confidence),
        possible_causes: r.possible_causes.iter().map(|c| (*c).to_owned()).collect(),
        correlated_events: r.correlated_events.clone(),
        tags: r
            .tags
            .iter()
            .filter(|t| !["observability", "anomaly"].contains(&t.as_str()))
            .cloned()
            .collect(),
    })
}
