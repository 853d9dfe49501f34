use obs_promql::EngineOptions;

/// Flags that change nothing, because what they ask for is always so.
const ALWAYS: [&str; 3] = ["exemplar-storage", "native-histograms", "st-storage"];

/// Switches a part of PromQL on by the name of Prometheus' feature flag.
///
/// # Errors
/// Where there is no such flag; the text names those there are.
pub fn enable_feature(options: &mut EngineOptions, name: &str) -> Result<(), String> {
    let parser = &mut options.parser;
    let flags = [
        ("promql-binop-fill-modifiers", &mut parser.binop_fill_modifiers),
        ("promql-delayed-name-removal", &mut options.delayed_name_removal),
        ("promql-duration-expr", &mut parser.duration_expr),
        ("promql-experimental-functions", &mut parser.experimental_functions),
        ("promql-extended-range-selectors", &mut parser.extended_range_selectors),
        ("use-start-timestamps", &mut options.use_start_timestamps),
    ];
    let mut names = ALWAYS.to_vec();
    for (flag, on) in flags {
        if flag == name {
            *on = true;
            return Ok(());
        }
        names.push(flag);
    }
    if ALWAYS.contains(&name) {
        return Ok(());
    }
    Err(format!("{name:?} is none of {}", names.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_switched_on_by_name() {
        let mut options = EngineOptions::default();
        for name in ["st-storage", "use-start-timestamps", "promql-experimental-functions"] {
            enable_feature(&mut options, name).unwrap();
        }
        assert!(options.use_start_timestamps && options.parser.experimental_functions);
        assert!(!options.delayed_name_removal && !options.parser.binop_fill_modifiers);
        let e = enable_feature(&mut options, "no-such").unwrap_err();
        assert!(e.contains("no-such") && e.contains("promql-duration-expr"), "{e}");
    }
}
