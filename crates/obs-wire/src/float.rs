//! Numbers as Go's `strconv` reads and prints them: the text formats are defined by it.

/// Reads a decimal float, `Inf`, `+Inf`, `-Inf` or `NaN` in any case. Hexadecimal digits,
/// underscores and surrounding blanks are refused.
pub fn parse_go_float(text: &str) -> Option<f64> {
    let bytes = text.as_bytes();
    // Small integers are most of what exporters send.
    if !bytes.is_empty() && bytes.len() <= 15 && bytes.iter().all(u8::is_ascii_digit) {
        let n = bytes.iter().fold(0_u64, |n, b| n * 10 + u64::from(b - b'0'));
        return Some(n as f64);
    }
    let number = |b: &u8| matches!(b, b'0'..=b'9' | b'.' | b'-' | b'+' | b'e' | b'E');
    if bytes.iter().all(number) {
        return text.parse().ok();
    }
    let (negative, word) = match bytes.first() {
        Some(b'-') => (true, text.get(1..)?),
        Some(b'+') => (false, text.get(1..)?),
        _ => (false, text),
    };
    if word.eq_ignore_ascii_case("inf") || word.eq_ignore_ascii_case("infinity") {
        return Some(if negative { f64::NEG_INFINITY } else { f64::INFINITY });
    }
    (word.len() == text.len() && word.eq_ignore_ascii_case("nan")).then_some(f64::NAN)
}

/// Shortest text that reads back as the same number, in the form of Go's `%g`: an exponent when it
/// is below -4 or above 20; `+Inf`, `-Inf`, `NaN`.
pub fn format_float(value: f64) -> String {
    format_go(value, 21)
}

/// The canonical form of `le` and `quantile` label values, as Prometheus 3 stores them: always
/// with a fraction or an exponent (`1.0`, `0.25`, `1e+06`, `+Inf`).
pub fn canonical_bound(value: f64) -> String {
    let mut out = format_go(value, 6);
    if value.is_finite() && !out.contains(['.', 'e']) {
        out.push_str(".0");
    }
    out
}

/// `exponent_from` is the decimal exponent from which scientific form is used.
fn format_go(value: f64, exponent_from: i32) -> String {
    if value.is_nan() {
        return "NaN".into();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf".into() } else { "-Inf".into() };
    }
    if value == 0.0 {
        return if value.is_sign_negative() { "-0".into() } else { "0".into() };
    }
    // `{:e}` gives the shortest digits and the exponent, which decides the form.
    let scientific = format!("{value:e}");
    let Some((mantissa, exponent)) = scientific.split_once('e') else { return scientific };
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if exponent < -4 || exponent >= exponent_from {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{mantissa}e{sign}{:02}", exponent.abs());
    }
    format!("{value}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_what_go_reads() {
        for (text, want) in
            [("1", 1.0), ("-1.5e3", -1500.0), ("+Inf", f64::INFINITY), ("-inf", f64::NEG_INFINITY)]
        {
            assert_eq!(parse_go_float(text), Some(want), "{text}");
        }
        assert!(parse_go_float("NaN").is_some_and(f64::is_nan));
        for text in ["", "0x1", "1_2", " 1", "1 ", "0o1", "+NaN", "-", "e", "é"] {
            assert_eq!(parse_go_float(text), None, "{text:?}");
        }
    }

    #[test]
    fn prints_bounds_canonically() {
        for (value, want) in [
            (1.0, "1.0"),
            (0.0, "0.0"),
            (100000.0, "100000.0"),
            (1e6, "1e+06"),
            (1e-5, "1e-05"),
            (0.00025, "0.00025"),
            (f64::INFINITY, "+Inf"),
        ] {
            assert_eq!(canonical_bound(value), want);
        }
        assert_eq!(format_float(1234567.0), "1234567");
        assert_eq!(format_float(1e21), "1e+21");
    }

    proptest! {
        #[test]
        fn printed_numbers_read_back(bits in any::<u64>()) {
            let value = f64::from_bits(bits);
            let back = parse_go_float(&format_float(value)).unwrap();
            prop_assert!(back.to_bits() == value.to_bits() || (back.is_nan() && value.is_nan()));
        }
    }
}
