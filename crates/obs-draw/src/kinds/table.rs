//! Tables: rows of instant answers, traces, logs, and the data of kinds without a drawing.

use std::collections::{BTreeMap, BTreeSet};

use obs_dash::PanelKind;
use serde_json::Value;
use tiny_skia::Color;

use super::{Shown, single};
use crate::canvas::{Anchor, Font, Rect};
use crate::data::{Answer, LogLine};
use crate::page::Brush;
use crate::shown::reduce;
use crate::units::instant;

const LINE: f32 = 20.0;

struct Cell {
    text: String,
    color: Option<Color>,
    number: bool,
}

struct Table {
    columns: Vec<String>,
    rows: Vec<Vec<Cell>>,
}

pub(super) fn draw(b: &mut Brush<'_>, area: Rect, all: &[Shown<'_>], answer: &Answer) {
    let mut area = area;
    if let PanelKind::Other(kind) = &b.panel.kind {
        let text = format!("Panels of kind {kind} are shown as a table.");
        let font = b.small();
        b.canvas.text(&text, (area.x, area.y + 10.0), font, Anchor::Start, area.w);
        area = Rect::new(area.x, area.y + 18.0, area.w, area.h - 18.0);
    }
    let mut table = match &answer.rows {
        Some(rows) => Table {
            columns: rows.columns.clone(),
            rows: rows.rows.iter().map(|r| r.iter().map(|t| plain(t)).collect()).collect(),
        },
        None => of_series(b, all),
    };
    organize(b, &mut table);
    paint(b, area, &table);
}

fn plain(text: &str) -> Cell {
    Cell { text: text.to_owned(), color: None, number: false }
}

/// Rows of equal labels stand together, with a column for each query.
fn of_series(b: &Brush<'_>, all: &[Shown<'_>]) -> Table {
    let letters: BTreeSet<&str> = all.iter().map(|s| s.series.ref_id.as_str()).collect();
    let names: BTreeSet<&str> = all
        .iter()
        .flat_map(|s| s.series.labels.keys().map(String::as_str))
        .filter(|n| *n != "__name__")
        .collect();
    let over_time =
        b.panel.kind != PanelKind::Table && all.iter().any(|s| s.series.points.len() > 1);
    let value_of = |letter: &str| {
        if letters.len() > 1 { format!("Value #{letter}") } else { "Value".to_owned() }
    };
    if names.is_empty() || over_time {
        let rows = all
            .iter()
            .map(|s| vec![plain(&s.settings.name), number(b, s, reduce(&s.series.points, "last"))]);
        return Table {
            columns: vec!["Series".to_owned(), "Value".to_owned()],
            rows: rows.collect(),
        };
    }
    let mut rows: BTreeMap<Vec<String>, BTreeMap<&str, Cell>> = BTreeMap::new();
    let mut order: Vec<Vec<String>> = Vec::new();
    for s in all {
        let key: Vec<String> =
            names.iter().map(|n| s.series.labels.get(*n).cloned().unwrap_or_default()).collect();
        if !rows.contains_key(&key) {
            order.push(key.clone());
        }
        let cell = number(b, s, reduce(&s.series.points, "last"));
        rows.entry(key).or_default().insert(&s.series.ref_id, cell);
    }
    let mut columns: Vec<String> = names.iter().map(|n| (*n).to_owned()).collect();
    columns.extend(letters.iter().map(|l| value_of(l)));
    let rows = order
        .into_iter()
        .map(|key| {
            let mut values = rows.remove(&key).unwrap_or_default();
            let mut out: Vec<Cell> = key.iter().map(|t| plain(t)).collect();
            out.extend(letters.iter().map(|l| values.remove(l).unwrap_or_else(|| plain(""))));
            out
        })
        .collect();
    Table { columns, rows }
}

fn number(b: &Brush<'_>, s: &Shown<'_>, v: Option<f64>) -> Cell {
    let kind = s.settings.custom("cellOptions").and_then(|c| c.get("type")).and_then(Value::as_str);
    let old = s.settings.custom("displayMode").and_then(Value::as_str);
    let colored = kind.or(old).is_some_and(|k| k.starts_with("color") || k == "gauge");
    let text = s.settings.text(v);
    let mapped = v.is_some_and(|v| {
        text != crate::units::format_value(v, &s.settings.unit, s.settings.decimals)
    });
    let color = if colored || mapped { s.settings.color(v, &b.tokens) } else { None };
    Cell { text, color, number: true }
}

