use std::sync::LazyLock;

use obs_types::DurationMs;
use regex::Regex;

use crate::duration::{format_duration, parse_duration};

/// Splits ENGINE's shorthand `cpu_percent > 80 for 5m` into expression and duration. `None` when
/// the text does not end in ` for DURATION`; PromQL itself has no such word there.
pub fn split_for(text: &str) -> Option<(&str, DurationMs)> {
    static SHORTHAND: LazyLock<Option<Regex>> =
        LazyLock::new(|| Regex::new(r"(?s)^\s*(.*\S)\s+for\s+([0-9][0-9a-z]*)\s*$").ok());
    let found = SHORTHAND.as_ref()?.captures(text)?;
    let duration = parse_duration(found.get(2)?.as_str()).ok()?;
    Some((found.get(1)?.as_str(), duration))
}

/// The expression as ENGINE 2.4 shows it: on one line, with ` for 5m` where the rule waits.
pub fn show_expression(expr: &str, hold: DurationMs) -> String {
    let one_line = expr.split_whitespace().collect::<Vec<_>>().join(" ");
    if hold.0 == 0 { one_line } else { format!("{one_line} for {}", format_duration(hold)) }
}

/// The number of an expression of the form `x > number` (any comparison, `bool` allowed).
///
/// `None` where there is no such number: no comparison outside parentheses, more than one, a set
/// operator, or something else than a number on the right.
pub fn threshold(expr: &str) -> Option<f64> {
    let mut depth = 0usize;
    let mut after: Option<usize> = None;
    let mut chars = expr.char_indices().peekable();
    let mut word_start: Option<usize> = None;
    while let Some((at, c)) = chars.next() {
        if c.is_alphanumeric() || c == '_' || c == ':' {
            word_start.get_or_insert(at);
            if chars.peek().is_some_and(|(_, n)| n.is_alphanumeric() || *n == '_' || *n == ':') {
                continue;
            }
            let word = expr.get(word_start.take()?..at + c.len_utf8())?;
            if depth == 0 && matches!(word.to_ascii_lowercase().as_str(), "and" | "or" | "unless") {
                return None;
            }
            continue;
        }
        match c {
            '(' | '{' | '[' => depth += 1,
            ')' | '}' | ']' => depth = depth.saturating_sub(1),
            '"' | '\'' | '`' => {
                while let Some((_, q)) = chars.next() {
                    if q == c {
                        break;
                    }
                    if q == '\\' && c != '`' {
                        chars.next();
                    }
                }
            }
            '#' => while chars.next_if(|(_, n)| *n != '\n').is_some() {},
            '>' | '<' | '=' | '!' if depth == 0 => {
                let wide = chars.next_if(|(_, n)| *n == '=').is_some();
                if after.is_some() || (!wide && matches!(c, '=' | '!')) {
                    return None;
                }
                after = Some(at + if wide { 2 } else { 1 });
            }
            _ => {}
        }
    }
    let right = expr.get(after?..)?.trim();
    let right = right.strip_prefix("bool").map_or(right, str::trim_start);
    right.parse::<f64>().ok().filter(|v| v.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shorthand_splits_only_at_a_trailing_for() {
        assert_eq!(
            split_for("cpu_percent > 80 for 5m"),
            Some(("cpu_percent > 80", DurationMs(300_000)))
        );
        assert_eq!(split_for("cpu_percent > 80"), None);
        assert_eq!(split_for("x for ever"), None);
        assert_eq!(
            show_expression("cpu_percent\n  > 80", DurationMs(300_000)),
            "cpu_percent > 80 for 5m"
        );
        assert_eq!(show_expression("up == 0", DurationMs(0)), "up == 0");
    }

    #[test]
    fn the_threshold_is_the_lone_number_on_the_right() {
        for (expr, want) in [
            ("cpu_percent > 80", Some(80.0)),
            ("up == 0", Some(0.0)),
            ("abs(max(a > 1) - min(b)) > 0.3", Some(0.3)),
            ("x{a=\"> 5\"} < bool 1e3", Some(1000.0)),
            ("rate(a[5m]) / rate(b[5m]) >= 0.10", Some(0.1)),
            ("x > -4", Some(-4.0)),
            ("a > 1 and b > 2", None),
            ("a > b", None),
            ("absent(up)", None),
            ("a > 1 > 2", None),
            ("x{a='unterminated", None),
            ("x > 80 # percent", None),
        ] {
            assert_eq!(threshold(expr), want, "{expr}");
        }
    }
}
