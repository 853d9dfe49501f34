use serde_json::Value;

use crate::canvas::{Anchor, Font, Rect};
use crate::page::Brush;

/// Words of a text panel: headings, lists and paragraphs; markup is left out.
pub(super) fn draw(b: &mut Brush<'_>, area: Rect, text: &str) {
    let mode = b.panel.options.get("mode").and_then(Value::as_str).unwrap_or("markdown");
    let text = if mode == "code" { text.to_owned() } else { without_tags(text) };
    let mut y = area.y;
    for line in text.lines() {
        let trimmed = line.trim();
        let level = trimmed.chars().take_while(|c| *c == '#').count();
        let (size, bold, words, indent) = match level {
            1..=6 if mode != "code" => (
                20.0 - 2.0 * level.min(4) as f32,
                true,
                trimmed.trim_start_matches('#').trim(),
                0.0,
            ),
            _ => match trimmed.strip_prefix("- ").or_else(|| trimmed.strip_prefix("* ")) {
                Some(item) if mode != "code" => (13.0, false, item, 14.0),
                _ => (13.0, false, trimmed, 0.0),
            },
        };
        if trimmed.is_empty() {
            y += 7.0;
            continue;
        }
        let words = if mode == "code" { words.to_owned() } else { plain(words) };
        let font = Font { size, bold, color: b.tokens.text };
        let step = size * 1.4;
        if indent > 0.0 {
            b.canvas.dot(area.x + 5.0, y + step * 0.55, 2.0, b.tokens.muted);
        }
        for part in wrapped(&words, font, area.w - indent) {
            if y + step > area.bottom() + 2.0 {
                return;
            }
            b.canvas.text(&part, (area.x + indent, y + size), font, Anchor::Start, area.w - indent);
            y += step;
        }
        y += 3.0;
    }
}

/// Without marks of emphasis and with the words of links alone.
fn plain(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('[') {
        out.push_str(before);
        match after
            .split_once("](")
            .and_then(|(words, tail)| Some((words, tail.split_once(')')?.1)))
        {
            Some((words, tail)) => {
                out.push_str(words);
                rest = tail;
            }
            None => {
                out.push('[');
                rest = after;
            }
        }
    }
    out.push_str(rest);
    out.replace("**", "").replace("__", "").replace('`', "")
}

fn without_tags(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('<') {
        out.push_str(before);
        let tag = after.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/' || c == '!');
        match after.split_once('>').filter(|_| tag) {
            Some((_, tail)) => rest = tail,
            None => {
                out.push('<');
                rest = after;
            }
        }
    }
    out.push_str(rest);
    out
}

fn wrapped(text: &str, font: Font, width: f32) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    let mut line = String::new();
    for word in text.split_whitespace() {
        let longer = if line.is_empty() { word.to_owned() } else { format!("{line} {word}") };
        if font.width(&longer) > width && !line.is_empty() {
            out.push(std::mem::take(&mut line));
            line = word.to_owned();
        } else {
            line = longer;
        }
    }
    out.push(line);
    out
}
