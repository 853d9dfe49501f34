//! Stat, gauge and bar gauge: one value for each series.

use std::f32::consts::PI;

use serde_json::Value;

use super::Shown;
use crate::canvas::{Anchor, Font, Rect};
use crate::color::{self, faded, ink_on};
use crate::page::Brush;
use crate::shown::{reduce, reducer};

const MOST: usize = 60;

struct Single<'a> {
    shown: &'a Shown<'a>,
    value: Option<f64>,
}

fn singles<'a>(b: &Brush<'_>, all: &'a [Shown<'a>]) -> Vec<Single<'a>> {
    let how = reducer(b.panel);
    all.iter()
        .take(MOST)
        .map(|shown| Single { shown, value: reduce(&shown.series.points, how) })
        .collect()
}

fn option<'a>(b: &'a Brush<'_>, name: &str) -> &'a str {
    b.panel.options.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// Cells of about the wanted shape that fill an area.
fn cells(area: Rect, count: usize, shape: f32) -> Vec<Rect> {
    let count = count.max(1);
    let fits = |columns: usize| {
        let rows = count.div_ceil(columns);
        let (w, h) = (area.w / columns as f32, area.h / rows as f32);
        (w.min(h * shape), columns, rows)
    };
    let best = (1..=count).map(fits).max_by(|a, b| a.0.total_cmp(&b.0));
    let (_, columns, rows) = best.unwrap_or((0.0, 1, 1));
    let (w, h) = (area.w / columns as f32, area.h / rows as f32);
    let at = |i: usize| {
        Rect::new(area.x + w * (i % columns) as f32, area.y + h * (i / columns) as f32, w, h)
    };
    (0..count).map(|i| at(i).inset(2.0)).collect()
}

/// The largest size in which the text fits.
fn size_for(text: &str, w: f32, h: f32) -> f32 {
    let one = Font::new(1.0, tiny_skia::Color::BLACK).bold().width(text).max(0.1);
    (w / one).min(h).clamp(8.0, 72.0)
}

pub(super) fn stat(b: &mut Brush<'_>, area: Rect, all: &[Shown<'_>]) {
    let singles = singles(b, all);
    let spark = !["", "none"].contains(&option(b, "graphMode"));
    let background = option(b, "colorMode").starts_with("background");
    let plain = option(b, "colorMode") == "none";
    let many = singles.len() > 1;
    for (s, cell) in singles.iter().zip(cells(area, singles.len(), 2.2)) {
        let settings = &s.shown.settings;
        let tint = settings.color(s.value, &b.tokens).unwrap_or(b.tokens.text);
        let ink = if background {
            b.canvas.fill_round(cell, 6.0, tint);
            ink_on(tint)
        } else if plain {
            b.tokens.text
        } else {
            tint
        };
        if spark && s.shown.series.points.len() > 1 {
            sparkline(
                b,
                cell,
                s.shown,
                if background { faded(ink, 0.35) } else { faded(tint, 0.35) },
            );
        }
        let text = settings.text(s.value);
        let named = many || option(b, "textMode") == "value_and_name";
        let label_room = if named { 18.0 } else { 0.0 };
        let size = size_for(&text, cell.w - 12.0, (cell.h - label_room) * 0.62);
        let middle = cell.x + cell.w / 2.0;
        let y = cell.y + (cell.h - label_room) / 2.0 + size * 0.36;
        b.canvas.text(
            &text,
            (middle, y),
            Font::new(size, ink).bold(),
            Anchor::Middle,
            cell.w - 6.0,
        );
        if named {
            let font = Font::new(12.0, if background { ink } else { b.tokens.muted });
            let at = (middle, cell.bottom() - 6.0);
            b.canvas.text(&settings.name, at, font, Anchor::Middle, cell.w - 8.0);
        }
    }
}

