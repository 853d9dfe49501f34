//! Bar chart and histogram.

use serde_json::Value;
use tiny_skia::Color;

use super::{Shown, legend, single};
use crate::canvas::{Anchor, Rect};
use crate::color::faded;
use crate::page::Brush;
use crate::shown::{reduce, reducer};
use crate::units::{clock, format_value, ticks};

const BARS_MAX: usize = 120;

/// A place on the axis with the values of its bars.
struct Group {
    name: String,
    bars: Vec<(f64, Color)>,
}

/// One bar for each series at its newest value; of one series over time one for each instant.
pub(super) fn bar_chart(b: &mut Brush<'_>, area: Rect, all: &[Shown<'_>]) {
    let how = reducer(b.panel).to_owned();
    let over_time = all.len() == 1 && all.iter().all(|s| s.series.points.len() > 1);
    let groups: Vec<Group> = match all.first() {
        Some(s) if over_time => {
            let points = s.series.points.iter().filter(|p| p.1.is_finite());
            let bar = |p: &(i64, f64)| Group {
                name: clock(p.0, b.window.span()),
                bars: vec![(p.1, single::tint(b, s, Some(p.1)))],
            };
            points.map(bar).collect()
        }
        _ => all
            .iter()
            .filter_map(|s| {
                let v = reduce(&s.series.points, &how)?;
                let bars = vec![(v, single::tint(b, s, Some(v)))];
                Some(Group { name: s.settings.name.clone(), bars })
            })
            .collect(),
    };
    let settings = all.first().map(|s| s.settings.clone()).unwrap_or_default();
    let lying = b.panel.options.get("orientation").and_then(Value::as_str) == Some("horizontal");
    draw(b, area, groups, &settings.unit, settings.decimals, lying, true);
}

/// Values of the series counted into about thirty buckets of a round width.
pub(super) fn histogram(b: &mut Brush<'_>, area: Rect, all: &[Shown<'_>]) {
    let buckets = all.iter().all(|s| s.series.labels.contains_key("le"));
    if buckets {
        return super::heat::draw(b, area, all);
    }
    let values =
        || all.iter().flat_map(|s| s.series.points.iter().map(|p| p.1)).filter(|v| v.is_finite());
    let low = values().fold(f64::INFINITY, f64::min);
    let high = values().fold(f64::NEG_INFINITY, f64::max);
    if low > high {
        return b.note(area, "No data in this range.");
    }
    let rough = if high > low { (high - low) / 30.0 } else { 1.0 };
    let power = 10f64.powf(rough.log10().floor());
    let round = [1.0, 2.0, 5.0, 10.0].map(|m| m * power).into_iter().find(|s| *s >= rough);
    let own = b.panel.options.get("bucketSize").and_then(Value::as_f64).filter(|s| *s > 0.0);
    let size = own.or(round).unwrap_or(rough);
    let start = (low / size).floor() * size;
    let count = (((high - start) / size) as usize + 1).clamp(1, BARS_MAX);
    let unit = b.panel.field.unit.clone();
    let mut groups: Vec<Group> = (0..count)
        .map(|i| Group {
            name: format_value(start + i as f64 * size, &unit, b.panel.field.decimals),
            bars: all.iter().map(|s| (0.0, s.color(b))).collect(),
        })
        .collect();
    for (at, s) in all.iter().enumerate() {
        for (_, v) in s.series.points.iter().filter(|p| p.1.is_finite()) {
            let i = (((v - start) / size) as usize).min(count - 1);
            if let Some(bar) = groups.get_mut(i).and_then(|g| g.bars.get_mut(at)) {
                bar.0 += 1.0;
            }
        }
    }
    let entries: Vec<(String, Color)> =
        all.iter().map(|s| (s.settings.name.clone(), s.color(b))).collect();
    let area = if all.len() > 1 { legend(b, area, &entries) } else { area };
    draw(b, area, groups, "", Some(0), false, false);
}

