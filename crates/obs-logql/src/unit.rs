//! Numbers with units, as the language and log lines write them, and Go's quoting.

use std::fmt::Write;

const MICROSECOND: f64 = 1e3;
const MILLISECOND: f64 = 1e6;
const SECOND: f64 = 1e9;
const MINUTE: f64 = 60.0 * SECOND;
const HOUR: f64 = 60.0 * MINUTE;

/// A duration as Prometheus writes it (`1h30m`, `5d`), in nanoseconds. `None` if it is none.
pub(crate) fn prometheus_duration(text: &str) -> Option<i64> {
    const UNITS: [(&str, i64); 7] = [
        ("y", 365 * 24 * 3_600_000),
        ("w", 7 * 24 * 3_600_000),
        ("d", 24 * 3_600_000),
        ("h", 3_600_000),
        ("m", 60_000),
        ("s", 1_000),
        ("ms", 1),
    ];
    if text == "0" {
        return Some(0);
    }
    let mut rest = text;
    let mut total: i64 = 0;
    let mut next_unit = 0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let (number, tail) = rest.split_at_checked(digits)?;
        let letters = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at_checked(letters)?;
        // Units come in falling order and each once.
        let at = UNITS.iter().position(|(name, _)| *name == unit)?;
        if at < next_unit {
            return None;
        }
        next_unit = at + 1;
        let ms = number.parse::<i64>().ok()?.checked_mul(UNITS.get(at)?.1)?;
        total = total.checked_add(ms)?;
        rest = tail;
    }
    (!text.is_empty()).then_some(total)?.checked_mul(1_000_000)
}

/// A duration as Go's `time.ParseDuration` reads it, in nanoseconds; the error has Go's words.
pub(crate) fn go_duration(text: &str) -> Result<i64, String> {
    let invalid = || format!("time: invalid duration {}", quote(text));
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(r) => (true, r),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total = 0.0f64;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, tail) = rest.split_at_checked(end).ok_or_else(invalid)?;
        if number.is_empty() || number == "." || number.matches('.').count() > 1 {
            return Err(invalid());
        }
        let value: f64 = number.parse().ok().ok_or_else(invalid)?;
        let end = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at_checked(end).ok_or_else(invalid)?;
        let scale = match unit {
            "" => return Err(format!("time: missing unit in duration {}", quote(text))),
            "ns" => 1.0,
            "us" | "µs" | "μs" => MICROSECOND,
            "ms" => MILLISECOND,
            "s" => SECOND,
            "m" => MINUTE,
            "h" => HOUR,
            _ => {
                return Err(format!(
                    "time: unknown unit {} in duration {}",
                    quote(unit),
                    quote(text)
                ));
            }
        };
        total += value * scale;
        rest = tail;
    }
    if total > i64::MAX as f64 {
        return Err(invalid());
    }
    let ns = total.round() as i64;
    Ok(if negative { -ns } else { ns })
}

/// Either spelling, as the language accepts it.
pub(crate) fn duration(text: &str) -> Result<i64, String> {
    match prometheus_duration(text) {
        Some(ns) => Ok(ns),
        None => go_duration(text).map_err(|e| e.trim_start_matches("time: ").to_owned()),
    }
}

/// A byte size such as `10MB`, `1.5 KiB` or `42`; the errors have the words that Loki users see.
pub(crate) fn bytes(text: &str) -> Result<u64, String> {
    let end =
        text.find(|c: char| !c.is_ascii_digit() && c != '.' && c != ',').unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(end).unwrap_or((text, ""));
    let digits: String = number.chars().filter(|c| *c != ',').collect();
    let value = float(&digits)?;
    let unit = unit.trim().to_lowercase();
    let scale: f64 = match unit.as_str() {
        "" | "b" => 1.0,
        "k" | "kb" => 1e3,
        "ki" | "kib" => 1024.0,
        "m" | "mb" => 1e6,
        "mi" | "mib" => 1024f64.powi(2),
        "g" | "gb" => 1e9,
        "gi" | "gib" => 1024f64.powi(3),
        "t" | "tb" => 1e12,
        "ti" | "tib" => 1024f64.powi(4),
        "p" | "pb" => 1e15,
        "pi" | "pib" => 1024f64.powi(5),
        "e" | "eb" => 1e18,
        "ei" | "eib" => 1024f64.powi(6),
        _ => return Err(format!("unhandled size name: {unit}")),
    };
    let total = value * scale;
    if total >= u64::MAX as f64 {
        return Err(format!("too large: {text}"));
    }
    Ok(total as u64)
}