fn sparkline(b: &mut Brush<'_>, cell: Rect, s: &Shown<'_>, tint: tiny_skia::Color) {
    let points: Vec<&(i64, f64)> = s.series.points.iter().filter(|p| p.1.is_finite()).collect();
    let low = points.iter().map(|p| p.1).fold(f64::INFINITY, f64::min);
    let high = points.iter().map(|p| p.1).fold(f64::NEG_INFINITY, f64::max);
    let span = if high > low { high - low } else { 1.0 };
    let room = cell.h * 0.4;
    let window = b.window;
    let line: Vec<(f32, f32)> = points
        .iter()
        .map(|p| {
            let x = cell.x
                + cell.w * ((p.0 - window.from_ms) as f32 / window.span() as f32).clamp(0.0, 1.0);
            (x, cell.bottom() - 2.0 - room * (((p.1 - low) / span) as f32))
        })
        .collect();
    let (Some(first), Some(last)) = (line.first().copied(), line.last().copied()) else { return };
    let mut shape = line.clone();
    shape.extend([(last.0, cell.bottom()), (first.0, cell.bottom())]);
    b.canvas.polygon(&shape, faded(tint, 0.4));
    b.canvas.line(&line, 1.5, tint);
}

/// Limits of a gauge: the field's own, or round ones about the values.
fn limits(s: &Single<'_>, all: &[Single<'_>]) -> (f64, f64) {
    let settings = &s.shown.settings;
    let values = || all.iter().filter_map(|x| x.value).filter(|v| v.is_finite());
    let steps = settings.steps().iter().filter_map(|t| t.value);
    let top = values().chain(steps).fold(0.0, f64::max);
    let low = settings.min.unwrap_or_else(|| values().fold(0.0, f64::min));
    let usual = match settings.unit.as_str() {
        "percent" => 100.0,
        "percentunit" => 1.0,
        _ if top > 0.0 => top,
        _ => 1.0,
    };
    (low, settings.max.unwrap_or(usual))
}

fn share(v: f64, (low, high): (f64, f64)) -> f32 {
    (((v - low) / if high > low { high - low } else { 1.0 }) as f32).clamp(0.0, 1.0)
}

pub(super) fn gauge(b: &mut Brush<'_>, area: Rect, all: &[Shown<'_>]) {
    const FROM: f32 = PI * 0.85;
    const TURN: f32 = PI * 1.3;
    let singles = singles(b, all);
    let named = singles.len() > 1;
    for (s, cell) in singles.iter().zip(cells(area, singles.len(), 1.3)) {
        let settings = &s.shown.settings;
        let limits = limits(s, &singles);
        let label = if named { 16.0 } else { 0.0 };
        let radius = (cell.w / 2.0).min((cell.h - label) / 1.45).max(6.0);
        let centre = (
            cell.x + cell.w / 2.0,
            cell.y + radius + (cell.h - label - radius * 1.45).max(0.0) / 2.0,
        );
        let tint = settings.color(s.value, &b.tokens).unwrap_or(b.tokens.ok);
        let band = radius * 0.17;
        // The thresholds stand on a thin ring around the value's.
        let steps = settings.steps().to_vec();
        for (i, step) in steps.iter().enumerate() {
            let from = step.value.map_or(0.0, |v| share(v, limits));
            let to = steps.get(i + 1).and_then(|n| n.value).map_or(1.0, |v| share(v, limits));
            if let Some(c) = b.tokens.named(&step.color).filter(|_| to > from) {
                let arc = (FROM + TURN * from, FROM + TURN * to);
                b.canvas.ring(centre, (radius * 0.95, radius), arc, c);
            }
        }
        let ring = (radius * 0.91 - band, radius * 0.91);
        b.canvas.ring(centre, ring, (FROM, FROM + TURN), b.tokens.raised);
        if let Some(v) = s.value {
            b.canvas.ring(centre, ring, (FROM, FROM + TURN * share(v, limits).max(0.002)), tint);
        }
        let text = settings.text(s.value);
        let size = size_for(&text, radius * 1.25, radius * 0.5);
        let at = (centre.0, centre.1 + size * 0.36);
        b.canvas.text(&text, at, Font::new(size, tint).bold(), Anchor::Middle, radius * 1.5);
        if named {
            let font = Font::new(12.0, b.tokens.muted);
            let at = (centre.0, cell.bottom() - 4.0);
            b.canvas.text(&settings.name, at, font, Anchor::Middle, cell.w);
        }
    }
}

