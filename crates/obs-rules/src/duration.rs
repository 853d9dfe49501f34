use obs_types::DurationMs;

/// Reads a Prometheus duration: `5m`, `1h30m`, `2m59s999ms`, `0`. Units fall from `y` to `ms`, each
/// at most once. The error says what is wrong with the text.
pub fn parse_duration(text: &str) -> Result<DurationMs, String> {
    obs_promql::parse_duration_ms(text).map(DurationMs)
}

/// Writes a duration as Prometheus does: `5m`, `1h30m`, `0s`. Weeks and years only when exact.
pub fn format_duration(duration: DurationMs) -> String {
    obs_promql::format_duration_ms(duration.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_writes_what_prometheus_does() {
        for (text, ms) in [
            ("0", 0),
            ("5m", 300_000),
            ("1h30m", 5_400_000),
            ("2m59s999ms", 179_999),
            ("1d", 86_400_000),
            ("106700d", 106_700 * 86_400_000),
        ] {
            assert_eq!(parse_duration(text), Ok(DurationMs(ms)), "{text}");
        }
        for text in ["", "5", "m", "5m5m", "1m1h", "-5m", "5 m", "99999999999y", "5minutes"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
        for (ms, text) in [(0, "0s"), (300_000, "5m"), (90_000, "1m30s"), (604_800_000, "1w")] {
            assert_eq!(format_duration(DurationMs(ms)), text);
        }
        assert_eq!(format_duration(DurationMs(10 * 86_400_000)), "10d");
    }
}
