//! The report as one HTML page without anything from outside: tables and plots as inline SVG.

use obs_types::html_escaped;
use serde_json::Value;

use super::compare::Comparison;
use crate::plot::{Frame, Line, Plot};

const FRAME: Frame =
    Frame { width: 860.0, height: 220.0, left: 64.0, right: 10.0, top: 24.0, bottom: 26.0 };
/// Points of a line; a longer run is thinned to its largest values.
const POINTS_MAX: usize = 600;

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:920px;\
padding:0 1rem;color:#1b1f24;background:#fff}h1{font-size:1.4rem}h2{font-size:1.1rem;margin-top:2rem}\
table{border-collapse:collapse;width:100%}th,td{text-align:left;padding:.3rem .6rem;\
border-bottom:1px solid #d8dee4}td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}\
.good{color:#116329}.bad{color:#a40e26;font-weight:600}svg{width:100%;height:auto}\
svg text{font-size:11px;fill:#57606a}@media(prefers-color-scheme:dark){body{color:#e6edf3;\
background:#0d1117}th,td{border-color:#30363d}.good{color:#56d364}.bad{color:#ff7b72}\
svg text{fill:#9198a1}}";

/// Writes the page. Everything that came from outside is escaped.
pub fn html(report: &Value, comparisons: &[Comparison]) -> String {
    let text = |v: &Value, name: &str| {
        html_escaped(v.get(name).and_then(Value::as_str).unwrap_or_default())
    };
    let name = text(report, "name");
    let outcome = text(report, "outcome");
    let class = if outcome == "passed" { "good" } else { "bad" };
    let mut out = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>{name}: {outcome}</title>\
         <style>{STYLE}</style></head><body><h1>Load test {name}: <span class=\"{class}\">{outcome}\
         </span></h1><p>{} on {}, {:.1} s, run {}</p>",
        text(report, "started_at"),
        text(report, "target"),
        report.get("duration_seconds").and_then(Value::as_f64).unwrap_or(0.0),
        text(report, "run_id"),
    );
    if let Some(reason) = report.get("reason").and_then(Value::as_str) {
        out.push_str(&format!("<p class=\"bad\">{}</p>", html_escaped(reason)));
    }
    for warning in list(report, "warnings") {
        let warning = html_escaped(warning.as_str().unwrap_or_default());
        out.push_str(&format!("<p class=\"bad\">{warning}</p>"));
    }
    judgements(report, comparisons, &mut out);
    let seconds = list(report, "seconds");
    out.push_str("<h2>Latency</h2>");
    out.push_str(&plot(
        "latency in milliseconds",
        &[
            ("p50", "#0969da", column(seconds, "p50_ms")),
            ("p95", "#bf8700", column(seconds, "p95_ms")),
            ("p99", "#cf222e", column(seconds, "p99_ms")),
        ],
    ));
    out.push_str("<h2>Requests, failures and users</h2>");
    out.push_str(&plot(
        "per second",
        &[
            ("requests", "#0969da", column(seconds, "requests")),
            ("failed", "#cf222e", column(seconds, "failed")),
            ("dropped", "#8250df", column(seconds, "dropped")),
            ("users", "#1a7f37", column(seconds, "vus")),
        ],
    ));
    steps(report, &mut out);
    out.push_str("</body></html>\n");
    out
}

fn list<'a>(v: &'a Value, name: &str) -> &'a [Value] {
    v.get(name).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn column(seconds: &[Value], name: &str) -> Vec<f64> {
    seconds.iter().map(|s| s.get(name).and_then(Value::as_f64).unwrap_or(f64::NAN)).collect()
}

fn judgements(report: &Value, comparisons: &[Comparison], out: &mut String) {
    let shown = |v: Option<&Value>| match v {
        Some(Value::Number(n)) => format!("{:.4}", n.as_f64().unwrap_or(f64::NAN)),
        Some(Value::Array(all)) => all.iter().map(|v| v.to_string()).collect::<Vec<_>>().join(", "),
        _ => "no data".to_owned(),
    };
    let rows = [("thresholds", "metric", "value"), ("telemetry", "name", "values")];
    if rows.iter().any(|(of, _, _)| !list(report, of).is_empty()) {
        out.push_str(
            "<h2>Thresholds</h2><table><tr><th>of</th><th>threshold</th><th class=\"n\">measured\
             </th><th></th></tr>",
        );
        for (of, name, value) in rows {
            for t in list(report, of) {
                let kept = t.get("kept").and_then(Value::as_bool).unwrap_or(false);
                let text =
                    |f: &str| html_escaped(t.get(f).and_then(Value::as_str).unwrap_or_default());
                out.push_str(&format!(
                    "<tr><td>{}</td><td>{}</td><td class=\"n\">{}</td><td class=\"{}\">{}</td></tr>",
                    text(name),
                    text("threshold"),
                    html_escaped(&shown(t.get(value))),
                    if kept { "good" } else { "bad" },
                    if kept { "kept" } else { "not kept" },
                ));
            }
        }
        out.push_str("</table>");
    }
    if !comparisons.is_empty() {
        out.push_str("<h2>Against the baseline</h2><ul>");
        for c in comparisons {
            out.push_str(&format!("<li>{}</li>", html_escaped(&c.text())));
        }
        out.push_str("</ul>");
    }
}

fn steps(report: &Value, out: &mut String) {
    out.push_str(
        "<h2>Steps</h2><table><tr><th>scenario</th><th>step</th><th class=\"n\">requests</th>\
         <th class=\"n\">failed</th><th class=\"n\">p50 ms</th><th class=\"n\">p95 ms</th>\
         <th class=\"n\">p99 ms</th><th class=\"n\">max ms</th></tr>",
    );
    for step in list(report, "steps") {
        let text = |f: &str| html_escaped(step.get(f).and_then(Value::as_str).unwrap_or_default());
        let n = |p: &str| step.pointer(p).and_then(Value::as_f64).unwrap_or(0.0);
        out.push_str(&format!("<tr><td>{}</td><td>{}</td>", text("scenario"), text("name")));
        out.push_str(&format!(
            "<td class=\"n\">{}</td><td class=\"n\">{}</td>",
            n("/requests"),
            n("/failed")
        ));
        for p in ["med", "p95", "p99", "max"] {
            let value = n(&format!("/duration_ms/{p}"));
            out.push_str(&format!("<td class=\"n\">{value:.2}</td>"));
        }
        out.push_str("</tr>");
        for check in list(step, "checks") {
            let n = |f: &str| check.get(f).and_then(Value::as_u64).unwrap_or(0);
            let class = if n("broken") == 0 { "good" } else { "bad" };
            let name = html_escaped(check.get("name").and_then(Value::as_str).unwrap_or_default());
            out.push_str(&format!(
                "<tr><td></td><td class=\"{class}\" colspan=\"7\">{name}: kept {}, broken {}</td></tr>",
                n("kept"),
                n("broken")
            ));
        }
    }
    out.push_str("</table>");
    if let Some(errors) = report.get("errors").and_then(Value::as_object)
        && !errors.is_empty()
    {
        out.push_str("<h2>Errors</h2><ul>");
        for (reason, n) in errors {
            out.push_str(&format!("<li>{n} times: {}</li>", html_escaped(reason)));
        }
        out.push_str("</ul>");
    }
}

type Measured<'a> = (&'a str, &'a str, Vec<f64>);

fn plot(title: &str, lines: &[Measured<'_>]) -> String {
    let count = lines.iter().map(|(_, _, v)| v.len()).max().unwrap_or(0);
    let values = lines.iter().flat_map(|(_, _, v)| v.iter().copied());
    let top = round_up(values.filter(|v| v.is_finite()).fold(0.0, f64::max));
    let last = count.max(2) as f64 - 1.0;
    let quarters = (0..=4).map(|quarter| top * f64::from(quarter) / 4.0);
    let mut legend = String::new();
    let mut drawn = Vec::new();
    for (i, (name, colour, values)) in lines.iter().enumerate() {
        let at = FRAME.left + 110.0 * i as f64;
        legend.push_str(&format!(
            "<rect x=\"{at}\" y=\"6\" width=\"10\" height=\"10\" fill=\"{colour}\"/>\
             <text x=\"{}\" y=\"15\">{}</text>",
            at + 14.0,
            html_escaped(name)
        ));
        drawn.push(Line {
            name,
            look: format!(
                "fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.5\" stroke-linecap=\"round\""
            ),
            points: thinned(values).into_iter().map(|(i, v)| (i as f64, v)).collect(),
        });
    }
    let plot = Plot {
        title,
        frame: FRAME,
        x: (0.0, last),
        y: (0.0, top),
        x_marks: vec![
            (0.0, "start", "0 s".to_owned()),
            (last, "end", format!("{} s", count.saturating_sub(1))),
        ],
        y_marks: quarters.map(|v| (v, trimmed(v))).collect(),
        grid: "stroke=\"#8884\"",
        band: None,
        lines: drawn,
    };
    plot.svg(&legend)
}

/// At most [`POINTS_MAX`] points, each the largest of those it stands for.
fn thinned(values: &[f64]) -> Vec<(usize, f64)> {
    let size = values.len().div_ceil(POINTS_MAX).max(1);
    values
        .chunks(size)
        .enumerate()
        .map(|(i, chunk)| (i * size, chunk.iter().copied().fold(f64::NAN, f64::max)))
        .collect()
}

/// The next of 1, 2, 5, 10, 20, …
fn round_up(value: f64) -> f64 {
    if value <= 0.0 {
        return 1.0;
    }
    let magnitude = 10f64.powf(value.log10().floor());
    [1.0, 2.0, 5.0, 10.0].into_iter().map(|m| m * magnitude).find(|m| *m >= value).unwrap_or(value)
}

fn trimmed(v: f64) -> String {
    let text = format!("{v:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_page_shows_plots_and_escapes_what_it_was_given() {
        let report = json!({
            "name": "<script>x</script>", "outcome": "failed", "reason": "p(95)<1",
            "seconds": [{"at": 0, "p50_ms": 1.0, "p95_ms": 2.0, "p99_ms": null, "requests": 3}],
            "thresholds": [{"metric": "a", "threshold": "p(95)<1", "value": 2.5, "kept": false}],
            "steps": [{"scenario": "s", "name": "n", "requests": 3, "duration_ms": {"p95": 2.0},
                       "checks": [{"name": "c", "kept": 1, "broken": 2}]}],
            "errors": {"timeout": 1},
        });
        let page = html(&report, &[]);
        assert!(!page.contains("<script>") && page.contains("&lt;script&gt;"));
        assert_eq!(page.matches("<svg").count(), 2);
        for part in
            ["not kept", "kept 1, broken 2", "1 times: timeout", "p(95)&lt;1", "<path d=\"M"]
        {
            assert!(page.contains(part), "{part}");
        }
        assert_eq!([round_up(0.0), round_up(3.1), round_up(90.0)], [1.0, 5.0, 100.0]);
    }
}
