//! Numbers as Go prints them, for templates and messages.

/// `%v` of a Go float64: shortest digits, exponent form below 1e-4 and from 1e21 on.
pub(crate) fn go_float(v: f64) -> String {
    if let Some(text) = not_finite(v) {
        return text;
    }
    let magnitude = v.abs();
    if v != 0.0 && !(1e-4..1e21).contains(&magnitude) {
        return go_exponent(&format!("{v:e}"));
    }
    format!("{v}")
}

/// `%.<precision>g` of a Go float64.
pub(crate) fn go_g(v: f64, precision: usize) -> String {
    if let Some(text) = not_finite(v) {
        return text;
    }
    if v == 0.0 {
        return "0".to_owned();
    }
    let precision = precision.max(1);
    let scientific = format!("{v:.*e}", precision - 1);
    let exponent: i32 =
        scientific.rsplit_once('e').and_then(|(_, e)| e.parse().ok()).unwrap_or_default();
    if exponent < -4 || exponent >= precision as i32 {
        let (mantissa, e) = scientific.rsplit_once('e').unwrap_or((&scientific, "0"));
        return go_exponent(&format!("{}e{e}", trim_zeros(mantissa)));
    }
    let decimals = (precision as i32 - 1 - exponent).max(0) as usize;
    trim_zeros(&format!("{v:.decimals$}")).to_owned()
}

fn not_finite(v: f64) -> Option<String> {
    match v {
        v if v.is_nan() => Some("NaN".to_owned()),
        f64::INFINITY => Some("+Inf".to_owned()),
        f64::NEG_INFINITY => Some("-Inf".to_owned()),
        _ => None,
    }
}

fn trim_zeros(text: &str) -> &str {
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { text }
}

/// Rust writes `1e-5`, Go `1e-05`.
fn go_exponent(text: &str) -> String {
    let Some((mantissa, exponent)) = text.rsplit_once('e') else { return text.to_owned() };
    let (sign, digits) = match exponent.strip_prefix('-') {
        Some(digits) => ('-', digits),
        None => ('+', exponent.trim_start_matches('+')),
    };
    format!("{mantissa}e{sign}{digits:0>2}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_like_go() {
        for (v, text) in [
            (1.0, "1"),
            (0.1, "0.1"),
            (1e-5, "1e-05"),
            (1.5e21, "1.5e+21"),
            (123_456_789.0, "123456789"),
            (f64::INFINITY, "+Inf"),
            (f64::NAN, "NaN"),
            (-0.5, "-0.5"),
        ] {
            assert_eq!(go_float(v), text);
        }
        for (v, text) in [
            (1234.5678, "1235"),
            (12345.678, "1.235e+04"),
            (0.00001234, "1.234e-05"),
            (0.5, "0.5"),
            (99.99, "99.99"),
            (999.99, "1000"),
            (9999.9, "1e+04"),
        ] {
            assert_eq!(go_g(v, 4), text);
        }
    }
}
