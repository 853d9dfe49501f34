use obs_promql::ParserOptions;

use crate::expand_shorthand;

/// Whether a text is an expression of `promql` (or ENGINE's shorthand), `logql` or `traceql`; else
/// why not, with its place in the text. Another language is not looked at.
pub fn check_expression(language: &str, expr: &str) -> Result<(), String> {
    match language {
        "promql" => {
            let short = expand_shorthand(expr).map(|s| s.promql);
            let meant = short.as_deref().unwrap_or(expr);
            obs_promql::parse(meant, &ParserOptions::all()).map(|_| ()).map_err(|e| e.to_string())
        }
        "logql" => obs_logql::parse(expr).map(|_| ()).map_err(|e| e.to_string()),
        "traceql" => obs_traceql::parse(expr).map(|_| ()).map_err(|e| e.to_string()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_language_refuses_what_it_does_not_speak() {
        for (language, good, bad) in [
            ("promql", "sum by (job) (rate(x[5m]))", "sum(rate(x[5m])"),
            ("promql", "cpu_percent > 80 for 5m", "cpu_percent >"),
            ("logql", r#"{app="a"} |= "x""#, r#"{app="a"#),
            ("traceql", r#"{ duration > 1s }"#, "{ duration > }"),
        ] {
            assert_eq!(check_expression(language, good), Ok(()));
            assert!(check_expression(language, bad).is_err(), "{bad}");
        }
        assert_eq!(check_expression("mysql", "SELECT"), Ok(()));
    }
}
