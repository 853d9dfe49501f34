use crate::{DurationMs, LabelSet, Matcher, TimestampMs, matches_all};

const HOUR: i64 = DurationMs::HOUR.0;

/// How long the series that fit some selector are kept.
#[derive(Clone, Debug, PartialEq)]
pub struct SeriesRetention {
    /// A series fits if it fulfils all matchers of one of these.
    pub selectors: Vec<Vec<Matcher>>,
    /// The selectors as somebody wrote them.
    pub text: Vec<String>,
    /// At least an hour.
    pub keep: DurationMs,
}

impl SeriesRetention {
    pub fn fits(&self, labels: &LabelSet) -> bool {
        self.selectors.iter().any(|matchers| matches_all(matchers, labels))
    }

    /// Samples before that instant are not shown. The hour before it is gone with the instant at
    /// which it ends, as PromQL cuts windows.
    pub fn shown_since(&self, now: TimestampMs) -> TimestampMs {
        TimestampMs(floor(now.saturating_sub(self.keep), HOUR).saturating_add(1))
    }

    /// Partitions that end by then need not be stored. Where whole days are kept, whole days go at
    /// once, so that a day's partition is rewritten once and not every hour.
    pub fn stored_since(&self, now: TimestampMs) -> TimestampMs {
        let unit = if self.keep >= DurationMs::DAY { DurationMs::DAY.0 } else { HOUR };
        TimestampMs(floor(now.saturating_sub(self.keep), unit))
    }
}

fn floor(t: TimestampMs, unit: i64) -> i64 {
    t.0.div_euclid(unit).saturating_mul(unit)
}

/// Rules for some series; the rest is kept as long as all data is. Of several rules that fit the
/// one with the shortest time counts.
#[derive(Clone, Debug, PartialEq)]
pub struct RetentionRules {
    rules: Vec<SeriesRetention>,
    standard: DurationMs,
}

impl Default for RetentionRules {
    fn default() -> Self {
        Self { rules: Vec::new(), standard: DurationMs(i64::MAX) }
    }
}

impl RetentionRules {
    /// `standard` is how long series are kept that no rule fits.
    pub fn new(rules: Vec<SeriesRetention>, standard: DurationMs) -> Self {
        Self { rules, standard }
    }

    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = &SeriesRetention> {
        self.rules.iter()
    }

    pub fn standard(&self) -> DurationMs {
        self.standard
    }

    /// Whether a rule keeps series for longer than the rest.
    pub fn hold_longer(&self) -> bool {
        self.rules.iter().any(|rule| rule.keep > self.standard)
    }

    /// The rule that counts for a series.
    pub fn rule_of(&self, labels: &LabelSet) -> Option<&SeriesRetention> {
        self.rules.iter().filter(|rule| rule.fits(labels)).min_by_key(|rule| rule.keep)
    }

    /// Whether the series outlives the rest.
    pub fn holds(&self, labels: &LabelSet) -> bool {
        self.rule_of(labels).is_some_and(|rule| rule.keep > self.standard)
    }

    /// Samples of the series before that instant are not shown.
    pub fn shown_since(&self, labels: &LabelSet, now: TimestampMs) -> TimestampMs {
        self.rule_of(labels).map_or(TimestampMs::MIN, |rule| rule.shown_since(now))
    }

    /// From that instant on all of every series is shown.
    pub fn all_shown_since(&self, now: TimestampMs) -> TimestampMs {
        self.rules.iter().map(|rule| rule.shown_since(now)).max().unwrap_or(TimestampMs::MIN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = DurationMs::DAY.0;

    fn rule(job: &str, keep: i64) -> SeriesRetention {
        SeriesRetention {
            selectors: vec![
                vec![Matcher::equal("job", job)],
                vec![Matcher::equal("tier", "debug"), Matcher::equal("keep", "")],
            ],
            text: vec![job.to_owned()],
            keep: DurationMs(keep),
        }
    }

    #[test]
    fn the_shortest_of_the_rules_that_fit_counts() {
        let rules = RetentionRules::new(
            vec![rule("a", 5 * DAY), rule("a", 3 * DAY), rule("b", 90 * DAY)],
            DurationMs(30 * DAY),
        );
        let labels = |pairs: &[(&str, &str)]| LabelSet::from_pairs(pairs.iter().copied());
        let keep = |pairs: &[(&str, &str)]| rules.rule_of(&labels(pairs)).map(|r| r.keep.0 / DAY);
        assert_eq!(keep(&[("job", "a")]), Some(3));
        assert_eq!(keep(&[("job", "b")]), Some(90));
        assert_eq!(keep(&[("job", "c")]), None);
        assert_eq!(keep(&[("tier", "debug"), ("job", "b")]), Some(3));
        assert_eq!(keep(&[("tier", "debug"), ("keep", "1")]), None);
        assert!(rules.hold_longer() && rules.holds(&labels(&[("job", "b")])));
        assert!(!rules.holds(&labels(&[("job", "a")])) && !rules.holds(&labels(&[("job", "c")])));
        let now = TimestampMs(100 * DAY + 5 * HOUR + 7);
        assert_eq!(rules.all_shown_since(now).0, 97 * DAY + 5 * HOUR + 1);
        assert_eq!(rules.shown_since(&labels(&[("job", "c")]), now), TimestampMs::MIN);
    }

    #[test]
    fn days_are_stored_whole_and_shown_to_the_hour() {
        let now = TimestampMs(10 * DAY + 5 * HOUR + 7);
        let days = rule("a", 3 * DAY);
        assert_eq!(days.stored_since(now).0, 7 * DAY);
        assert_eq!(days.shown_since(now).0, 7 * DAY + 5 * HOUR + 1);
        let hours = rule("a", 2 * HOUR);
        assert_eq!(hours.stored_since(now).0, 10 * DAY + 3 * HOUR);
    }
}
