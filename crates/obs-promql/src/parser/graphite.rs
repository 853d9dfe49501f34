//! `{__graphite__="servers.*.cpu.{user,system}"}` of MetricsQL: metric names by Graphite's patterns.

use obs_types::{METRIC_NAME, MatchOp, Matcher};

/// The label that stands for the whole path.
pub(super) const LABEL: &str = "__graphite__";

/// The matcher of metric names that the pattern stands for; `Err` says what is wrong with it.
pub(super) fn matcher(op: MatchOp, pattern: &str) -> Result<Matcher, String> {
    let op = match op {
        MatchOp::Equal => MatchOp::Regex,
        MatchOp::NotEqual => MatchOp::NotRegex,
        MatchOp::Regex | MatchOp::NotRegex => {
            return Err(format!("{LABEL} takes a pattern of Graphite behind = or !="));
        }
    };
    let expression = expression(pattern)?;
    Matcher::new(METRIC_NAME, op, expression).map_err(|e| e.to_string())
}

/// `*` and `?` stay within a part between dots; `{a,b}` are alternatives, `[a-c]` characters.
fn expression(pattern: &str) -> Result<String, String> {
    let mut out = String::new();
    let mut open = 0_usize;
    let mut rest = pattern.chars();
    while let Some(c) = rest.next() {
        match c {
            '*' => out.push_str("[^.]*"),
            '?' => out.push_str("[^.]"),
            '{' => {
                open += 1;
                out.push_str("(?:");
            }
            '}' if open > 0 => {
                open -= 1;
                out.push(')');
            }
            ',' if open > 0 => out.push('|'),
            '[' => {
                let Some((inside, after)) = rest.as_str().split_once(']') else {
                    return Err(format!("{LABEL}: no \"]\" in {pattern:?}"));
                };
                rest = after.chars();
                let (negated, inside) = match inside.strip_prefix('!') {
                    Some(others) => ("^", others),
                    None => ("", inside),
                };
                out.push('[');
                out.push_str(negated);
                for c in inside.chars() {
                    match c {
                        '-' => out.push('-'),
                        c => out.push_str(&regex::escape(c.encode_utf8(&mut [0; 4]))),
                    }
                }
                out.push(']');
            }
            c => out.push_str(&regex::escape(c.encode_utf8(&mut [0; 4]))),
        }
    }
    if open > 0 {
        return Err(format!("{LABEL}: no \"}}\" in {pattern:?}"));
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_in_graphite() {
        for (pattern, yes, no) in [
            ("a.*.c", &["a.b.c", "a..c"][..], &["a.c", "a.b.b.c", "xa.b.c"][..]),
            ("a.b{c,d*}.e", &["a.bc.e", "a.bd.e", "a.bdx.e"], &["a.b.e", "a.bd.x.e"]),
            ("h[0-2]?.x", &["h1a.x", "h2z.x"], &["h3a.x", "h1.x", "h1.."]),
            ("h[!a.].x", &["hb.x"], &["ha.x", "h..x"]),
            ("a+b.c", &["a+b.c"], &["aab.c", "a+bxc"]),
        ] {
            let m = matcher(MatchOp::Equal, pattern).unwrap();
            assert_eq!((m.name(), m.op()), (METRIC_NAME, MatchOp::Regex));
            let not = matcher(MatchOp::NotEqual, pattern).unwrap();
            for name in yes {
                assert!(m.matches(name) && !not.matches(name), "{pattern} {name}");
            }
            for name in no {
                assert!(!m.matches(name) && not.matches(name), "{pattern} {name}");
            }
        }
        assert!(matcher(MatchOp::Equal, "a.{b").is_err());
        assert!(matcher(MatchOp::Equal, "a.[b").is_err());
        assert!(matcher(MatchOp::Equal, "a[z-a]").is_err());
        assert!(matcher(MatchOp::Regex, "a").is_err());
    }
}
