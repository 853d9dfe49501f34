use std::f32::consts::{FRAC_PI_2, TAU};

use serde_json::Value;

use super::{Shown, single};
use crate::canvas::{Anchor, Font, Rect};
use crate::page::Brush;
use crate::shown::{reduce, reducer};

const SLICES_MAX: usize = 40;

pub(super) fn draw(b: &mut Brush<'_>, area: Rect, all: &[Shown<'_>]) {
    let how = reducer(b.panel).to_owned();
    let mut slices: Vec<(&Shown<'_>, f64)> = all
        .iter()
        .filter_map(|s| {
            Some((s, reduce(&s.series.points, &how).filter(|v| *v > 0.0 && v.is_finite())?))
        })
        .collect();
    slices.sort_by(|a, b| b.1.total_cmp(&a.1));
    let cut = slices.len().saturating_sub(SLICES_MAX);
    slices.truncate(SLICES_MAX);
    let total: f64 = slices.iter().map(|s| s.1).sum();
    if total <= 0.0 {
        return b.note(area, "All values are 0.");
    }
    let beside = area.w > area.h * 1.3;
    let side = if beside { area.h.min(area.w * 0.48) } else { area.w.min(area.h * 0.62) };
    let radius = side / 2.0 - 4.0;
    let centre = if beside {
        (area.x + side / 2.0, area.y + area.h / 2.0)
    } else {
        (area.x + area.w / 2.0, area.y + side / 2.0)
    };
    let donut = b.panel.options.get("pieType").and_then(Value::as_str) == Some("donut");
    let inner = if donut { radius * 0.58 } else { 0.0 };
    let mut from = -FRAC_PI_2;
    for (s, v) in &slices {
        let to = from + TAU * (v / total) as f32;
        let tint = single::tint(b, s, Some(*v));
        b.canvas.ring(centre, (inner, radius), (from, to), tint);
        from = to;
    }
    let list = if beside {
        Rect::new(area.x + side + 12.0, area.y, area.w - side - 12.0, area.h)
    } else {
        Rect::new(area.x, area.y + side + 8.0, area.w, area.h - side - 8.0)
    };
    let line = 18.0;
    let fit = ((list.h / line) as usize).max(1);
    let top = list.y + ((list.h - line * slices.len().min(fit) as f32) / 2.0).max(0.0);
    for (i, (s, v)) in slices.iter().take(fit).enumerate() {
        let y = top + line * i as f32 + 12.0;
        let tint = single::tint(b, s, Some(*v));
        b.canvas.fill_round(Rect::new(list.x, y - 8.0, 9.0, 9.0), 2.0, tint);
        let text = format!("{}  {:.0} %", s.settings.text(Some(*v)), v / total * 100.0);
        let font = Font::new(12.0, b.tokens.text);
        let room = font.width(&text) + 8.0;
        b.canvas.text(&text, (list.right(), y), font, Anchor::End, list.w);
        let muted = Font::new(12.0, b.tokens.muted);
        b.canvas.text(
            &s.settings.name,
            (list.x + 14.0, y),
            muted,
            Anchor::Start,
            (list.w - room - 14.0).max(0.0),
        );
    }
    single::more(b, list, cut + slices.len().saturating_sub(fit));
}
