use std::collections::BTreeMap;

use serde_json::Value;
use tiny_skia::Color;

use super::{Shown, legend, time_axis};
use crate::canvas::{Anchor, Rect};
use crate::color::{self, faded};
use crate::page::Brush;
use crate::shown::{Settings, reduce};
use crate::units::{format_value, ticks};

/// More lines than this are cut; the legend says so.
const LINES_MAX: usize = 200;

/// A line as it is drawn: its points lifted by what it is stacked on.
struct Line {
    points: Vec<(i64, f64)>,
    /// What lies below each point, of stacked lines.
    base: Option<Vec<f64>>,
    color: Color,
    right: bool,
    style: Style,
}

#[derive(Clone, Copy, PartialEq)]
enum Draw {
    Line,
    Steps,
    Bars,
    Points,
}

#[derive(Clone, Copy)]
struct Style {
    draw: Draw,
    width: f32,
    fill: f32,
    dashed: bool,
    spans: bool,
}

fn style(s: &Settings) -> Style {
    let word = |name: &str| s.custom(name).and_then(Value::as_str).unwrap_or_default();
    let draw = match (word("drawStyle"), word("lineInterpolation").starts_with("step")) {
        ("bars", _) => Draw::Bars,
        ("points", _) => Draw::Points,
        (_, true) => Draw::Steps,
        _ => Draw::Line,
    };
    let dash = s.custom("lineStyle").and_then(|l| l.get("fill")).and_then(Value::as_str);
    let spans = s.custom("spanNulls").is_some_and(|v| v.as_bool() == Some(true) || v.is_number());
    Style {
        draw,
        width: s.custom_number("lineWidth").unwrap_or(1.5).clamp(1.0, 10.0),
        fill: s.custom_number("fillOpacity").unwrap_or(0.0).clamp(0.0, 100.0) / 100.0,
        dashed: matches!(dash, Some("dash" | "dot")),
        spans,
    }
}

fn lines(b: &Brush<'_>, all: &[Shown<'_>]) -> Vec<Line> {
    let mut stacks: BTreeMap<(String, i64), f64> = BTreeMap::new();
    let mut totals: BTreeMap<(String, i64), f64> = BTreeMap::new();
    let stacking = |s: &Settings| {
        let part = |name: &str| {
            let found = s.custom("stacking").and_then(|v| v.get(name)).and_then(Value::as_str);
            found.unwrap_or_default().to_owned()
        };
        match part("mode").as_str() {
            "normal" => Some((part("group"), false)),
            "percent" => Some((part("group"), true)),
            _ => None,
        }
    };
    for s in all {
        if let Some((group, true)) = stacking(&s.settings) {
            for (t, v) in s.series.points.iter().filter(|p| p.1.is_finite()) {
                *totals.entry((group.clone(), *t)).or_default() += v;
            }
        }
    }
    let mut out = Vec::new();
    for s in all.iter().take(LINES_MAX) {
        let flip = s.settings.custom("transform").and_then(Value::as_str) == Some("negative-Y");
        let mut points = s.series.points.clone();
        if flip {
            points.iter_mut().for_each(|p| p.1 = -p.1);
        }
        let mut base = None;
        if let Some((group, percent)) = stacking(&s.settings) {
            let mut below = Vec::with_capacity(points.len());
            for p in &mut points {
                let key = (group.clone(), p.0);
                if percent {
                    let total = totals.get(&key).copied().unwrap_or(0.0);
                    p.1 = if total == 0.0 { 0.0 } else { p.1 / total * 100.0 };
                }
                let under = stacks.entry(key).or_default();
                below.push(*under);
                if p.1.is_finite() {
                    *under += p.1;
                    p.1 = *under;
                }
            }
            base = Some(below);
        }
        let right = s.settings.custom("axisPlacement").and_then(Value::as_str) == Some("right");
        out.push(Line { points, base, color: s.color(b), right, style: style(&s.settings) });
    }
    out
}

/// Low and high of an axis with a little room, and its marks.
#[derive(Debug)]
struct Axis {
    low: f64,
    high: f64,
    marks: Vec<f64>,
}

fn axis(lines: &[&Line], s: &Settings, height: f32) -> Axis {
    let values = || {
        let points = lines.iter().flat_map(|l| l.points.iter().map(|p| p.1));
        let bases = lines.iter().filter_map(|l| l.base.as_ref()).flatten().copied();
        points.chain(bases).filter(|v| v.is_finite())
    };
    let mut low = values().fold(f64::INFINITY, f64::min);
    let mut high = values().fold(f64::NEG_INFINITY, f64::max);
    if low > high {
        (low, high) = (0.0, 1.0);
    }
    let from_zero = lines.iter().any(|l| l.style.draw == Draw::Bars || l.base.is_some());
    if from_zero || (low > 0.0 && low < high * 0.5) {
        low = low.min(0.0);
    }
    if high - low < high.abs().max(low.abs()) * 1e-9 || high <= low {
        let room = if high == 0.0 { 1.0 } else { high.abs() * 0.1 };
        (low, high) = (low - room, high + room);
    }
    let room = (high - low) * 0.05;
    let (own_low, own_high) = (s.min, s.max);
    low = own_low.unwrap_or(if low == 0.0 { 0.0 } else { low - room });
    high = own_high.unwrap_or(high + room);
    if high <= low {
        high = low + 1.0;
    }
    let binary = matches!(s.unit.as_str(), "bytes" | "Bps" | "binBps");
    let base = if binary { 1024.0 } else { 10.0 };
    let marks = ticks(low, high, (height / 34.0).clamp(1.0, 10.0) as usize, base);
    Axis { low, high, marks }
}

