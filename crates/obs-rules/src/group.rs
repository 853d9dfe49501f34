//! One rule group: evaluated as if in order, as a pure step.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use obs_types::{
    DurationMs, LabelSet, MetricBatch, QueryContext, SeriesSource, TimestampMs, stale_nan,
};

use crate::dependency;
use crate::evaluate::{Failure, Outcome, Shared, rule_info, run_stage, sample};
use crate::overlay::Overlay;
use crate::{ActiveAlert, AlertState, GroupSpec, RuleKind, RuleSpec, Transition};

/// What every group of an instance shares.
#[derive(Clone, Debug)]
pub struct GroupOptions {
    /// For groups that name none.
    pub interval: DurationMs,
    /// For groups that name none.
    pub query_offset: DurationMs,
    pub external_labels: LabelSet,
    /// Base address of the portal, for links; without a slash at the end.
    pub external_url: String,
}

/// What a step needs besides the data.
pub struct StepContext<'a> {
    pub query: &'a QueryContext,
    /// A clock that never goes back; measures how long rules take.
    pub monotonic: &'a (dyn Fn() -> Duration + Sync),
}

impl fmt::Debug for StepContext<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StepContext").field("query", self.query).finish_non_exhaustive()
    }
}

/// What a step wants done, in order.
#[derive(Clone, Debug)]
pub enum Effect {
    /// Store these samples: recorded series, `ALERTS`, `ALERTS_FOR_STATE`, staleness markers.
    Write(MetricBatch),
    Alert(Box<AlertEvent>),
    Failed(RuleFailure),
}

/// An alert that changed, with what the alert book and notifications need to know of its rule.
#[derive(Clone, Debug, PartialEq)]
pub struct AlertEvent {
    pub transition: Transition,
    pub at: TimestampMs,
    pub alert: ActiveAlert,
    pub rule: RuleInfo,
}

#[derive(Clone, Debug, PartialEq)]
pub struct RuleInfo {
    pub file: String,
    pub group: String,
    pub name: String,
    /// With ` for 5m`.
    pub expression: String,
    pub threshold: Option<f64>,
    pub hold: DurationMs,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleFailure {
    pub file: String,
    pub group: String,
    pub rule: String,
    pub at: TimestampMs,
    pub message: String,
}

/// Prometheus' three words for the state of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RuleHealth {
    Unknown,
    Ok,
    Err(String),
}

impl RuleHealth {
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Ok => "ok",
            Self::Err(_) => "err",
        }
    }
}

/// A rule with its state.
#[derive(Clone, Debug)]
pub struct Rule {
    pub spec: RuleSpec,
    pub health: RuleHealth,
    pub last_evaluation: Option<TimestampMs>,
    pub evaluation_time: Duration,
    /// Empty for recording rules.
    pub active: BTreeMap<LabelSet, ActiveAlert>,
    /// Series written by the last good evaluation; one that is missing next time gets a marker.
    pub(crate) written: BTreeSet<LabelSet>,
}

impl Rule {
    fn new(spec: RuleSpec) -> Self {
        Self {
            spec,
            health: RuleHealth::Unknown,
            last_evaluation: None,
            evaluation_time: Duration::ZERO,
            active: BTreeMap::new(),
            written: BTreeSet::new(),
        }
    }

    /// The highest state of its alerts.
    pub fn state(&self) -> AlertState {
        self.active.values().map(|a| a.state).max().unwrap_or(AlertState::Inactive)
    }
}

/// A group with the state of its rules.
#[derive(Clone, Debug)]
pub struct RuleGroup {
    pub file: String,
    pub name: String,
    pub interval: DurationMs,
    pub limit: usize,
    pub rules: Vec<Rule>,
    pub last_evaluation: Option<TimestampMs>,
    pub evaluation_time: Duration,
    /// Evaluations that did not happen because the one before took too long.
    pub missed: u64,
    query_offset: DurationMs,
    options: GroupOptions,
    /// The rules of each stage: those of one may run at the same time.
    stages: Vec<Vec<usize>>,
    concurrency: usize,
}

/// How many rules of a group run at the same time unless told otherwise, as in Prometheus.
const CONCURRENCY: usize = 4;

impl RuleGroup {
    pub fn new(file: &str, spec: &GroupSpec, options: &GroupOptions) -> Self {
        let rules = spec.rules.iter().map(|rule| {
            let mut rule = rule.clone();
            for (name, value) in &spec.labels {
                rule.labels.entry(name.clone()).or_insert_with(|| value.clone());
            }
            Rule::new(rule)
        });
        let rules: Vec<Rule> = rules.collect();
        let specs: Vec<&RuleSpec> = rules.iter().map(|r| &r.spec).collect();
        let mut stages: Vec<Vec<usize>> = Vec::new();
        for (i, stage) in dependency::stages(&specs).into_iter().enumerate() {
            if stages.len() <= stage {
                stages.resize(stage + 1, Vec::new());
            }
            if let Some(list) = stages.get_mut(stage) {
                list.push(i);
            }
        }
        Self {
            file: file.to_owned(),
            name: spec.name.clone(),
            interval: spec.interval.unwrap_or(options.interval),
            limit: spec.limit,
            rules,
            last_evaluation: None,
            evaluation_time: Duration::ZERO,
            missed: 0,
            query_offset: spec.query_offset.unwrap_or(options.query_offset),
            options: options.clone(),
            stages,
            concurrency: CONCURRENCY,
        }
    }

