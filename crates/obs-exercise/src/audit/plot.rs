//! Plots as inline SVG: one line an instance, the target range as a band.

use std::fmt::Write as _;

use super::input::Limits;
use super::report::MetricReport;
use super::text;

const WIDTH: f64 = 420.0;
const HEIGHT: f64 = 130.0;
const LEFT: f64 = 62.0;
const BOTTOM: f64 = 20.0;
const TOP: f64 = 8.0;
const RIGHT: f64 = 8.0;
/// Classes of lines; colours are the style sheet's, so that they fit light and dark.
const COLOURS: usize = 8;

/// The plot of one metric; `None` where there is nothing to draw.
pub(super) fn svg(m: &MetricReport, from: i64, to: i64) -> Option<String> {
    let points = || m.plot.iter().flat_map(|(_, p)| p).filter(|p| p.1.is_finite());
    points().next()?;
    let unit = if m.kind == "counter" { rate_unit(&m.unit) } else { m.unit.as_str() };
    let band = m.target.filter(|_| m.kind == "gauge" || m.kind == "computed");
    let (low, high) = scale(points().map(|p| p.1), band);
    let x = |t: i64| LEFT + (t - from) as f64 / (to - from).max(1) as f64 * (WIDTH - LEFT - RIGHT);
    let y = |v: f64| TOP + (high - v) / (high - low) * (HEIGHT - TOP - BOTTOM);
    let mut out = format!(
        "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\">",
        escape(&format!("{} over time", m.name))
    );
    // Writing to a string does not fail.
    if let Some((from, to)) = band {
        let (top, bottom) = (y(to.unwrap_or(high).min(high)), y(from.unwrap_or(low).max(low)));
        if bottom > top {
            let _written = write!(
                out,
                "<rect class=\"band\" x=\"{LEFT}\" y=\"{top:.1}\" width=\"{:.1}\" height=\"{:.1}\"/>",
                WIDTH - LEFT - RIGHT,
                bottom - top
            );
        }
    }
    for v in [low, (low + high) / 2.0, high] {
        let _written = write!(
            out,
            "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            WIDTH - RIGHT,
            LEFT - 5.0,
            y(v) + 3.5,
            escape(&text::value(v, unit)),
            at = y(v),
        );
    }
    for (t, anchor) in [(from, "start"), ((from + to) / 2, "middle"), (to, "end")] {
        let _written = write!(
            out,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\">{}</text>",
            x(t),
            HEIGHT - 5.0,
            clock(t)
        );
    }
    for (index, (name, points)) in m.plot.iter().enumerate() {
        let mut path = String::new();
        let mut pen = "M";
        for (t, v) in points {
            if v.is_finite() {
                let _written = write!(path, "{pen}{:.1} {:.1}", x(*t), y(*v));
                pen = "L";
            } else {
                pen = "M";
            }
        }
        let _written = write!(
            out,
            "<path class=\"c{}\" d=\"{path}\"><title>{}</title></path>",
            index % COLOURS,
            escape(name)
        );
    }
    out.push_str("</svg>");
    Some(out)
}

fn rate_unit(unit: &str) -> &str {
    if unit == "bytes" { "bytes per second" } else { "per second" }
}

/// The names under a plot, each in its line's colour; empty for a single line without name.
pub(super) fn legend(m: &MetricReport) -> String {
    let mut out = String::new();
    for (index, (name, _)) in m.plot.iter().enumerate().filter(|(_, l)| !l.0.is_empty()) {
        let _written =
            write!(out, "<span class=\"key k{}\">{}</span>", index % COLOURS, escape(name));
    }
    out
}

/// From the least to the largest value with a little room, and with a target's bounds where they
/// are near.
fn scale(values: impl Iterator<Item = f64>, band: Option<Limits>) -> (f64, f64) {
    let (mut low, mut high) =
        values.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
    let span = (high - low).max(high.abs() * 0.1).max(1e-9);
    if let Some((from, to)) = band {
        for bound in [from, to].into_iter().flatten() {
            if bound >= low - 2.0 * span && bound <= high + 2.0 * span {
                low = low.min(bound);
                high = high.max(bound);
            }
        }
    }
    let room = ((high - low) * 0.08).max(span * 0.05);
    let floor = if low >= 0.0 && low - room < 0.0 { 0.0 } else { low - room };
    (floor, high + room)
}

/// `12:57`, UTC.
fn clock(ms: i64) -> String {
    let minutes = ms.div_euclid(60_000).rem_euclid(1_440);
    format!("{:02}:{:02}", minutes / 60, minutes % 60)
}

pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