/// A float as Go's `strconv.ParseFloat` reads it; the error has Go's words.
pub(crate) fn float(text: &str) -> Result<f64, String> {
    let invalid = || format!("strconv.ParseFloat: parsing {}: invalid syntax", quote(text));
    let body = text.strip_prefix(['+', '-']).unwrap_or(text);
    match body.to_ascii_lowercase().as_str() {
        "inf" | "infinity" => {
            return Ok(if text.starts_with('-') { f64::NEG_INFINITY } else { f64::INFINITY });
        }
        "nan" => return Ok(f64::NAN),
        _ => {}
    }
    if let Some(hex) = body.strip_prefix("0x").or_else(|| body.strip_prefix("0X")) {
        let value = hex_float(hex).ok_or_else(invalid)?;
        return Ok(if text.starts_with('-') { -value } else { value });
    }
    if !body.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return Err(invalid());
    }
    let value: f64 = body.parse().ok().ok_or_else(invalid)?;
    if value.is_infinite() {
        return Err(format!("strconv.ParseFloat: parsing {}: value out of range", quote(text)));
    }
    Ok(if text.starts_with('-') { -value } else { value })
}

/// `1.8p3`: hexadecimal digits and a binary exponent, which is required.
fn hex_float(text: &str) -> Option<f64> {
    let (mantissa, exponent) = text.split_once(['p', 'P'])?;
    let exponent: i32 = exponent.parse().ok()?;
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let mut value = 0.0f64;
    for c in whole.chars().chain(fraction.chars()) {
        value = value * 16.0 + f64::from(c.to_digit(16)?);
    }
    let places = i32::try_from(fraction.len()).ok()?.checked_mul(4)?;
    Some(value * 2f64.powi(exponent.checked_sub(places)?))
}

/// A number as Go's `%v` shows it, which is also the canonical text of a literal.
pub(crate) fn show_float(value: f64) -> String {
    if value.is_nan() {
        return "NaN".into();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf".into() } else { "-Inf".into() };
    }
    let magnitude = value.abs();
    if magnitude != 0.0 && !(1e-4..1e21).contains(&magnitude) {
        let text = format!("{value:e}");
        return match text.split_once('e') {
            Some((mantissa, exponent)) => {
                let (sign, digits) = match exponent.strip_prefix('-') {
                    Some(d) => ('-', d),
                    None => ('+', exponent),
                };
                format!("{mantissa}e{sign}{digits:0>2}")
            }
            None => text,
        };
    }
    format!("{value}")
}

/// A range or offset as the language writes it: `1h30m`, `5m`, `100ms`.
pub(crate) fn show_duration(ns: i64) -> String {
    const UNITS: [(i64, &str); 8] = [
        (7 * 24 * 3_600_000_000_000, "w"),
        (24 * 3_600_000_000_000, "d"),
        (3_600_000_000_000, "h"),
        (60_000_000_000, "m"),
        (1_000_000_000, "s"),
        (1_000_000, "ms"),
        (1_000, "us"),
        (1, "ns"),
    ];
    if ns == 0 {
        return "0s".into();
    }
    let mut out = String::new();
    if ns < 0 {
        out.push('-');
    }
    let mut rest = ns.unsigned_abs();
    for (size, name) in UNITS {
        let size = size.unsigned_abs();
        // Weeks and days only when nothing else is left, as Prometheus prints them.
        let whole_only = matches!(name, "w" | "d");
        if rest >= size && (!whole_only || rest.is_multiple_of(size)) {
            // Writing to a String cannot fail.
            write!(out, "{}{name}", rest / size).unwrap_or_default();
            rest %= size;
        }
    }
    out
}

/// Quotes as Go's `strconv.Quote`.
pub(crate) fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\x07' => out.push_str("\\a"),
            '\x08' => out.push_str("\\b"),
            '\x0c' => out.push_str("\\f"),
            '\x0b' => out.push_str("\\v"),
            c if (c as u32) < 0x20 || c == '\x7f' => {
                write!(out, "\\x{:02x}", c as u32).unwrap_or_default();
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_of_both_schools() {
        assert_eq!(duration("1h30m"), Ok(5_400_000_000_000));
        assert_eq!(duration("1d"), Ok(86_400_000_000_000));
        assert_eq!(duration("1.5s"), Ok(1_500_000_000));
        assert_eq!(duration("-250us"), Ok(-250_000));
        assert!(go_duration("1d").unwrap_err().contains("unknown unit \"d\""));
        assert!(go_duration("5").unwrap_err().contains("missing unit in duration"));
        assert!(go_duration("fast").unwrap_err().contains("invalid duration"));
        assert_eq!(prometheus_duration("5m5h"), None);
        assert_eq!(prometheus_duration("99999999999999y"), None);
    }

    #[test]
    fn sizes() {
        assert_eq!(bytes("1KB"), Ok(1000));
        assert_eq!(bytes("1.5 KiB"), Ok(1536));
        assert_eq!(bytes("42"), Ok(42));
        assert_eq!(bytes("2PiB"), Ok(2 << 50));
        assert!(bytes("oops").unwrap_err().contains("parsing \"\": invalid syntax"));
        assert!(bytes("1XB").unwrap_err().contains("unhandled size name"));
    }

    #[test]
    fn shows_as_go_does() {
        assert_eq!(show_duration(5_400_000_000_000), "1h30m");
        assert_eq!(show_duration(86_400_000_000_000), "1d");
        assert_eq!(show_float(1e21), "1e+21");
        assert_eq!(show_float(0.5), "0.5");
        assert_eq!(quote("a\"\n\x01é"), "\"a\\\"\\n\\x01é\"");
    }
}
