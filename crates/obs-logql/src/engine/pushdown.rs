//! What of a pipeline the source can use to skip blocks and lines.

use obs_types::{LogSource, MatchOp, Matcher, QueryContext, SourceError, TimeRangeNs};

use crate::ast::{LabelFilter, LineFilterOp, LogExpr, Stage};
use crate::pipe;

/// Texts that every passing line holds as it is stored: filters before any stage that rewrites
/// the line.
pub(crate) fn line_contains(log: &LogExpr) -> Vec<String> {
    let mut out = Vec::new();
    for stage in &log.stages {
        match stage {
            Stage::LineFilter(filter) => {
                let [term] = filter.terms.as_slice() else { continue };
                match filter.op {
                    _ if term.ip => {}
                    LineFilterOp::Contains => out.push(term.text.clone()),
                    LineFilterOp::Regex if is_plain(&term.text) => out.push(term.text.clone()),
                    LineFilterOp::Pattern => out.extend(pipe::line_pattern_literals(&term.text)),
                    _ => {}
                }
            }
            Stage::LineFormat(_) | Stage::Unpack | Stage::Decolorize => break,
            _ => {}
        }
    }
    out.retain(|text| !text.is_empty());
    out.sort();
    out.dedup();
    out
}

fn is_plain(regex: &str) -> bool {
    !regex.contains(['\\', '.', '+', '*', '?', '(', ')', '|', '[', ']', '{', '}', '^', '$', '#'])
        && !regex.contains('\n')
}

/// `name="value"` filters that only structured metadata can fulfil: they stand before any stage
/// that makes labels, and no selected stream has a label of that name.
pub(crate) fn metadata_equals(
    source: &dyn LogSource,
    log: &LogExpr,
    range: TimeRangeNs,
    context: &QueryContext,
) -> Result<Vec<(String, String)>, SourceError> {
    let mut wanted: Vec<(String, String)> = Vec::new();
    for stage in &log.stages {
        match stage {
            Stage::LineFilter(_) | Stage::Decolorize | Stage::LineFormat(_) => {}
            Stage::LabelFilter(filter) => required(filter, &mut wanted),
            _ => break,
        }
    }
    // The pipeline shows clashing metadata under another name, and errors are no metadata.
    wanted.retain(|(name, _)| !name.starts_with("__") && !name.ends_with("_extracted"));
    if wanted.is_empty() {
        return Ok(wanted);
    }
    let streams = source.streams(std::slice::from_ref(&log.matchers), range, context)?;
    wanted.retain(|(name, _)| streams.iter().all(|s| s.get(name).is_none()));
    Ok(wanted)
}

fn required(filter: &LabelFilter, out: &mut Vec<(String, String)>) {
    match filter {
        LabelFilter::Matcher(m) if is_exact(m) => {
            out.push((m.name().to_owned(), m.value().to_owned()));
        }
        LabelFilter::And(a, b) => {
            required(a, out);
            required(b, out);
        }
        _ => {}
    }
}

fn is_exact(m: &Matcher) -> bool {
    m.op() == MatchOp::Equal && !m.value().is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse_log;

    #[test]
    fn only_what_holds_for_the_stored_line_is_pushed_down() {
        let of = |q: &str| line_contains(&parse_log(q).unwrap());
        assert_eq!(
            of(r#"{a="b"} |= "x" |~ "yz" | json |= "w" | line_format "{{.a}}" |= "no""#),
            ["w", "x", "yz"]
        );
        assert_eq!(of(r#"{a="b"} |> "<_> err <_> at""#), [" at", " err "]);
        assert!(of(r#"{a="b"} != "x" |~ "a.c" |= "x" or "y" |= ip("1.1.1.1") |= """#).is_empty());
    }
}