/// Grafana's `organize`: columns left out, renamed, in another order.
fn organize(b: &Brush<'_>, table: &mut Table) {
    for t in b.panel.transformations.iter().filter(|t| t.id == "organize" && !t.disabled) {
        let part = |name: &str| t.options.get(name).and_then(Value::as_object);
        let mut order: Vec<usize> = (0..table.columns.len()).collect();
        if let Some(out) = part("excludeByName") {
            order.retain(|i| {
                let name = table.columns.get(*i).map_or("", String::as_str);
                out.get(name).and_then(Value::as_bool) != Some(true)
            });
        }
        if let Some(places) = part("indexByName") {
            let place = |i: &usize| {
                let name = table.columns.get(*i).map_or("", String::as_str);
                places.get(name).and_then(Value::as_i64).unwrap_or(i64::MAX)
            };
            order.sort_by_key(place);
        }
        let renamed = |name: &str| {
            let new = part("renameByName").and_then(|r| r.get(name)).and_then(Value::as_str);
            new.filter(|n| !n.is_empty()).unwrap_or(name).to_owned()
        };
        let columns = std::mem::take(&mut table.columns);
        table.columns = order.iter().filter_map(|i| columns.get(*i)).map(|n| renamed(n)).collect();
        for row in &mut table.rows {
            let mut cells: Vec<Option<Cell>> = std::mem::take(row).into_iter().map(Some).collect();
            *row = order.iter().filter_map(|i| cells.get_mut(*i)?.take()).collect();
        }
    }
}

fn paint(b: &mut Brush<'_>, area: Rect, table: &Table) {
    let font = Font::new(12.0, b.tokens.text);
    let fit = ((area.h / LINE) as usize).saturating_sub(1).max(1);
    let rows = table.rows.get(..fit.min(table.rows.len())).unwrap_or_default();
    let wanted: Vec<f32> = table
        .columns
        .iter()
        .enumerate()
        .map(|(i, name)| {
            let cells = rows.iter().filter_map(|r| r.get(i)).map(|c| font.width(&c.text));
            cells.fold(font.width(name), f32::max).min(320.0) + 18.0
        })
        .collect();
    let total: f32 = wanted.iter().sum();
    let stretch = if total > 0.0 { area.w / total } else { 1.0 };
    let muted = Font::new(12.0, b.tokens.muted);
    let mut x = area.x;
    for (i, name) in table.columns.iter().enumerate() {
        let w = wanted.get(i).copied().unwrap_or(0.0) * stretch;
        let right = rows.first().and_then(|r| r.get(i)).is_some_and(|c| c.number);
        let (at, anchor) =
            if right { (x + w - 8.0, Anchor::End) } else { (x + 2.0, Anchor::Start) };
        b.canvas.text(name, (at, area.y + 13.0), muted, anchor, w - 10.0);
        for (r, row) in rows.iter().enumerate() {
            let Some(cell) = row.get(i) else { continue };
            let y = area.y + LINE * (r + 1) as f32;
            let font = Font { color: cell.color.unwrap_or(b.tokens.text), ..font };
            b.canvas.text(&cell.text, (at, y + 13.0), font, anchor, w - 10.0);
        }
        x += w;
    }
    for r in 0..=rows.len() {
        let y = area.y + LINE * (r + 1) as f32 - 2.0;
        b.canvas.fill(Rect::new(area.x, y, area.w, 1.0), b.tokens.line);
    }
    single::more(b, area, table.rows.len().saturating_sub(rows.len()));
}

pub(super) fn logs(b: &mut Brush<'_>, area: Rect, lines: &[LogLine]) {
    let fit = ((area.h / 16.0) as usize).max(1);
    for (i, line) in lines.iter().take(fit).enumerate() {
        let y = area.y + 16.0 * i as f32 + 12.0;
        let muted = Font::new(11.0, b.tokens.muted);
        let time = instant(line.time_ms);
        let time = time.split(' ').nth(1).unwrap_or_default().to_owned();
        b.canvas.text(&time, (area.x, y), muted, Anchor::Start, 56.0);
        let tint = match line.level.as_str() {
            "error" | "fatal" | "critical" => b.tokens.bad,
            "warn" | "warning" => b.tokens.warn,
            "info" => b.tokens.ok,
            _ => b.tokens.muted,
        };
        b.canvas.text(&line.level, (area.x + 56.0, y), Font::new(11.0, tint), Anchor::Start, 44.0);
        let font = Font::new(11.5, b.tokens.text);
        let text = line.text.replace(['\n', '\t'], " ");
        b.canvas.text(&text, (area.x + 100.0, y), font, Anchor::Start, area.w - 100.0);
    }
    single::more(b, area, lines.len().saturating_sub(fit));
}
