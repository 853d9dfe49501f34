//! One file for each family of panel kinds. Each fills an area from the answers.

mod bars;
mod chart;
mod heat;
mod pie;
mod single;
mod states;
mod table;
mod text;

use obs_dash::PanelKind;
use tiny_skia::Color;

use crate::canvas::{Anchor, Font, Rect};
use crate::color;
use crate::data::{Answer, Series};
use crate::page::Brush;
use crate::shown::Settings;

/// A series with its settings, and its place among all, which gives its colour.
pub(super) struct Shown<'a> {
    pub series: &'a Series,
    pub settings: Settings,
    pub index: usize,
}

impl Shown<'_> {
    pub(super) fn color(&self, b: &Brush<'_>) -> Color {
        self.settings.fixed(&b.tokens).unwrap_or_else(|| color::series(self.index))
    }
}

/// The series that are not hidden.
fn shown<'a>(b: &Brush<'_>, answer: &'a Answer) -> Vec<Shown<'a>> {
    let all = answer.series.iter().enumerate().map(|(index, series)| Shown {
        series,
        settings: Settings::of(b.panel, series),
        index,
    });
    all.filter(|s| !s.settings.hidden()).collect()
}

/// The answer without points far from the window, so that times can be counted with.
fn within(b: &Brush<'_>, answer: &Answer) -> Answer {
    let window = b.window;
    let (from, to) =
        (window.from_ms.saturating_sub(window.span()), window.to_ms.saturating_add(window.span()));
    let mut out = answer.clone();
    for s in &mut out.series {
        s.points.retain(|p| (from..=to).contains(&p.0));
    }
    out
}

pub(crate) fn draw(b: &mut Brush<'_>, area: Rect, answer: &Answer, words: &str) {
    if b.panel.kind == PanelKind::Text {
        return text::draw(b, area, words);
    }
    let inside = within(b, answer);
    let all = shown(b, &inside);
    if all.is_empty() && answer.logs.is_empty() && answer.rows.is_none() {
        let empty = b.panel.field.extra.get("noValue").and_then(|v| v.as_str());
        let empty = empty.unwrap_or("No data in this range.").to_owned();
        return b.note(area, &empty);
    }
    match &b.panel.kind {
        PanelKind::TimeSeries if !all.is_empty() => chart::draw(b, area, &all),
        PanelKind::Stat if !all.is_empty() => single::stat(b, area, &all),
        PanelKind::Gauge if !all.is_empty() => single::gauge(b, area, &all),
        PanelKind::BarGauge if !all.is_empty() => single::bar_gauge(b, area, &all),
        PanelKind::PieChart if !all.is_empty() => pie::draw(b, area, &all),
        PanelKind::BarChart if !all.is_empty() => bars::bar_chart(b, area, &all),
        PanelKind::Histogram if !all.is_empty() => bars::histogram(b, area, &all),
        PanelKind::Heatmap if !all.is_empty() => heat::draw(b, area, &all),
        PanelKind::StateTimeline if !all.is_empty() => states::draw(b, area, &all, true),
        PanelKind::StatusHistory if !all.is_empty() => states::draw(b, area, &all, false),
        PanelKind::Logs if !answer.logs.is_empty() => table::logs(b, area, &answer.logs),
        // Node graphs, traces and kinds that are not known show their data.
        _ => table::draw(b, area, &all, answer),
    }
}

/// Names with their colours in lines below a drawing; gives the area above them.
fn legend(b: &mut Brush<'_>, area: Rect, entries: &[(String, Color)]) -> Rect {
    const LINE: f32 = 16.0;
    let font = Font::new(11.0, b.tokens.muted);
    let options = b.panel.options.get("legend");
    let off = options.and_then(|l| l.get("showLegend")).and_then(|v| v.as_bool()) == Some(false);
    let hidden =
        options.and_then(|l| l.get("displayMode")).and_then(|v| v.as_str()) == Some("hidden");
    if off || hidden || entries.is_empty() || area.h < 60.0 {
        return area;
    }
    let width = |text: &str| font.width(text).min(area.w * 0.6) + 28.0;
    let mut lines: Vec<Vec<usize>> = vec![Vec::new()];
    let mut used = 0.0;
    for (i, (text, _)) in entries.iter().enumerate() {
        if used + width(text) > area.w && used > 0.0 {
            lines.push(Vec::new());
            used = 0.0;
        }
        used += width(text);
        if let Some(line) = lines.last_mut() {
            line.push(i);
        }
    }
    let most = ((area.h * 0.3 / LINE) as usize).max(1);
    let cut = lines.len() > most;
    lines.truncate(most);
    let top = area.bottom() - lines.len() as f32 * LINE + 2.0;
    let listed: usize = lines.iter().map(Vec::len).sum();
    for (row, line) in lines.iter().enumerate() {
        let y = top + row as f32 * LINE + 11.0;
        let mut x = area.x;
        for (text, tint) in line.iter().filter_map(|i| entries.get(*i)) {
            b.canvas.fill_round(Rect::new(x, y - 5.0, 10.0, 3.0), 1.5, *tint);
            b.canvas.text(text, (x + 14.0, y), font, Anchor::Start, area.w * 0.6);
            x += width(text);
        }
        if cut && row + 1 == lines.len() {
            let more = format!("… {} more", entries.len() - listed);
            let shade = Rect::new(
                area.right() - font.width(&more) - 6.0,
                y - 11.0,
                font.width(&more) + 8.0,
                LINE,
            );
            b.canvas.fill(shade, b.tokens.surface);
            b.canvas.text(&more, (area.right(), y), font, Anchor::End, area.w);
        }
    }
    Rect::new(area.x, area.y, area.w, top - area.y - 4.0)
}

/// The time axis at the foot of an area: marks, labels, and lines up where they are wanted.
fn time_axis(b: &mut Brush<'_>, plot: Rect, lines: bool) {
    let window = b.window;
    let font = b.small();
    let count = (plot.w / 90.0).max(1.0) as usize;
    for t in crate::units::time_ticks(window.from_ms, window.to_ms, count) {
        let x = plot.x + plot.w * ((t - window.from_ms) as f32 / window.span() as f32);
        if lines {
            b.canvas.fill(Rect::new(x, plot.y, 1.0, plot.h), color::faded(b.tokens.line, 0.5));
        }
        let label = crate::units::clock(t, window.span());
        let half = font.width(&label) / 2.0;
        if x - half >= plot.x - 30.0 && x + half <= plot.right() + 8.0 {
            b.canvas.text(&label, (x, plot.bottom() + 14.0), font, Anchor::Middle, 90.0);
        }
    }
}
