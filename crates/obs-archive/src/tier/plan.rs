//! What retention asks for, as a pure function of the time and the files.

use obs_types::{DurationMs, TimestampMs};

use crate::{SealName, Signal};

/// How long the sealed files of one signal stay where; ages count from the end of the hour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignalPolicy {
    /// On the local disk up to this age, where there is a cold store; else until it is deleted.
    pub warm: DurationMs,
    /// Deleted at this age.
    pub keep: DurationMs,
    /// Errors (logs of level error and fatal; traces with an error, slow or sensitive ones) are
    /// deleted at this age only; `None` deletes them with the rest.
    pub keep_errors: Option<DurationMs>,
}

/// One policy for each signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetentionPolicy {
    pub metrics: SignalPolicy,
    pub logs: SignalPolicy,
    pub traces: SignalPolicy,
}

impl RetentionPolicy {
    /// How long the engines keep what they hold, all of a signal equally long: the shorter "hot" of
    /// ENGINE 6.2, because the other (of errors and aggregates) says how soon an answer comes and
    /// sealed hours are at hand as well.
    pub const HOT: DurationMs = days(7);
    /// How long 1h aggregates of metrics are kept: to the end of "cold" of ENGINE 6.2. They stay
    /// with their engine, so its hot and warm ages are met by that.
    pub const AGGREGATES: DurationMs = days(5 * 365);
    /// Of sealed hours, ENGINE 6.2: `warm` is the end of its "warm" column, `keep` of "cold", or of
    /// "warm" where cold is "—".
    pub const ENGINE: Self = Self {
        metrics: SignalPolicy { warm: days(30), keep: days(365), keep_errors: None },
        logs: SignalPolicy { warm: days(30), keep: days(365), keep_errors: Some(days(5 * 365)) },
        traces: SignalPolicy { warm: days(30), keep: days(30), keep_errors: Some(days(5 * 365)) },
    };

    pub fn of(&self, signal: Signal) -> SignalPolicy {
        match signal {
            Signal::Metrics => self.metrics,
            Signal::Logs => self.logs,
            Signal::Traces => self.traces,
        }
    }
}

const fn days(n: i64) -> DurationMs {
    DurationMs(n * 86_400_000)
}

/// Where a sealed file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tier {
    /// On the local disk.
    Warm,
    /// In the cold store.
    Cold,
}

/// How much of its hour a file has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    All,
    /// What retention kept of the hour.
    Errors,
}

/// A sealed file that is not deleted yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SealedFile {
    pub name: SealName,
    pub tier: Tier,
    pub kept: Kept,
    pub bytes: u64,
}

/// What is to be done with some files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// To the cold store.
    Move(SealName),
    /// All files of an hour but what retention keeps of it longer: write that first, then delete.
    Reduce { hour: Vec<SealName>, age: DurationMs },
    /// Deleted at that age.
    Delete { name: SealName, age: DurationMs },
}

/// What the policy asks for at `now`, oldest hours first. `has_cold` says whether files can be
/// moved. Files come in any order.
pub fn plan(
    now: TimestampMs,
    policy: &RetentionPolicy,
    has_cold: bool,
    files: &[SealedFile],
) -> Vec<Step> {
    let mut files = files.to_vec();
    files.sort_by_key(|f| (f.name.hour, f.name.signal, f.name.revision));
    let mut steps = Vec::new();
    for hour in files.chunk_by(|a, b| (a.name.hour, a.name.signal) == (b.name.hour, b.name.signal))
    {
        let Some(first) = hour.first() else { continue };
        let p = policy.of(first.name.signal);
        let age = DurationMs(now.0.saturating_sub(first.name.hour.end().0));
        let whole: Vec<SealName> =
            hour.iter().filter(|f| f.kept == Kept::All).map(|f| f.name).collect();
        let longer = p.keep_errors.filter(|longer| *longer > p.keep);
        let reduce = age >= p.keep && longer.is_some_and(|longer| age < longer);
        if reduce && !whole.is_empty() {
            steps.push(Step::Reduce { hour: whole, age: p.keep });
            continue;
        }
        for file in hour {
            let keep = match file.kept {
                Kept::All => p.keep,
                Kept::Errors => p.keep_errors.unwrap_or(p.keep).max(p.keep),
            };
            if age >= keep {
                steps.push(Step::Delete { name: file.name, age: keep });
            } else if has_cold && file.tier == Tier::Warm && age >= p.warm {
                steps.push(Step::Move(file.name));
            }
        }
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Hour;

    const NOW: TimestampMs = TimestampMs(1_765_029_600_000);

    fn file(signal: Signal, age_days: i64, revision: u32, kept: Kept) -> SealedFile {
        let end = NOW.saturating_sub(days(age_days));
        let name = SealName::new(signal, Hour::ending_at(end).unwrap(), revision);
        SealedFile { name, tier: Tier::Warm, kept, bytes: 10 }
    }

    #[test]
    fn engine_s_table() {
        let all = |signal, age| {
            plan(NOW, &RetentionPolicy::ENGINE, true, &[file(signal, age, 0, Kept::All)])
        };
        assert_eq!(all(Signal::Metrics, 29), []);
        let moved = file(Signal::Metrics, 30, 0, Kept::All).name;
        assert_eq!(all(Signal::Metrics, 30), [Step::Move(moved)]);
        assert!(matches!(all(Signal::Metrics, 365)[..], [Step::Delete { .. }]));
        assert!(matches!(all(Signal::Logs, 365)[..], [Step::Reduce { .. }]));
        assert!(matches!(all(Signal::Logs, 1825)[..], [Step::Delete { .. }]));
        assert!(matches!(all(Signal::Traces, 30)[..], [Step::Reduce { .. }]));
        let errors = |age| {
            plan(NOW, &RetentionPolicy::ENGINE, true, &[file(Signal::Logs, age, 1, Kept::Errors)])
        };
        assert!(matches!(errors(400)[..], [Step::Move(_)]));
        assert!(matches!(errors(1825)[..], [Step::Delete { .. }]));
    }

    #[test]
    fn without_a_cold_store_nothing_moves_and_oldest_hours_come_first() {
        let files = [
            file(Signal::Metrics, 400, 0, Kept::All),
            file(Signal::Metrics, 100, 0, Kept::All),
            file(Signal::Logs, 500, 0, Kept::All),
            file(Signal::Logs, 500, 1, Kept::All),
        ];
        let steps = plan(NOW, &RetentionPolicy::ENGINE, false, &files);
        assert_eq!(
            steps,
            [
                Step::Reduce { hour: vec![files[2].name, files[3].name], age: days(365) },
                Step::Delete { name: files[0].name, age: days(365) },
            ]
        );
        let cold = SealedFile { tier: Tier::Cold, ..files[1] };
        assert_eq!(plan(NOW, &RetentionPolicy::ENGINE, true, &[cold]), []);
    }
}