    /// How many rules that do not depend on each other run at the same time; 1 runs one after the
    /// other. The answers are the same.
    pub fn set_concurrency(&mut self, rules_max: usize) {
        self.concurrency = rules_max.max(1);
    }

    /// Whether a new interval began since the last step.
    pub fn is_due(&self, now: TimestampMs) -> bool {
        let slot = |t: TimestampMs| t.0.div_euclid(self.interval.0.max(1));
        self.last_evaluation.is_none_or(|last| slot(now) > slot(last))
    }

    /// Evaluates every rule at `now` as if in order: a rule sees what those before it wrote, rules
    /// that do not depend on each other run at the same time. A rule that fails keeps its alerts
    /// as they are, unless it exceeds the limit: then they end.
    pub fn step(
        &mut self,
        now: TimestampMs,
        source: &dyn SeriesSource,
        context: &StepContext<'_>,
    ) -> Vec<Effect> {
        let begin = (context.monotonic)();
        if let Some(last) = self.last_evaluation {
            let slots = now.0.saturating_sub(last.0) / self.interval.0.max(1);
            self.missed += u64::try_from(slots.saturating_sub(1)).unwrap_or(0);
        }
        let mut overlay = Overlay::new(source);
        let mut batch = MetricBatch::default();
        let mut effects = Vec::new();
        let shared = Shared {
            file: &self.file,
            group: &self.name,
            limit: self.limit,
            at: now.saturating_sub(self.query_offset),
            options: &self.options,
            query: context.query,
        };
        let mut outcomes: Vec<Option<Outcome>> = Vec::new();
        outcomes.resize_with(self.rules.len(), || None);
        for stage in &self.stages {
            let mut due: Vec<(&mut Rule, &mut Option<Outcome>)> = self
                .rules
                .iter_mut()
                .zip(&mut outcomes)
                .enumerate()
                .filter(|(i, _)| stage.contains(i))
                .map(|(_, rule)| rule)
                .collect();
            run_stage(&mut due, self.concurrency, |rule| {
                let start = (context.monotonic)();
                let outcome = shared.evaluate(rule, now, &overlay);
                rule.evaluation_time = (context.monotonic)().saturating_sub(start);
                rule.last_evaluation = Some(now);
                outcome
            });
            for i in stage {
                if let Some(Some(Ok((series, _)))) = outcomes.get(*i) {
                    overlay.add(series);
                }
            }
        }
        for (rule, outcome) in self.rules.iter_mut().zip(outcomes) {
            let (events, message) = match outcome {
                Some(Ok((series, events))) => {
                    batch.series.extend(series);
                    (events, None)
                }
                Some(Err(Failure { message, events })) => (events, Some(message)),
                None => continue,
            };
            effects.extend(events.into_iter().map(|e| Effect::Alert(Box::new(e))));
            rule.health = message.clone().map_or(RuleHealth::Ok, RuleHealth::Err);
            if let Some(message) = message {
                effects.push(Effect::Failed(RuleFailure {
                    file: self.file.clone(),
                    group: self.name.clone(),
                    rule: rule.spec.name().to_owned(),
                    at: now,
                    message,
                }));
            }
        }
        self.last_evaluation = Some(now);
        self.evaluation_time = (context.monotonic)().saturating_sub(begin);
        if !batch.series.is_empty() {
            effects.insert(0, Effect::Write(batch));
        }
        effects
    }

    /// Takes over the state of the group that this one replaces; rules that are in both go on as
    /// if nothing had happened. The effects end what is gone: series and firing alerts.
    pub(crate) fn take_over(&mut self, mut old: Self, now: TimestampMs) -> Vec<Effect> {
        self.last_evaluation = old.last_evaluation;
        self.missed = old.missed;
        for rule in &mut self.rules {
            if let Some(at) = old.rules.iter().position(|o| same_rule(&o.spec, &rule.spec)) {
                let before = old.rules.remove(at);
                *rule = Rule { spec: rule.spec.clone(), ..before };
            }
        }
        old.end(now)
    }

    /// Ends every series and firing alert of a group that goes away.
    pub(crate) fn end(self, now: TimestampMs) -> Vec<Effect> {
        let mut batch = MetricBatch::default();
        let mut effects = Vec::new();
        for rule in self.rules {
            let info = rule_info(&self.file, &self.name, &rule.spec);
            batch.series.extend(rule.written.iter().map(|l| sample(l.clone(), now, stale_nan())));
            let ended = rule.active.into_values().filter_map(|a| end_alert(a, &info, now));
            effects.extend(ended.map(|event| Effect::Alert(Box::new(event))));
        }
        if !batch.series.is_empty() {
            effects.insert(0, Effect::Write(batch));
        }
        effects
    }
}

/// The end of an alert whose condition is no longer asked for.
pub(super) fn end_alert(
    mut alert: ActiveAlert,
    rule: &RuleInfo,
    now: TimestampMs,
) -> Option<AlertEvent> {
    let transition = match alert.state {
        AlertState::Inactive => return None,
        AlertState::Pending => Transition::Dropped,
        AlertState::Firing => Transition::Resolved,
    };
    alert.state = AlertState::Inactive;
    alert.resolved_at = Some(now);
    Some(AlertEvent { transition, at: now, alert, rule: rule.clone() })
}

/// Whether a rule before and after a reload is the same one.
fn same_rule(a: &RuleSpec, b: &RuleSpec) -> bool {
    let alerting = |r: &RuleSpec| matches!(r.kind, RuleKind::Alert(_));
    a.name() == b.name() && alerting(a) == alerting(b) && a.labels == b.labels && a.expr == b.expr
}