pub(super) fn draw(b: &mut Brush<'_>, area: Rect, all: &[Shown<'_>]) {
    let calcs = legend_calcs(b);
    let entries: Vec<(String, Color)> = all
        .iter()
        .map(|s| {
            let mut name = s.settings.name.clone();
            for how in &calcs {
                let v = reduce(&s.series.points, how);
                name.push_str(&format!("  {how} {}", s.settings.text(v)));
            }
            (name, s.color(b))
        })
        .collect();
    let area = legend(b, area, &entries);
    let lines = lines(b, all);
    let (left, right): (Vec<&Line>, Vec<&Line>) = lines.iter().partition(|l| !l.right);
    let of = |right: bool| {
        let found = all.iter().find(|s| {
            (s.settings.custom("axisPlacement").and_then(Value::as_str) == Some("right")) == right
        });
        found.map(|s| s.settings.clone()).unwrap_or_default()
    };
    let (left_settings, right_settings) = (of(false), of(true));
    let plot_height = area.h - 20.0;
    let left_axis = axis(&left, &left_settings, plot_height);
    let right_axis = axis(&right, &right_settings, plot_height);
    let font = b.small();
    let widest = |axis: &Axis, s: &Settings| {
        let width = |v: &f64| font.width(&format_value(*v, &s.unit, s.decimals));
        axis.marks.iter().map(width).fold(20.0, f32::max) + 8.0
    };
    let left_room = if left.is_empty() { 0.0 } else { widest(&left_axis, &left_settings) };
    let right_room = if right.is_empty() { 8.0 } else { widest(&right_axis, &right_settings) };
    let plot =
        Rect::new(area.x + left_room, area.y + 4.0, area.w - left_room - right_room, plot_height);
    if plot.w < 10.0 || plot.h < 10.0 {
        return;
    }
    let y_of = |axis: &Axis, v: f64| {
        let share = (v - axis.low) / (axis.high - axis.low);
        // Far outside stays outside without a number that the canvas cannot take.
        plot.bottom() - plot.h * share.clamp(-2.0, 3.0) as f32
    };
    for v in &left_axis.marks {
        let y = y_of(&left_axis, *v);
        b.canvas.fill(Rect::new(plot.x, y, plot.w, 1.0), faded(b.tokens.line, 0.7));
        if !left.is_empty() {
            let label = format_value(*v, &left_settings.unit, left_settings.decimals);
            b.canvas.text(&label, (plot.x - 6.0, y + 4.0), font, Anchor::End, left_room);
        }
    }
    if !right.is_empty() {
        for v in &right_axis.marks {
            let label = format_value(*v, &right_settings.unit, right_settings.decimals);
            let at = (plot.right() + 6.0, y_of(&right_axis, *v) + 4.0);
            b.canvas.text(&label, at, font, Anchor::Start, right_room);
        }
    }
    time_axis(b, plot, true);
    thresholds(b, plot, &left_settings, &|v| y_of(&left_axis, v));
    let window = b.window;
    let x_of = |t: i64| plot.x + plot.w * ((t - window.from_ms) as f32 / window.span() as f32);
    let bars = lines.iter().filter(|l| l.style.draw == Draw::Bars && l.base.is_none()).count();
    let mut bar = 0;
    for line in &lines {
        let axis = if line.right { &right_axis } else { &left_axis };
        let zero = y_of(axis, 0.0_f64.clamp(axis.low, axis.high));
        if line.style.draw == Draw::Bars {
            let slot = plot.w * (window.step_ms as f32 / window.span() as f32);
            let beside = if line.base.is_some() { 1 } else { bars.max(1) };
            let wide = (slot * 0.8 / beside as f32).max(1.0);
            for (i, (t, v)) in line.points.iter().enumerate().filter(|(_, p)| p.1.is_finite()) {
                let foot =
                    line.base.as_ref().and_then(|b| b.get(i)).map_or(zero, |v| y_of(axis, *v));
                let (y, shift) = (y_of(axis, *v), if line.base.is_some() { 0 } else { bar });
                let x = x_of(*t) - slot * 0.4 + wide * shift as f32;
                let rect = Rect::new(x, y.min(foot), wide, (foot - y).abs());
                b.canvas.fill(clipped(rect, plot), faded(line.color, line.style.fill.max(0.5)));
            }
            bar += usize::from(line.base.is_none());
            continue;
        }
        for part in parts(line, window.step_ms) {
            let top: Vec<(f32, f32)> = stepped(line, part)
                .map(|(i, t)| {
                    let v = line.points.get(i).map_or(f64::NAN, |p| p.1);
                    (
                        x_of(t).clamp(plot.x, plot.right()),
                        y_of(axis, v).clamp(plot.y, plot.bottom()),
                    )
                })
                .collect();
            let fill =
                if line.base.is_some() { line.style.fill.max(0.15) } else { line.style.fill };
            if fill > 0.0 && top.len() > 1 {
                let mut shape = top.clone();
                match &line.base {
                    Some(base) => {
                        let foot: Vec<(f32, f32)> = stepped(line, part)
                            .map(|(i, t)| {
                                (
                                    x_of(t).clamp(plot.x, plot.right()),
                                    y_of(axis, base.get(i).copied().unwrap_or(0.0))
                                        .clamp(plot.y, plot.bottom()),
                                )
                            })
                            .collect();
                        shape.extend(foot.into_iter().rev());
                    }
                    None => {
                        let ends =
                            (top.last().map_or(0.0, |p| p.0), top.first().map_or(0.0, |p| p.0));
                        shape.extend([(ends.0, zero), (ends.1, zero)]);
                    }
                }
                b.canvas.polygon(&shape, faded(line.color, fill * 0.6));
            }
            if line.style.draw == Draw::Points || top.len() == 1 {
                for (x, y) in &top {
                    b.canvas.dot(*x, *y, 2.0, line.color);
                }
            } else {
                let dash: &[f32] = if line.style.dashed { &[7.0, 5.0] } else { &[] };
                b.canvas.dashed(&top, line.style.width, line.color, dash);
            }
        }
    }
}