fn draw(
    b: &mut Brush<'_>,
    area: Rect,
    mut groups: Vec<Group>,
    unit: &str,
    decimals: Option<u32>,
    lying: bool,
    spaced: bool,
) {
    let cut = groups.len().saturating_sub(BARS_MAX);
    groups.truncate(BARS_MAX);
    if groups.is_empty() {
        return b.note(area, "No data in this range.");
    }
    let values =
        || groups.iter().flat_map(|g| g.bars.iter().map(|v| v.0)).filter(|v| v.is_finite());
    let low = b.panel.field.min.unwrap_or_else(|| values().fold(0.0, f64::min));
    let mut high = values().fold(b.panel.field.max.unwrap_or(f64::NEG_INFINITY), f64::max);
    if high <= low {
        high = low + 1.0;
    }
    let font = b.small();
    let marks = ticks(low, high, if lying { 5 } else { (area.h / 40.0).max(2.0) as usize }, 10.0);
    let label = |v: &f64| format_value(*v, unit, decimals);
    if lying {
        let room =
            groups.iter().map(|g| font.width(&g.name)).fold(20.0, f32::max).min(area.w * 0.4) + 8.0;
        let plot = Rect::new(area.x + room, area.y, area.w - room - 10.0, area.h - 18.0);
        let slot = plot.h / groups.len() as f32;
        let x_of = |v: f64| plot.x + plot.w * (((v - low) / (high - low)) as f32).clamp(0.0, 1.0);
        for v in &marks {
            b.canvas.fill(Rect::new(x_of(*v), plot.y, 1.0, plot.h), faded(b.tokens.line, 0.7));
            b.canvas.text(&label(v), (x_of(*v), plot.bottom() + 13.0), font, Anchor::Middle, 80.0);
        }
        for (i, g) in groups.iter().enumerate() {
            let y = plot.y + slot * i as f32;
            b.canvas.text(
                &g.name,
                (plot.x - 6.0, y + slot / 2.0 + 4.0),
                font,
                Anchor::End,
                room - 8.0,
            );
            let thick = slot * 0.7 / g.bars.len().max(1) as f32;
            for (k, (v, tint)) in g.bars.iter().enumerate() {
                let (zero, end) = (x_of(0.0), x_of(*v));
                let at = y + slot * 0.15 + thick * k as f32;
                b.canvas.fill(Rect::new(zero.min(end), at, (end - zero).abs(), thick), *tint);
            }
        }
    } else {
        let room = marks.iter().map(|v| font.width(&label(v))).fold(16.0, f32::max) + 8.0;
        let plot = Rect::new(area.x + room, area.y + 4.0, area.w - room - 4.0, area.h - 22.0);
        let y_of =
            |v: f64| plot.bottom() - plot.h * (((v - low) / (high - low)) as f32).clamp(0.0, 1.0);
        for v in &marks {
            b.canvas.fill(Rect::new(plot.x, y_of(*v), plot.w, 1.0), faded(b.tokens.line, 0.7));
            b.canvas.text(&label(v), (plot.x - 6.0, y_of(*v) + 4.0), font, Anchor::End, room);
        }
        let slot = plot.w / groups.len() as f32;
        let widest =
            groups.iter().map(|g| font.width(&g.name)).fold(10.0, f32::max).min(110.0) + 10.0;
        let every = (widest / slot).ceil().max(1.0) as usize;
        let share = if spaced { 0.72 } else { 0.94 };
        for (i, g) in groups.iter().enumerate() {
            let x = plot.x + slot * i as f32;
            let thick = slot * share / g.bars.len().max(1) as f32;
            for (k, (v, tint)) in g.bars.iter().enumerate().filter(|(_, v)| v.0.is_finite()) {
                let (zero, end) = (y_of(0.0_f64.max(low)), y_of(*v));
                let at = x + slot * (1.0 - share) / 2.0 + thick * k as f32;
                b.canvas.fill(Rect::new(at, zero.min(end), thick, (end - zero).abs()), *tint);
            }
            if i % every == 0 {
                let at = (x + slot / 2.0, plot.bottom() + 14.0);
                b.canvas.text(&g.name, at, font, Anchor::Middle, slot * every as f32 - 4.0);
            }
        }
    }
    single::more(b, area, cut);
}
