//! The active alerts of one alerting rule, advanced by Prometheus' rules.
//!
//! Invariants:
//! - An alert is identified by its labels after templating, `alertname` included.
//! - `pending` → `firing` when the condition held for the rule's `for`; a pending alert whose
//!   condition clears is forgotten; a firing one becomes `inactive` after `keep_firing_for` and is
//!   remembered for [`RESOLVED_KEPT`].
//! - A transition is reported exactly once, also across a restart.

use std::collections::BTreeMap;

use obs_types::{DurationMs, LabelSet, TimestampMs};

use crate::AlertSpec;

/// How long a resolved alert is remembered, so that a missed notification can be repeated.
const RESOLVED_KEPT: DurationMs = DurationMs(15 * 60_000);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum AlertState {
    Inactive,
    Pending,
    Firing,
}

impl AlertState {
    /// As in the `alertstate` label and in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Inactive => "inactive",
            Self::Pending => "pending",
            Self::Firing => "firing",
        }
    }

    pub fn from_text(text: &str) -> Option<Self> {
        [Self::Inactive, Self::Pending, Self::Firing].into_iter().find(|s| s.as_str() == text)
    }
}

/// One alert of a rule.
#[derive(Clone, Debug, PartialEq)]
pub struct ActiveAlert {
    pub state: AlertState,
    /// With `alertname`, without the metric name.
    pub labels: LabelSet,
    pub annotations: BTreeMap<String, String>,
    pub value: f64,
    /// When the condition was first seen.
    pub active_at: TimestampMs,
    pub fired_at: Option<TimestampMs>,
    pub resolved_at: Option<TimestampMs>,
    /// Since when only `keep_firing_for` keeps it.
    pub keep_firing_since: Option<TimestampMs>,
}

/// What happened to an alert in one evaluation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transition {
    Pending,
    Fired,
    /// Still pending or firing; value and annotations may have changed.
    Updated,
    Resolved,
    /// A pending alert whose condition cleared.
    Dropped,
}

/// Alerts of one evaluation, by their labels.
pub(crate) type Seen = BTreeMap<LabelSet, (f64, BTreeMap<String, String>)>;

/// Advances `active` by what was seen at `now`. The alerts are given as they are after the step.
pub(crate) fn advance(
    active: &mut BTreeMap<LabelSet, ActiveAlert>,
    spec: &AlertSpec,
    seen: Seen,
    now: TimestampMs,
) -> Vec<(Transition, ActiveAlert)> {
    let mut out = Vec::new();
    let mut started = Vec::new();
    for (labels, alert) in active.iter_mut() {
        if !seen.contains_key(labels) {
            clear(alert, spec, now, &mut out);
        }
    }
    for (labels, (value, annotations)) in seen {
        match active.get_mut(&labels).filter(|a| a.state != AlertState::Inactive) {
            Some(alert) => {
                alert.value = value;
                alert.annotations = annotations;
                alert.keep_firing_since = None;
            }
            None => {
                let alert = ActiveAlert {
                    state: AlertState::Pending,
                    labels: labels.clone(),
                    annotations,
                    value,
                    active_at: now,
                    fired_at: None,
                    resolved_at: None,
                    keep_firing_since: None,
                };
                active.insert(labels.clone(), alert);
                started.push(labels.clone());
            }
        }
        let Some(alert) = active.get_mut(&labels) else { continue };
        let held = now.0.saturating_sub(alert.active_at.0) >= spec.hold.0;
        let transition = match alert.state {
            AlertState::Pending if held => {
                alert.state = AlertState::Firing;
                alert.fired_at = Some(now);
                Transition::Fired
            }
            _ if started.last() == Some(&labels) => Transition::Pending,
            _ => Transition::Updated,
        };
        out.push((transition, alert.clone()));
    }
    active.retain(|_, a| match (a.state, a.resolved_at) {
        (AlertState::Inactive, Some(at)) => now.0.saturating_sub(at.0) <= RESOLVED_KEPT.0,
        (AlertState::Inactive, None) => false,
        _ => true,
    });
    out
}

fn clear(
    alert: &mut ActiveAlert,
    spec: &AlertSpec,
    now: TimestampMs,
    out: &mut Vec<(Transition, ActiveAlert)>,
) {
    match alert.state {
        AlertState::Inactive => {}
        AlertState::Pending => {
            alert.state = AlertState::Inactive;
            out.push((Transition::Dropped, alert.clone()));
        }
        AlertState::Firing => {
            if spec.keep_firing.0 > 0 {
                let since = *alert.keep_firing_since.get_or_insert(now);
                if now.0.saturating_sub(since.0) < spec.keep_firing.0 {
                    out.push((Transition::Updated, alert.clone()));
                    return;
                }
            }
            alert.state = AlertState::Inactive;
            alert.resolved_at = Some(now);
            out.push((Transition::Resolved, alert.clone()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(hold: i64, keep_firing: i64) -> AlertSpec {
        AlertSpec {
            name: "A".to_owned(),
            hold: DurationMs(hold),
            keep_firing: DurationMs(keep_firing),
            annotations: BTreeMap::new(),
        }
    }

    fn run(spec: &AlertSpec, steps: &[(i64, bool)]) -> Vec<Option<Transition>> {
        let mut active = BTreeMap::new();
        steps
            .iter()
            .map(|(t, on)| {
                let seen = if *on {
                    Seen::from([(LabelSet::from_pairs([("a", "1")]), (1.0, BTreeMap::new()))])
                } else {
                    Seen::new()
                };
                let out = advance(&mut active, spec, seen, TimestampMs(*t));
                assert!(out.len() <= 1);
                out.first().map(|(t, _)| *t)
            })
            .collect()
    }

    #[test]
    fn waits_fires_resolves_and_forgets() {
        use Transition::{Dropped, Fired, Pending, Resolved, Updated};
        let steps =
            [(0, true), (10, true), (20, true), (30, false), (40, false), (50, true), (60, false)];
        assert_eq!(
            run(&spec(20, 0), &steps),
            [
                Some(Pending),
                Some(Updated),
                Some(Fired),
                Some(Resolved),
                None,
                Some(Pending),
                Some(Dropped)
            ]
        );
        assert_eq!(run(&spec(0, 0), &[(0, true), (1, false)]), [Some(Fired), Some(Resolved)]);
    }

    #[test]
    fn keep_firing_for_bridges_gaps() {
        use Transition::{Fired, Resolved, Updated};
        let steps = [(0, true), (10, false), (20, true), (30, false), (45, false), (50, false)];
        assert_eq!(
            run(&spec(0, 20), &steps),
            [
                Some(Fired),
                Some(Updated),
                Some(Updated),
                Some(Updated),
                Some(Updated),
                Some(Resolved)
            ]
        );
    }
}
