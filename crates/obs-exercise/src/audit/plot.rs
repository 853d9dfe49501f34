//! The plot of a metric: one line an instance, the target range as a band.

use std::fmt::Write as _;

use obs_types::html_escaped;

use super::input::Limits;
use super::report::MetricReport;
use super::text;
use crate::plot::{Frame, Line, Plot};

const FRAME: Frame =
    Frame { width: 420.0, height: 130.0, left: 62.0, right: 8.0, top: 8.0, bottom: 20.0 };
/// Classes of lines; colours are the style sheet's, so that they fit light and dark.
const COLOURS: usize = 8;

/// The plot of one metric; `None` where there is nothing to draw.
pub(super) fn svg(m: &MetricReport, from: i64, to: i64) -> Option<String> {
    let points = || m.plot.iter().flat_map(|(_, p)| p).filter(|p| p.1.is_finite());
    points().next()?;
    let unit = if m.kind == "counter" { rate_unit(&m.unit) } else { m.unit.as_str() };
    let band = m.target.filter(|_| m.kind == "gauge" || m.kind == "computed");
    let (low, high) = scale(points().map(|p| p.1), band);
    let times = [(from, "start"), ((from + to) / 2, "middle"), (to, "end")];
    let plot = Plot {
        title: &format!("{} over time", m.name),
        frame: FRAME,
        x: (from as f64, to.max(from + 1) as f64),
        y: (low, high),
        x_marks: times.map(|(t, anchor)| (t as f64, anchor, clock(t))).to_vec(),
        y_marks: [low, (low + high) / 2.0, high].map(|v| (v, text::value(v, unit))).to_vec(),
        grid: "class=\"grid\"",
        band: band.map(|(from, to)| (from.unwrap_or(low), to.unwrap_or(high))),
        lines: m.plot.iter().enumerate().map(|(i, (name, points))| line(i, name, points)).collect(),
    };
    Some(plot.svg(""))
}

fn line<'a>(index: usize, name: &'a str, points: &[(i64, f64)]) -> Line<'a> {
    Line {
        name,
        look: format!("class=\"c{}\"", index % COLOURS),
        points: points.iter().map(|(t, v)| (*t as f64, *v)).collect(),
    }
}

fn rate_unit(unit: &str) -> &str {
    if unit == "bytes" { "bytes per second" } else { "per second" }
}

/// The names under a plot, each in its line's colour; empty for a single line without name.
pub(super) fn legend(m: &MetricReport) -> String {
    let mut out = String::new();
    for (index, (name, _)) in m.plot.iter().enumerate().filter(|(_, l)| !l.0.is_empty()) {
        let _written =
            write!(out, "<span class=\"key k{}\">{}</span>", index % COLOURS, html_escaped(name));
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
