//! Numbers, durations and strings as Go and Prometheus write and read them.

/// Shortest decimal without exponent (`strconv.FormatFloat(v, 'f', -1, 64)`).
pub(crate) fn float_f(v: f64) -> String {
    if v.is_nan() {
        "NaN".into()
    } else if v.is_infinite() {
        if v > 0.0 { "+Inf".into() } else { "-Inf".into() }
    } else {
        format!("{v}")
    }
}

/// Shortest digits, with an exponent from 10^`threshold` on and below 10^-4 (Go's `%g` with 6,
/// `%v` with 21).
pub(crate) fn float_g(v: f64, threshold: i32) -> String {
    if v == 0.0 || !v.is_finite() {
        return float_f(v);
    }
    let sci = format!("{v:e}");
    let Some((mantissa, exp)) = sci.split_once('e') else { return sci };
    let exp: i32 = exp.parse().unwrap_or(0);
    // Go decides by 6 digits only while the shortest text has no more; beyond, by 21.
    let limit = if threshold == 6 && mantissa.len() <= 7 { 6 } else { 21 };
    if exp < -4 || exp >= limit {
        let sign = if exp < 0 { '-' } else { '+' };
        format!("{mantissa}e{sign}{:02}", exp.abs())
    } else {
        float_f(v)
    }
}

/// A byte of a literal that is not UTF-8 travels as a private character from here on.
const ESCAPED_BYTE: u32 = 0x10_ff00;

/// Whether a label may be called that: any UTF-8 that is not empty.
pub(crate) fn is_label_name(s: &str) -> bool {
    !s.is_empty() && s.chars().all(|c| (c as u32) < ESCAPED_BYTE)
}

/// Go's `%q` for the characters that occur in practice.
pub(crate) fn quote(s: &str) -> String {
    let mut out = String::with_capacity(s.len() + 2);
    out.push('"');
    for c in s.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{b}' => out.push_str("\\v"),
            '\u{c}' => out.push_str("\\f"),
            c if (c as u32) < 0x20 || c as u32 == 0x7f => {
                out.push_str(&format!("\\x{:02x}", c as u32));
            }
            c if c as u32 >= ESCAPED_BYTE => {
                out.push_str(&format!("\\x{:02x}", c as u32 - ESCAPED_BYTE));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// Undoes quoting with `"`, `'` or `` ` ``. `None` where the text is no such literal.
pub(crate) fn unquote(s: &str) -> Option<String> {
    let mut chars = s.chars();
    let open = chars.next()?;
    let body = chars.as_str().strip_suffix(open)?;
    match open {
        '`' => return Some(body.to_owned()),
        '"' | '\'' => {}
        _ => return None,
    }
    let mut bytes: Vec<u8> = Vec::with_capacity(body.len());
    let mut it = body.chars();
    while let Some(c) = it.next() {
        if c != '\\' {
            bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            continue;
        }
        let e = it.next()?;
        let mut digits = |first: Option<char>, count: usize, radix: u32| -> Option<u32> {
            let mut n = first.map_or(Some(0), |c| c.to_digit(radix))?;
            for _ in 0..count {
                n = n * radix + it.next()?.to_digit(radix)?;
            }
            Some(n)
        };
        match e {
            'a' => bytes.push(7),
            'b' => bytes.push(8),
            'f' => bytes.push(12),
            'n' => bytes.push(b'\n'),
            'r' => bytes.push(b'\r'),
            't' => bytes.push(b'\t'),
            'v' => bytes.push(11),
            '\\' => bytes.push(b'\\'),
            c if c == open => bytes.push(c as u8),
            '0'..='7' => bytes.push(u8::try_from(digits(Some(e), 2, 8)?).ok()?),
            'x' => bytes.push(u8::try_from(digits(None, 2, 16)?).ok()?),
            'u' | 'U' => {
                let n = digits(None, if e == 'u' { 4 } else { 8 }, 16)?;
                bytes.extend_from_slice(char::from_u32(n)?.encode_utf8(&mut [0; 4]).as_bytes());
            }
            _ => return None,
        }
    }
    let mut out = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        out.push_str(chunk.valid());
        let escaped = chunk.invalid().iter().map(|b| ESCAPED_BYTE + u32::from(*b));
        out.extend(escaped.filter_map(char::from_u32));
    }
    Some(out)
}

const UNITS: [(&str, i64); 7] = [
    ("y", 365 * 86_400_000),
    ("w", 7 * 86_400_000),
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

/// Reads `1h30m`, `15s`, `0`: units from long to short, each once. `Err` is Prometheus' wording.
pub fn parse_duration_ms(s: &str) -> Result<i64, String> {
    let invalid = || format!("not a valid duration string: {}", quote(s));
    if s == "0" {
        return Ok(0);
    }
    if s.is_empty() {
        return Err("empty duration string".into());
    }
    let mut rest = s;
    let mut next_unit = 0;
    let mut total: i64 = 0;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, tail) = rest.split_at_checked(digits).ok_or_else(invalid)?;
        let letters = tail.bytes().take_while(u8::is_ascii_alphabetic).count();
        let (unit, tail) = tail.split_at_checked(letters).ok_or_else(invalid)?;
        let at = UNITS.iter().position(|(u, _)| *u == unit).ok_or_else(invalid)?;
        if at < next_unit || number.is_empty() {
            return Err(invalid());
        }
        next_unit = at + 1;
        let (_, factor) = UNITS[at];
        let n: i64 = number.parse().map_err(|_e| "duration out of range".to_owned())?;
        total = n
            .checked_mul(factor)
            .and_then(|ms| total.checked_add(ms))
            .filter(|ms| *ms <= i64::MAX / 1_000_000)
            .ok_or("duration out of range")?;
        rest = tail;
    }
    Ok(total)
}