pub(super) fn bar_gauge(b: &mut Brush<'_>, area: Rect, all: &[Shown<'_>]) {
    let singles = singles(b, all);
    let upright = option(b, "orientation") == "vertical";
    if upright {
        return columns(b, area, &singles);
    }
    let font = Font::new(12.0, b.tokens.muted);
    let texts: Vec<String> = singles.iter().map(|s| s.shown.settings.text(s.value)).collect();
    let value_font = Font::new(13.0, b.tokens.text).bold();
    let value_room = texts.iter().map(|t| value_font.width(t)).fold(30.0, f32::max) + 10.0;
    let widest = singles.iter().map(|s| font.width(&s.shown.settings.name)).fold(30.0, f32::max);
    let name_room = (widest + 10.0).min(area.w * 0.36);
    let height = (area.h / singles.len().max(1) as f32).clamp(14.0, 44.0);
    let fit = (area.h / height) as usize;
    for (i, (s, text)) in singles.iter().zip(&texts).take(fit.max(1)).enumerate() {
        let y = area.y + height * i as f32;
        let base = y + height / 2.0 + 4.0;
        let tint = s.shown.settings.color(s.value, &b.tokens).unwrap_or_else(|| s.shown.color(b));
        let name = &s.shown.settings.name;
        b.canvas.text(name, (area.x, base), font, Anchor::Start, name_room - 6.0);
        let well = Rect::new(
            area.x + name_room,
            y + height * 0.18,
            area.w - name_room - value_room,
            height * 0.64,
        );
        b.canvas.fill_round(well, 4.0, b.tokens.raised);
        if let Some(v) = s.value {
            let filled = Rect { w: well.w * share(v, limits(s, &singles)), ..well };
            b.canvas.fill_round(filled, 4.0, tint);
        }
        let value_font = Font { color: tint, ..value_font };
        b.canvas.text(text, (area.right(), base), value_font, Anchor::End, value_room);
    }
    more(b, area, singles.len().saturating_sub(fit.max(1)));
}

fn columns(b: &mut Brush<'_>, area: Rect, singles: &[Single<'_>]) {
    let width = area.w / singles.len().max(1) as f32;
    for (i, s) in singles.iter().enumerate() {
        let x = area.x + width * i as f32;
        let tint = s.shown.settings.color(s.value, &b.tokens).unwrap_or_else(|| s.shown.color(b));
        let well = Rect::new(x + width * 0.2, area.y + 20.0, width * 0.6, area.h - 40.0);
        b.canvas.fill_round(well, 4.0, b.tokens.raised);
        if let Some(v) = s.value {
            let h = well.h * share(v, limits(s, singles));
            b.canvas.fill_round(Rect::new(well.x, well.bottom() - h, well.w, h), 4.0, tint);
        }
        let middle = x + width / 2.0;
        let text = s.shown.settings.text(s.value);
        b.canvas.text(
            &text,
            (middle, area.y + 14.0),
            Font::new(13.0, tint).bold(),
            Anchor::Middle,
            width,
        );
        let font = Font::new(12.0, b.tokens.muted);
        b.canvas.text(
            &s.shown.settings.name,
            (middle, area.bottom() - 4.0),
            font,
            Anchor::Middle,
            width - 4.0,
        );
    }
}

/// Says how many do not fit.
pub(super) fn more(b: &mut Brush<'_>, area: Rect, count: usize) {
    if count > 0 {
        let text = format!("… {count} more");
        let font = b.small();
        let width = font.width(&text);
        b.canvas.fill(
            Rect::new(area.right() - width - 4.0, area.bottom() - 13.0, width + 6.0, 16.0),
            b.tokens.surface,
        );
        b.canvas.text(&text, (area.right(), area.bottom() - 1.0), font, Anchor::End, area.w);
    }
}

/// The colour of a value where its settings or else its series give one.
pub(super) fn tint(b: &Brush<'_>, s: &Shown<'_>, v: Option<f64>) -> tiny_skia::Color {
    let by_value = s.settings.by_value().then(|| s.settings.color(v, &b.tokens)).flatten();
    by_value.or_else(|| s.settings.fixed(&b.tokens)).unwrap_or_else(|| color::series(s.index))
}
