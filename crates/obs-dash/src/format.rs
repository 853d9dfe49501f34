//! How the values of a variable are written into a query, by the names of Grafana's formats.

/// Several values make a regular expression unless the format says otherwise.
pub(crate) fn formatted(values: &[String], format: &str, many: bool) -> String {
    let quoted = |quote: &str, escaped: &str| {
        let all: Vec<String> =
            values.iter().map(|v| format!("{quote}{}{quote}", v.replace(quote, escaped))).collect();
        all.join(",")
    };
    match format {
        "raw" | "csv" | "text" => values.join(","),
        "pipe" => values.join("|"),
        "doublequote" => quoted("\"", "\\\""),
        "json" => match values {
            [one] if !many => serde_json::Value::from(one.as_str()).to_string(),
            all => serde_json::Value::from(all.to_vec()).to_string(),
        },
        "singlequote" => quoted("'", "\\'"),
        "sqlstring" => quoted("'", "''"),
        "glob" => match values {
            [one] => one.clone(),
            all => format!("{{{}}}", all.join(",")),
        },
        "lucene" => {
            let all: Vec<String> =
                values.iter().map(|v| format!("\"{}\"", v.replace('"', "\\\""))).collect();
            match all.as_slice() {
                [_] => values.concat(),
                _ => format!("({})", all.join(" OR ")),
            }
        }
        "percentencode" | "uriencode" => percent_encoded(&match values {
            [one] => one.clone(),
            all => format!("{{{}}}", all.join(",")),
        }),
        "regex" => regex(values, false),
        _ => match values {
            [one] if !many => one.clone(),
            all => regex(all, true),
        },
    }
}

fn regex(values: &[String], in_quotes: bool) -> String {
    let all: Vec<String> = values.iter().map(|v| escape_regex(v, in_quotes)).collect();
    match all.as_slice() {
        [] => String::new(),
        [one] => one.clone(),
        all => format!("({})", all.join("|")),
    }
}

/// Escaped twice where the expression stands in a quoted string.
fn escape_regex(text: &str, in_quotes: bool) -> String {
    let mark = if in_quotes { "\\\\" } else { "\\" };
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(
            c,
            '\\' | '^'
                | '$'
                | '*'
                | '+'
                | '?'
                | '.'
                | '('
                | ')'
                | '|'
                | '{'
                | '}'
                | '['
                | ']'
                | '/'
        ) && (c != '/' || !in_quotes)
        {
            out.push_str(mark);
        }
        out.push(c);
    }
    out
}

fn percent_encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}