/// The canonical text of a length of time: `1h30m`, `0s`.
pub fn format_duration_ms(ms: i64) -> String {
    if ms == 0 {
        return "0s".into();
    }
    let mut rest = ms.unsigned_abs();
    let mut out = if ms < 0 { "-".to_owned() } else { String::new() };
    for (i, (unit, factor)) in UNITS.iter().enumerate() {
        let factor = *factor as u64;
        // Years and weeks are used only where nothing would remain: `90d` reads better than `12w6d`.
        if i < 2 && !rest.is_multiple_of(factor) {
            continue;
        }
        if rest / factor > 0 {
            out.push_str(&format!("{}{unit}", rest / factor));
            rest %= factor;
        }
    }
    out
}

pub(crate) fn is_legacy_label(s: &str) -> bool {
    let mut bytes = s.bytes();
    bytes.next().is_some_and(|b| b == b'_' || b.is_ascii_alphabetic())
        && bytes.all(|b| b == b'_' || b.is_ascii_alphanumeric())
}

/// Reads a number as PromQL writes it: decimal, hex, octal, `_` between digits, `Inf`, `NaN`.
pub(crate) fn parse_number(s: &str) -> Option<f64> {
    let (negative, body) = match s.as_bytes().first()? {
        b'-' => (true, s.get(1..)?),
        b'+' => (false, s.get(1..)?),
        _ => (false, s),
    };
    let lower = body.to_ascii_lowercase().replace('_', "");
    let value = if let Some(hex) = lower.strip_prefix("0x") {
        i64::from_str_radix(hex, 16).ok()? as f64
    } else if lower.len() > 1
        && lower.starts_with('0')
        && lower.bytes().all(|b| (b'0'..=b'7').contains(&b))
    {
        i64::from_str_radix(&lower, 8).ok()? as f64
    } else if lower == "inf" || lower == "infinity" {
        f64::INFINITY
    } else if lower == "nan" {
        f64::NAN
    } else if lower.bytes().all(|b| b.is_ascii_digit() || b".e+-".contains(&b)) {
        let v: f64 = lower.parse().ok()?;
        if v.is_infinite() {
            return None;
        }
        v
    } else {
        return None;
    };
    Some(if negative { -value } else { value })
}

/// What `K`, `Ki`, `MB`, … behind a number multiply it by (MetricsQL). A lone `m` is a minute.
pub(crate) fn number_suffix(unit: &str) -> Option<f64> {
    let lower = unit.to_ascii_lowercase();
    let stem = lower.strip_suffix('b').unwrap_or(&lower);
    if unit == "m" {
        return None;
    }
    let (letter, base) = match stem.strip_suffix('i') {
        Some(letter) => (letter, 1024.0f64),
        None => (stem, 1000.0),
    };
    let power = ["k", "m", "g", "t"].iter().position(|l| *l == letter)?;
    Some(base.powi(i32::try_from(power).ok()? + 1))
}

/// Milliseconds of a duration's unit; 0 for `i`, the step, whose length only the query knows.
pub(crate) fn duration_unit_ms(unit: &str) -> Option<f64> {
    let lower = unit.to_ascii_lowercase();
    if lower == "i" {
        return Some(0.0);
    }
    UNITS.iter().find(|(u, _)| *u == lower).map(|(_, ms)| *ms as f64)
}

/// Reads a number of MetricsQL: a number of PromQL with an optional suffix.
pub(crate) fn parse_metricsql_number(s: &str) -> Option<f64> {
    if let Some(v) = parse_number(s) {
        return Some(v);
    }
    let letters = s.trim_end_matches(|c: char| c.is_ascii_alphabetic()).len();
    let (number, unit) = s.split_at_checked(letters)?;
    Some(parse_number(number)? * number_suffix(unit)?)
}

/// Reads a duration of MetricsQL: `(milliseconds, steps)`.
pub(crate) fn parse_metricsql_duration(s: &str) -> Option<(f64, f64)> {
    let (mut ms, mut steps) = (0.0, 0.0);
    let mut rest = s;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| c.is_ascii_alphabetic())?;
        let (number, tail) = rest.split_at_checked(digits)?;
        let letters = tail.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at_checked(letters)?;
        let n: f64 = number.replace('_', "").parse().ok()?;
        match duration_unit_ms(unit)? {
            0.0 => steps += n,
            factor => ms += n * factor,
        }
        rest = tail;
    }
    Some((ms, steps))
}

/// A name without the backslashes of MetricsQL.
pub(crate) fn unescape_name(s: &str) -> String {
    let mut out = String::with_capacity(s.len());
    let mut chars = s.chars();
    while let Some(c) = chars.next() {
        out.extend(if c == '\\' { chars.next() } else { Some(c) });
    }
    out
}
