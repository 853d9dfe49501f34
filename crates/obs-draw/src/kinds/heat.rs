use super::{Shown, time_axis};
use crate::canvas::{Anchor, Rect};
use crate::color;
use crate::page::Brush;
use crate::units::format_value;

const ROWS: usize = 24;
const COLUMNS_MAX: usize = 240;

struct Grid {
    /// Bounds or names of the rows, the lowest first.
    rows: Vec<String>,
    /// `cells[row][column]`; `None` where there is nothing.
    cells: Vec<Vec<Option<f64>>>,
}

/// The column of an instant.
fn column(b: &Brush<'_>, t: i64, columns: usize) -> Option<usize> {
    let share = (t - b.window.from_ms) as f64 / b.window.span() as f64;
    (0.0..=1.0).contains(&share).then(|| ((share * columns as f64) as usize).min(columns - 1))
}

/// Series are buckets by their bound; plain series have their values counted.
fn grid(b: &Brush<'_>, all: &[Shown<'_>]) -> Grid {
    let steps = (b.window.span() / b.window.step_ms.max(1)).max(1) as usize;
    let columns = steps.clamp(1, COLUMNS_MAX);
    let bound = |s: &Shown<'_>| {
        let text = s.series.labels.get("le").unwrap_or(&s.settings.name);
        if text == "+Inf" { Some(f64::INFINITY) } else { text.parse::<f64>().ok() }
    };
    let bounds: Vec<Option<f64>> = all.iter().map(bound).collect();
    let unit = b.panel.options.get("yAxis").and_then(|y| y.get("unit")).and_then(|u| u.as_str());
    let unit = unit.unwrap_or(&b.panel.field.unit);
    if bounds.iter().all(Option::is_some) && all.len() > 1 {
        let mut order: Vec<(f64, &Shown<'_>)> = bounds.iter().flatten().copied().zip(all).collect();
        order.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut cells: Vec<Vec<Option<f64>>> = Vec::new();
        for (_, s) in &order {
            let mut row = vec![None; columns];
            for (t, v) in s.series.points.iter().filter(|p| p.1.is_finite()) {
                if let Some(cell) = column(b, *t, columns).and_then(|c| row.get_mut(c)) {
                    *cell = Some(*v);
                }
            }
            cells.push(row);
        }
        // `le` buckets count everything below them; a cell is what one bucket adds.
        if all.iter().all(|s| s.series.labels.contains_key("le")) {
            for r in (1..cells.len()).rev() {
                let (below, rest) = cells.split_at_mut(r);
                if let (Some(below), Some(row)) = (below.last(), rest.first_mut()) {
                    for (cell, under) in row.iter_mut().zip(below) {
                        if let (Some(v), Some(u)) = (cell.as_mut(), under) {
                            *v = (*v - u).max(0.0);
                        }
                    }
                }
            }
        }
        let rows = order.iter().map(|(v, _)| format_value(*v, unit, None)).collect();
        return Grid { rows, cells };
    }
    let values = || all.iter().flat_map(|s| &s.series.points).filter(|p| p.1.is_finite());
    let low = values().map(|p| p.1).fold(f64::INFINITY, f64::min).min(0.0);
    let high = values().map(|p| p.1).fold(low + 1e-9, f64::max);
    let columns = columns.min(120);
    let mut cells = vec![vec![None; columns]; ROWS];
    for (t, v) in values() {
        let row = (((v - low) / (high - low) * ROWS as f64) as usize).min(ROWS - 1);
        let cell = column(b, *t, columns).and_then(|c| cells.get_mut(row)?.get_mut(c));
        if let Some(cell) = cell {
            *cell = Some(cell.unwrap_or(0.0) + 1.0);
        }
    }
    let upper = |r: usize| low + (high - low) * (r + 1) as f64 / ROWS as f64;
    Grid { rows: (0..ROWS).map(|r| format_value(upper(r), unit, None)).collect(), cells }
}

pub(super) fn draw(b: &mut Brush<'_>, area: Rect, all: &[Shown<'_>]) {
    let grid = grid(b, all);
    let font = b.small();
    let room = grid.rows.iter().map(|r| font.width(r)).fold(20.0, f32::max).min(area.w * 0.3) + 8.0;
    let plot = Rect::new(area.x + room, area.y + 2.0, area.w - room - 8.0, area.h - 20.0);
    let top = grid.cells.iter().flatten().flatten().copied().fold(1e-12, f64::max);
    let height = plot.h / grid.rows.len().max(1) as f32;
    let every = (15.0 / height).ceil().max(1.0) as usize;
    for (r, (name, row)) in grid.rows.iter().zip(&grid.cells).enumerate() {
        let y = plot.bottom() - height * (r + 1) as f32;
        let width = plot.w / row.len().max(1) as f32;
        for (c, v) in row.iter().enumerate() {
            let Some(v) = v.filter(|v| *v > 0.0) else { continue };
            // The root shows small counts beside large ones.
            let tint = color::heat(b.theme, (v / top).sqrt());
            let cell = Rect::new(plot.x + width * c as f32, y, width + 0.3, height - 0.5);
            b.canvas.fill(cell, tint);
        }
        if r % every == 0 {
            b.canvas.text(name, (plot.x - 6.0, y + 4.0 + height * 0.1), font, Anchor::End, room);
        }
    }
    time_axis(b, plot, false);
}
