//! The two embedded fonts, as outlines.

use std::sync::LazyLock;

use tiny_skia::{Path, PathBuilder};
use ttf_parser::{Face, GlyphId, OutlineBuilder};

static REGULAR: LazyLock<Option<Face<'static>>> =
    LazyLock::new(|| Face::parse(include_bytes!("../assets/Roboto-Regular.ttf"), 0).ok());
static BOLD: LazyLock<Option<Face<'static>>> =
    LazyLock::new(|| Face::parse(include_bytes!("../assets/Roboto-Bold.ttf"), 0).ok());

fn face(bold: bool) -> Option<&'static Face<'static>> {
    if bold { BOLD.as_ref() } else { REGULAR.as_ref() }
}

/// What stands for a sign that the fonts do not have.
const MISSING: char = '\u{fffd}';

fn glyph(face: &Face<'_>, c: char) -> Option<GlyphId> {
    let c = if c.is_control() { ' ' } else { c };
    face.glyph_index(c).or_else(|| face.glyph_index(MISSING)).or_else(|| face.glyph_index('?'))
}

/// Width of a text in pixels.
pub(crate) fn width(text: &str, size: f32, bold: bool) -> f32 {
    let Some(face) = face(bold) else { return 0.0 };
    let scale = size / f32::from(face.units_per_em());
    let advance =
        |c: char| glyph(face, c).and_then(|g| face.glyph_hor_advance(g)).unwrap_or_default();
    text.chars().map(|c| f32::from(advance(c)) * scale).sum()
}

/// The text, cut with `…` where it is wider than `most`.
pub(crate) fn fitted(text: &str, size: f32, bold: bool, most: f32) -> String {
    if width(text, size, bold) <= most {
        return text.to_owned();
    }
    let mut out: Vec<char> = text.chars().collect();
    while out.pop().is_some() {
        let cut: String = out.iter().collect::<String>().trim_end().to_owned() + "…";
        if width(&cut, size, bold) <= most {
            return cut;
        }
    }
    String::new()
}

struct Outline {
    path: PathBuilder,
    x: f32,
    y: f32,
    scale: f32,
}

impl Outline {
    fn at(&self, x: f32, y: f32) -> (f32, f32) {
        (self.x + x * self.scale, self.y - y * self.scale)
    }
}

impl OutlineBuilder for Outline {
    fn move_to(&mut self, x: f32, y: f32) {
        let (x, y) = self.at(x, y);
        self.path.move_to(x, y);
    }

    fn line_to(&mut self, x: f32, y: f32) {
        let (x, y) = self.at(x, y);
        self.path.line_to(x, y);
    }

    fn quad_to(&mut self, x1: f32, y1: f32, x: f32, y: f32) {
        let ((x1, y1), (x, y)) = (self.at(x1, y1), self.at(x, y));
        self.path.quad_to(x1, y1, x, y);
    }

    fn curve_to(&mut self, x1: f32, y1: f32, x2: f32, y2: f32, x: f32, y: f32) {
        let ((x1, y1), (x2, y2), (x, y)) = (self.at(x1, y1), self.at(x2, y2), self.at(x, y));
        self.path.cubic_to(x1, y1, x2, y2, x, y);
    }

    fn close(&mut self) {
        self.path.close();
    }
}

/// The outlines of a text whose base line begins at `x`, `y`.
pub(crate) fn outline(text: &str, x: f32, y: f32, size: f32, bold: bool) -> Option<Path> {
    let face = face(bold)?;
    let scale = size / f32::from(face.units_per_em());
    let mut out = Outline { path: PathBuilder::new(), x, y, scale };
    for c in text.chars() {
        if let Some(g) = glyph(face, c) {
            // A glyph without an outline, such as a space, only moves on.
            let _drawn = face.outline_glyph(g, &mut out);
            out.x += f32::from(face.glyph_hor_advance(g).unwrap_or_default()) * scale;
        }
    }
    out.path.finish()
}
