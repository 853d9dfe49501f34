//! State timeline and status history.

use std::collections::BTreeMap;

use super::{Shown, legend, single, time_axis};
use crate::canvas::{Anchor, Font, Rect};
use crate::color::{self, ink_on};
use crate::page::Brush;

const LANES_MAX: usize = 40;

pub(super) fn draw(b: &mut Brush<'_>, area: Rect, all: &[Shown<'_>], merged: bool) {
    // Values without a colour of their own get one each.
    let mut seen: BTreeMap<u64, usize> = BTreeMap::new();
    for (_, v) in all.iter().flat_map(|s| &s.series.points).filter(|p| p.1.is_finite()) {
        let next = seen.len();
        seen.entry(v.to_bits()).or_insert(next);
    }
    let tint = |b: &Brush<'_>, s: &Shown<'_>, v: f64| {
        s.settings
            .color(Some(v), &b.tokens)
            .unwrap_or_else(|| color::series(seen.get(&v.to_bits()).copied().unwrap_or(0)))
    };
    let mut words: BTreeMap<String, tiny_skia::Color> = BTreeMap::new();
    for s in all {
        for (_, v) in s.series.points.iter().filter(|p| p.1.is_finite()) {
            if words.len() > 12 {
                break;
            }
            words.entry(s.settings.text(Some(*v))).or_insert_with(|| tint(b, s, *v));
        }
    }
    let entries: Vec<_> = words.into_iter().collect();
    let area = if entries.len() <= 12 { legend(b, area, &entries) } else { area };
    let font = b.small();
    let lanes = all.len().min(LANES_MAX);
    let room =
        all.iter().map(|s| font.width(&s.settings.name)).fold(20.0, f32::max).min(area.w * 0.3)
            + 8.0;
    let plot = Rect::new(area.x + room, area.y + 2.0, area.w - room - 8.0, area.h - 20.0);
    let lane = plot.h / lanes.max(1) as f32;
    let window = b.window;
    let x_of = |t: i64| {
        plot.x + plot.w * ((t - window.from_ms) as f32 / window.span() as f32).clamp(0.0, 1.0)
    };
    for (i, s) in all.iter().take(LANES_MAX).enumerate() {
        let y = plot.y + lane * i as f32;
        b.canvas.text(
            &s.settings.name,
            (plot.x - 6.0, y + lane / 2.0 + 4.0),
            font,
            Anchor::End,
            room - 8.0,
        );
        for (from, to, v) in runs(&s.series.points, window.step_ms, merged) {
            let (x, end) = (x_of(from), x_of(to));
            let gap = if merged { 0.5 } else { 1.0 };
            let cell = Rect::new(x, y + lane * 0.12, (end - x - gap).max(1.0), lane * 0.76);
            let color = tint(b, s, v);
            b.canvas.fill_round(cell, if merged { 2.0 } else { 1.0 }, color);
            let text = s.settings.text(Some(v));
            let font = Font::new(11.0, ink_on(color));
            if merged && cell.h > 13.0 && font.width(&text) + 8.0 < cell.w {
                let at = (cell.x + cell.w / 2.0, cell.y + cell.h / 2.0 + 4.0);
                b.canvas.text(&text, at, font, Anchor::Middle, cell.w);
            }
        }
    }
    time_axis(b, plot, false);
    single::more(b, area, all.len().saturating_sub(LANES_MAX));
}

/// Stretches of one value, or single steps.
fn runs(points: &[(i64, f64)], step_ms: i64, merged: bool) -> Vec<(i64, i64, f64)> {
    let mut out: Vec<(i64, i64, f64)> = Vec::new();
    for (t, v) in points.iter().filter(|p| p.1.is_finite()) {
        let end = t + step_ms;
        match out.last_mut() {
            Some((_, last, value))
                if merged && value.to_bits() == v.to_bits() && *t <= *last + step_ms / 2 =>
            {
                *last = end;
            }
            _ => out.push((*t, end, *v)),
        }
    }
    out
}
