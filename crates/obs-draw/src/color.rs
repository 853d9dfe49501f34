//! Colours: the portal's tokens in both themes, Grafana's names, ramps.

use tiny_skia::Color;

use crate::page::Theme;

pub(crate) fn hex(text: &str) -> Option<Color> {
    let digits = text.strip_prefix('#')?;
    if !digits.is_ascii() {
        return None;
    }
    let byte = |part: &str| u8::from_str_radix(part, 16).ok();
    let (r, g, b) = match digits.len() {
        3 | 4 => {
            let mut all = digits.chars().map(|c| byte(&format!("{c}{c}")));
            (all.next()??, all.next()??, all.next()??)
        }
        6 | 8 => {
            let part = |at: usize| digits.get(at..at + 2).and_then(byte);
            (part(0)?, part(2)?, part(4)?)
        }
        _ => return None,
    };
    Some(Color::from_rgba8(r, g, b, 255))
}

fn fixed(text: &str) -> Color {
    hex(text).unwrap_or(Color::BLACK)
}

/// What the page itself is painted with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tokens {
    pub background: Color,
    pub surface: Color,
    pub raised: Color,
    pub line: Color,
    pub text: Color,
    pub muted: Color,
    pub ok: Color,
    pub warn: Color,
    pub bad: Color,
    pub info: Color,
}

impl Tokens {
    pub(crate) fn of(theme: Theme) -> Self {
        let [background, surface, raised, line, text, muted, ok, warn, bad, info] = match theme {
            Theme::Dark => [
                "#0f1419", "#171d24", "#1f2731", "#2b3541", "#e3e8ee", "#98a5b4", "#4cc38a",
                "#e6b450", "#f2716f", "#64a8f0",
            ],
            Theme::Light => [
                "#f5f7f9", "#ffffff", "#eef1f5", "#d5dbe2", "#1a222b", "#55626f", "#14784a",
                "#8a5a00", "#b3261e", "#1b5fa8",
            ],
        }
        .map(fixed);
        Self { background, surface, raised, line, text, muted, ok, warn, bad, info }
    }

    /// A colour by Grafana's name or as `#rrggbb`; `None` for one that says nothing.
    pub(crate) fn named(&self, name: &str) -> Option<Color> {
        match name {
            "" => return None,
            "transparent" => return Some(Color::TRANSPARENT),
            "text" => return Some(self.text),
            "gray" | "grey" => return Some(self.muted),
            "green" => return Some(self.ok),
            "red" => return Some(self.bad),
            "yellow" | "orange" => return Some(self.warn),
            "blue" => return Some(self.info),
            _ => {}
        }
        if name.starts_with('#') {
            return hex(name);
        }
        if let Some(inner) = name.strip_prefix("rgb") {
            let parts: Vec<u8> = inner
                .trim_matches(|c: char| !c.is_ascii_digit() && c != '.')
                .split(',')
                .take(3)
                .filter_map(|p| p.trim().parse::<f32>().ok().map(|v| v.clamp(0.0, 255.0) as u8))
                .collect();
            let [r, g, b] = parts.try_into().ok()?;
            return Some(Color::from_rgba8(r, g, b, 255));
        }
        let shades = ["super-light-", "light-", "semi-dark-", "dark-"];
        let (shade, hue) = shades
            .iter()
            .enumerate()
            .find_map(|(i, s)| Some((if i < 2 { i } else { i + 1 }, name.strip_prefix(s)?)))
            .unwrap_or((2, name));
        let (_, all) = HUES.iter().find(|(n, _)| *n == hue)?;
        all.get(shade).map(|c| fixed(c))
    }
}

/// Super light, light, base, semi dark, dark.
const HUES: [(&str, [&str; 5]); 6] = [
    ("red", ["#FFA6B0", "#FF7383", "#F2495C", "#E02F44", "#C4162A"]),
    ("orange", ["#FFCB7D", "#FFB357", "#FF9830", "#FF780A", "#FA6400"]),
    ("yellow", ["#FFF899", "#FFEE52", "#FADE2A", "#F2CC0C", "#E0B400"]),
    ("green", ["#C8F2C2", "#96D98D", "#73BF69", "#56A64B", "#37872D"]),
    ("blue", ["#C0D8FF", "#8AB8FF", "#5794F2", "#3274D9", "#1F60C4"]),
    ("purple", ["#DEB6F2", "#CA95E5", "#B877D9", "#A352CC", "#8F3BB8"]),
];

const SERIES: [&str; 10] = [
    "#3fb68b", "#5b9bf3", "#e0a33e", "#d9698c", "#9b7fe6", "#3fb0c4", "#c98a4b", "#8fae3c",
    "#e07a5f", "#7f8fa6",
];

/// The colour of the n-th series.
pub(crate) fn series(i: usize) -> Color {
    SERIES.get(i % SERIES.len()).map_or(Color::BLACK, |c| fixed(c))
}

/// Heat from nothing to all.
pub(crate) fn heat(theme: Theme, share: f64) -> Color {
    let ramp = match theme {
        Theme::Dark => ["#14213a", "#2a5ea8", "#38a89d", "#e6b450", "#f2716f"],
        Theme::Light => ["#e8eef6", "#8ab8e0", "#2f9e8f", "#d99a2b", "#b3261e"],
    };
    blend(&ramp, share)
}

pub(crate) fn blend(ramp: &[&str], share: f64) -> Color {
    let last = ramp.len().saturating_sub(1);
    let at = share.clamp(0.0, 1.0) * last as f64;
    let part = |i: usize| ramp.get(i).map_or(Color::BLACK, |c| fixed(c));
    let (a, b) = (part(at.floor() as usize), part((at.floor() as usize + 1).min(last)));
    let t = at.fract() as f32;
    let mix = |x: f32, y: f32| (x + (y - x) * t).clamp(0.0, 1.0);
    Color::from_rgba(mix(a.red(), b.red()), mix(a.green(), b.green()), mix(a.blue(), b.blue()), 1.0)
        .unwrap_or(a)
}

/// The colours of one of Grafana's continuous modes.
pub(crate) fn ramp(mode: &str) -> Option<&'static [&'static str]> {
    Some(match mode {
        "continuous-GrYlRd" => &["#73BF69", "#FADE2A", "#F2495C"],
        "continuous-RdYlGr" => &["#F2495C", "#FADE2A", "#73BF69"],
        "continuous-BlYlRd" => &["#5794F2", "#FADE2A", "#F2495C"],
        "continuous-YlRd" => &["#FADE2A", "#F2495C"],
        "continuous-BlPu" => &["#5794F2", "#B877D9"],
        "continuous-YlBl" => &["#FADE2A", "#5794F2"],
        "continuous-blues" => &["#C0D8FF", "#1F60C4"],
        "continuous-reds" => &["#FFA6B0", "#C4162A"],
        "continuous-greens" => &["#C8F2C2", "#37872D"],
        "continuous-purples" => &["#DEB6F2", "#8F3BB8"],
        _ => return None,
    })
}

pub(crate) fn faded(color: Color, alpha: f32) -> Color {
    let mut out = color;
    out.set_alpha((color.alpha() * alpha).clamp(0.0, 1.0));
    out
}

/// Black or white, whichever reads better on a colour.
pub(crate) fn ink_on(color: Color) -> Color {
    let bright = 0.299 * color.red() + 0.587 * color.green() + 0.114 * color.blue();
    fixed(if bright > 0.59 { "#10151c" } else { "#ffffff" })
}