fn clipped(r: Rect, within: Rect) -> Rect {
    let (x, y) = (r.x.max(within.x), r.y.max(within.y));
    Rect::new(x, y, r.right().min(within.right()) - x, r.bottom().min(within.bottom()) - y)
}

fn legend_calcs(b: &Brush<'_>) -> Vec<String> {
    let calcs =
        b.panel.options.get("legend").and_then(|l| l.get("calcs")).and_then(Value::as_array);
    calcs.into_iter().flatten().filter_map(|c| c.as_str().map(str::to_owned)).take(3).collect()
}

/// Stretches of a line without a gap, as ranges of its points.
fn parts(line: &Line, step_ms: i64) -> Vec<(usize, usize)> {
    let mut out: Vec<(usize, usize)> = Vec::new();
    let mut last: Option<(usize, i64)> = None;
    for (i, (t, v)) in line.points.iter().enumerate() {
        if !v.is_finite() {
            continue;
        }
        let near =
            last.is_some_and(|(_, before)| line.style.spans || t - before <= step_ms + step_ms / 2);
        match out.last_mut().filter(|_| near) {
            Some((_, end)) => *end = i,
            None => out.push((i, i)),
        }
        last = Some((i, *t));
    }
    out
}

/// Points with their times; of a step line each value stays until the next instant.
fn stepped(line: &Line, (from, to): (usize, usize)) -> impl Iterator<Item = (usize, i64)> {
    let steps = line.style.draw == Draw::Steps;
    let part = line.points.get(from..=to).unwrap_or_default();
    part.iter().enumerate().filter(|(_, p)| p.1.is_finite()).flat_map(move |(i, p)| {
        let held = steps.then(|| part.get(i + 1).map(|next| (from + i, next.0))).flatten();
        std::iter::once((from + i, p.0)).chain(held)
    })
}

fn thresholds(b: &mut Brush<'_>, plot: Rect, s: &Settings, y_of: &dyn Fn(f64) -> f32) {
    let mode = b.panel.field.custom.get("thresholdsStyle").and_then(|t| t.get("mode"));
    let mode = mode.and_then(Value::as_str).unwrap_or("off").to_owned();
    if mode == "off" {
        return;
    }
    let steps = s.steps().to_vec();
    for (i, step) in steps.iter().enumerate() {
        let Some(tint) = b.tokens.named(&step.color).filter(|c| c.alpha() > 0.0) else { continue };
        let low = step.value.map_or(plot.bottom(), y_of).clamp(plot.y, plot.bottom());
        let high = steps
            .get(i + 1)
            .and_then(|n| n.value)
            .map_or(plot.y, y_of)
            .clamp(plot.y, plot.bottom());
        if mode.contains("area") {
            b.canvas.fill(Rect::new(plot.x, high, plot.w, low - high), color::faded(tint, 0.1));
        }
        if (mode.contains("line") || mode.contains("dashed"))
            && step.value.is_some()
            && low < plot.bottom()
        {
            b.canvas.dashed(&[(plot.x, low), (plot.right(), low)], 1.2, tint, &[6.0, 4.0]);
        }
    }
}
