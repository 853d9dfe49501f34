//! A panel with its frame, and a dashboard as a page of panels.

use obs_dash::{Panel, PanelKind};

use crate::canvas::{Anchor, Canvas, Font, Rect};
use crate::color::Tokens;
use crate::data::{Answer, Window};
use crate::kinds;
use crate::units::instant;

/// Longest side of a picture in pixels, and most pixels of all.
pub const SIDE_MAX: u32 = 8_000;
const PIXELS_MAX: u64 = 40_000_000;
/// A row of the grid, and the space between panels.
const ROW: f32 = 34.0;
const GAP: f32 = 8.0;
const HEAD: f32 = 64.0;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Theme {
    #[default]
    Dark,
    Light,
}

/// Size and colours of a picture.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Picture {
    pub width: u32,
    /// Of a dashboard 0 means what its panels need.
    pub height: u32,
    pub theme: Theme,
    /// Pixels of the file for each pixel of the page, 1 to 4.
    pub scale: f32,
}

/// Why there is no picture.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum DrawError {
    #[error("{what} {found} is not {least} to {most}")]
    Size { what: &'static str, found: u64, least: u64, most: u64 },
    #[error("the picture could not be encoded")]
    Encode,
}

/// A panel of a dashboard at its place on the grid.
#[derive(Clone, Copy, Debug)]
pub struct Placed<'a> {
    /// Columns and rows of the grid.
    pub grid: obs_dash::GridPosition,
    pub panel: &'a Panel,
    pub title: &'a str,
    /// Text of a text panel with its variables filled in.
    pub text: &'a str,
    pub answer: &'a Answer,
    pub window: Window,
}

/// What the kinds draw with.
pub(crate) struct Brush<'a> {
    pub canvas: &'a mut Canvas,
    pub tokens: Tokens,
    pub theme: Theme,
    pub panel: &'a Panel,
    pub window: Window,
}

impl Brush<'_> {
    pub(crate) fn small(&self) -> Font {
        Font::new(11.0, self.tokens.muted)
    }

    /// A line in the middle of an area that has nothing to show.
    pub(crate) fn note(&mut self, area: Rect, text: &str) {
        let font = Font::new(13.0, self.tokens.muted);
        let middle = (area.x + area.w / 2.0, area.y + area.h / 2.0 + 4.0);
        self.canvas.text(text, middle, font, Anchor::Middle, area.w);
    }
}

fn sized(what: &'static str, found: u32, least: u32) -> Result<(), DrawError> {
    if (least..=SIDE_MAX).contains(&found) {
        return Ok(());
    }
    let (found, least, most) = (u64::from(found), u64::from(least), u64::from(SIDE_MAX));
    Err(DrawError::Size { what, found, least, most })
}

fn canvas(width: u32, height: u32, scale: f32) -> Result<Canvas, DrawError> {
    sized("width", width, 40)?;
    sized("height", height, 30)?;
    if !(1.0..=4.0).contains(&scale) {
        let found = scale.max(0.0) as u64;
        return Err(DrawError::Size { what: "scale", found, least: 1, most: 4 });
    }
    let pixels = (f64::from(width) * f64::from(height) * f64::from(scale).powi(2)) as u64;
    if pixels > PIXELS_MAX {
        return Err(DrawError::Size { what: "pixels", found: pixels, least: 1, most: PIXELS_MAX });
    }
    Canvas::new(width, height, scale).ok_or(DrawError::Encode)
}

/// One panel with its title.
pub fn panel_png(placed: &Placed<'_>, picture: Picture) -> Result<Vec<u8>, DrawError> {
    let Picture { width, height, theme, scale } = picture;
    let mut canvas = canvas(width, height, scale)?;
    let tokens = Tokens::of(theme);
    let whole = Rect::new(0.0, 0.0, width as f32, height as f32);
    canvas.fill(whole, tokens.surface);
    frame(&mut canvas, placed, whole, theme);
    canvas.png().ok_or(DrawError::Encode)
}

/// The page: its title and range, and every panel at its place.
pub fn dashboard_png(
    title: &str,
    window: Window,
    panels: &[Placed<'_>],
    picture: Picture,
) -> Result<Vec<u8>, DrawError> {
    let Picture { width, theme, scale, .. } = picture;
    let rows = panels.iter().map(|p| p.grid.y + p.grid.h).max().unwrap_or(4);
    let needed = (HEAD + rows as f32 * ROW + 2.0 * GAP) as u32;
    let height = if picture.height == 0 { needed.clamp(30, SIDE_MAX) } else { picture.height };
    let mut canvas = canvas(width, height, scale)?;
    let tokens = Tokens::of(theme);
    canvas.fill(Rect::new(0.0, 0.0, width as f32, height as f32), tokens.background);
    let most = width as f32 - 4.0 * GAP;
    canvas.text(title, (2.0 * GAP, 30.0), Font::new(20.0, tokens.text).bold(), Anchor::Start, most);
    let range = format!("{} to {} UTC", instant(window.from_ms), instant(window.to_ms));
    canvas.text(&range, (2.0 * GAP, 50.0), Font::new(12.0, tokens.muted), Anchor::Start, most);
    let column = (width as f32 - 2.0 * GAP) / 24.0;
    for p in panels {
        let g = p.grid;
        let area = Rect::new(
            GAP + g.x as f32 * column + GAP / 2.0,
            HEAD + g.y as f32 * ROW + GAP / 2.0,
            g.w as f32 * column - GAP,
            g.h as f32 * ROW - GAP,
        );
        if p.panel.kind == PanelKind::Row {
            let font = Font::new(15.0, tokens.text).bold();
            let at = (area.x + 2.0, area.y + area.h / 2.0 + 5.0);
            canvas.text(p.title, at, font, Anchor::Start, area.w);
            canvas.fill(Rect::new(area.x, area.bottom(), area.w, 1.0), tokens.line);
            continue;
        }
        canvas.fill_round(area, 8.0, tokens.surface);
        canvas.outline_round(area, 8.0, tokens.line);
        frame(&mut canvas, p, area, theme);
    }
    canvas.png().ok_or(DrawError::Encode)
}

/// Title, notices and body of a panel.
fn frame(canvas: &mut Canvas, placed: &Placed<'_>, area: Rect, theme: Theme) {
    let tokens = Tokens::of(theme);
    let inner = area.inset(10.0);
    let mut body = inner;
    if !placed.title.is_empty() {
        let font = Font::new(13.0, tokens.text).bold();
        canvas.text(placed.title, (inner.x, inner.y + 11.0), font, Anchor::Start, inner.w);
        body = Rect::new(inner.x, inner.y + 20.0, inner.w, inner.h - 20.0);
    }
    if let Some(notice) = placed.answer.notices.first() {
        let more = match placed.answer.notices.len() {
            1 => String::new(),
            n => format!(" (and {} more)", n - 1),
        };
        let font = Font::new(11.0, tokens.warn);
        let at = (body.x, body.bottom());
        canvas.text(&format!("{notice}{more}"), at, font, Anchor::Start, body.w);
        body.h -= 16.0;
    }
    if body.w < 8.0 || body.h < 8.0 {
        return;
    }
    canvas.clip(Some(Rect::new(area.x + 1.0, body.y - 2.0, area.w - 2.0, body.h + 4.0)));
    let mut brush = Brush { canvas, tokens, theme, panel: placed.panel, window: placed.window };
    kinds::draw(&mut brush, body, placed.answer, placed.text);
    canvas.clip(None);
}
