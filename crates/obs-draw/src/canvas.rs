//! Shapes and text on pixels.

use tiny_skia::{
    Color, FillRule, LineCap, LineJoin, Mask, Paint, Path, PathBuilder, Pixmap, Rect as Area,
    Stroke, StrokeDash, Transform,
};

use crate::font;

/// Pixels, from the left top.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Rect {
    pub x: f32,
    pub y: f32,
    pub w: f32,
    pub h: f32,
}

impl Rect {
    pub(crate) fn new(x: f32, y: f32, w: f32, h: f32) -> Self {
        Self { x, y, w: w.max(0.0), h: h.max(0.0) }
    }

    pub(crate) fn inset(self, by: f32) -> Self {
        Self::new(self.x + by, self.y + by, self.w - 2.0 * by, self.h - 2.0 * by)
    }

    pub(crate) fn right(self) -> f32 {
        self.x + self.w
    }

    pub(crate) fn bottom(self) -> f32 {
        self.y + self.h
    }
}

/// Where a text stands to its point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Anchor {
    Start,
    Middle,
    End,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Font {
    pub size: f32,
    pub bold: bool,
    pub color: Color,
}

impl Font {
    pub(crate) fn new(size: f32, color: Color) -> Self {
        Self { size, bold: false, color }
    }

    pub(crate) fn bold(self) -> Self {
        Self { bold: true, ..self }
    }

    pub(crate) fn width(self, text: &str) -> f32 {
        font::width(text, self.size, self.bold)
    }
}

pub(crate) struct Canvas {
    pixels: Pixmap,
    scale: Transform,
    clip: Option<Mask>,
}

impl Canvas {
    /// `None` where a side is 0 or too large.
    pub(crate) fn new(width: u32, height: u32, scale: f32) -> Option<Self> {
        let side = |v: u32| (v as f32 * scale).round() as u32;
        let pixels = Pixmap::new(side(width), side(height))?;
        Some(Self { pixels, scale: Transform::from_scale(scale, scale), clip: None })
    }

    pub(crate) fn png(&self) -> Option<Vec<u8>> {
        self.pixels.encode_png().ok()
    }

    /// Draws inside `rect` alone until the next call.
    pub(crate) fn clip(&mut self, rect: Option<Rect>) {
        self.clip = rect.and_then(|r| {
            let mut mask = Mask::new(self.pixels.width(), self.pixels.height())?;
            mask.fill_path(&rect_path(r)?, FillRule::Winding, true, self.scale);
            Some(mask)
        });
    }

    fn fill_path(&mut self, path: &Path, color: Color) {
        let mut paint = Paint::default();
        paint.set_color(color);
        paint.anti_alias = true;
        self.pixels.fill_path(path, &paint, FillRule::Winding, self.scale, self.clip.as_ref());
    }

    pub(crate) fn fill(&mut self, rect: Rect, color: Color) {
        if let Some(path) = rect_path(rect) {
            self.fill_path(&path, color);
        }
    }

    pub(crate) fn fill_round(&mut self, rect: Rect, radius: f32, color: Color) {
        if let Some(path) = round_path(rect, radius) {
            self.fill_path(&path, color);
        }
    }

    pub(crate) fn outline_round(&mut self, rect: Rect, radius: f32, color: Color) {
        if let Some(path) = round_path(rect, radius) {
            self.stroke(&path, 1.0, color, None);
        }
    }

    fn stroke(&mut self, path: &Path, width: f32, color: Color, dash: Option<StrokeDash>) {
        let mut paint = Paint::default();
        paint.set_color(color);
        paint.anti_alias = true;
        let stroke = Stroke {
            width,
            dash,
            line_cap: LineCap::Butt,
            line_join: LineJoin::Round,
            ..Stroke::default()
        };
        self.pixels.stroke_path(path, &paint, &stroke, self.scale, self.clip.as_ref());
    }

    pub(crate) fn line(&mut self, points: &[(f32, f32)], width: f32, color: Color) {
        self.dashed(points, width, color, &[]);
    }

    pub(crate) fn dashed(&mut self, points: &[(f32, f32)], width: f32, color: Color, dash: &[f32]) {
        if let Some(path) = polyline(points, false) {
            self.stroke(&path, width, color, StrokeDash::new(dash.to_vec(), 0.0));
        }
    }

    pub(crate) fn polygon(&mut self, points: &[(f32, f32)], color: Color) {
        if let Some(path) = polyline(points, true) {
            self.fill_path(&path, color);
        }
    }

    pub(crate) fn dot(&mut self, x: f32, y: f32, radius: f32, color: Color) {
        if let Some(path) = PathBuilder::from_circle(x, y, radius) {
            self.fill_path(&path, color);
        }
    }

    /// A part of a ring; angles in radians, clockwise from three o'clock.
    pub(crate) fn ring(
        &mut self,
        (cx, cy): (f32, f32),
        (inner, outer): (f32, f32),
        (from, to): (f32, f32),
        color: Color,
    ) {
        let steps = (((to - from).abs() * outer / 2.0).ceil() as usize).clamp(2, 720);
        let at = |i: usize, r: f32| {
            let a = from + (to - from) * i as f32 / steps as f32;
            (cx + r * a.cos(), cy + r * a.sin())
        };
        let mut points: Vec<(f32, f32)> = (0..=steps).map(|i| at(i, outer)).collect();
        points.extend((0..=steps).rev().map(|i| at(i, inner)));
        self.polygon(&points, color);
    }

    /// `y` is the base line; cut with `…` where it is wider than `most`.
    pub(crate) fn text(
        &mut self,
        text: &str,
        (x, y): (f32, f32),
        font: Font,
        anchor: Anchor,
        most: f32,
    ) {
        let text = font::fitted(text, font.size, font.bold, most);
        let width = font.width(&text);
        let x = match anchor {
            Anchor::Start => x,
            Anchor::Middle => x - width / 2.0,
            Anchor::End => x - width,
        };
        if let Some(path) = font::outline(&text, x, y, font.size, font.bold) {
            self.fill_path(&path, font.color);
        }
    }
}

fn rect_path(r: Rect) -> Option<Path> {
    Some(PathBuilder::from_rect(Area::from_xywh(r.x, r.y, r.w, r.h)?))
}

fn round_path(r: Rect, radius: f32) -> Option<Path> {
    let radius = radius.min(r.w / 2.0).min(r.h / 2.0);
    let mut p = PathBuilder::new();
    let (right, bottom) = (r.right(), r.bottom());
    p.move_to(r.x + radius, r.y);
    p.line_to(right - radius, r.y);
    p.quad_to(right, r.y, right, r.y + radius);
    p.line_to(right, bottom - radius);
    p.quad_to(right, bottom, right - radius, bottom);
    p.line_to(r.x + radius, bottom);
    p.quad_to(r.x, bottom, r.x, bottom - radius);
    p.line_to(r.x, r.y + radius);
    p.quad_to(r.x, r.y, r.x + radius, r.y);
    p.close();
    p.finish()
}

fn polyline(points: &[(f32, f32)], close: bool) -> Option<Path> {
    let mut p = PathBuilder::new();
    for (i, (x, y)) in points.iter().filter(|(x, y)| x.is_finite() && y.is_finite()).enumerate() {
        if i == 0 {
            p.move_to(*x, *y);
        } else {
            p.line_to(*x, *y);
        }
    }
    if close {
        p.close();
    }
    p.finish()
}
