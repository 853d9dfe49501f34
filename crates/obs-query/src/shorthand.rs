use obs_types::DurationMs;

use crate::parse_duration;

/// ENGINE's shorthand, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shorthand {
    /// The condition: plain PromQL, `cpu_percent > 80`.
    pub condition: String,
    /// How long it must have held.
    pub hold: DurationMs,
    /// The PromQL that the shorthand means: the condition's value where it held all the time.
    pub promql: String,
}

/// Reads `EXPR for DURATION` as in `cpu_percent > 80 for 5m`; `None` if the text is not of that
/// form (then it is PromQL as it stands: `for` is no word of that language).
pub fn expand_shorthand(text: &str) -> Option<Shorthand> {
    let (condition, duration) = text.rsplit_once(" for ")?;
    let hold = parse_duration(duration.trim()).ok()?;
    let condition = condition.trim();
    if condition.is_empty() || hold.0 <= 0 {
        return None;
    }
    let window = duration.trim();
    // `count_over_time` of the filtered subquery equals that of the unfiltered clock exactly when
    // no step of the window failed the condition.
    let promql = format!(
        "({condition}) and (count_over_time(({condition})[{window}:15s]) >= scalar(count_over_time(vector(1)[{window}:15s])))"
    );
    Some(Shorthand { condition: condition.to_owned(), hold, promql })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn engine_shorthand_becomes_promql() {
        let s = expand_shorthand("cpu_percent > 80 for 5m").unwrap();
        assert_eq!(s.condition, "cpu_percent > 80");
        assert_eq!(s.hold, DurationMs(300_000));
        assert!(s.promql.contains("[5m:15s]"));
        assert_eq!(expand_shorthand("up == 0"), None);
        assert_eq!(expand_shorthand("up{job=\"wait for it\"}"), None);
    }
}
