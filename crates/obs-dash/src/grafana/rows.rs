//! The layout before schema version 16: rows of panels with a span of twelve columns.

use serde_json::{Value, json};

use super::json::{list, number, object, small, text};
use crate::DashError;
use crate::model::Extra;
use crate::notice::{Notice, NoticeKind};

/// Rows of the old layout give their height in pixels or leave it out.
const ROW_HEIGHT: u32 = 7;
const PIXELS_PER_GRID_ROW: f64 = 38.0;

/// Turns `rows` into panels with places on the grid, where there are no panels yet.
pub(super) fn to_panels(root: &mut Extra, notices: &mut Vec<Notice>) -> Result<(), DashError> {
    let has_panels = root.get("panels").and_then(Value::as_array).is_some_and(|p| !p.is_empty());
    if has_panels || list(root, "rows", "")?.is_empty() {
        return Ok(());
    }
    let mut out: Vec<Value> = Vec::new();
    let mut y = 0u32;
    for (i, row) in list(root, "rows", "")?.iter().enumerate() {
        let place = format!("rows[{i}]");
        let r = object(row, &place)?;
        let collapsed = r.get("collapse").and_then(Value::as_bool).unwrap_or(false);
        let mut head = json!({
            "type": "row", "title": text(r, "title"), "collapsed": collapsed,
            "gridPos": {"x": 0, "y": y, "w": 24, "h": 1},
        });
        if let (Some(map), Some(repeat)) = (head.as_object_mut(), r.get("repeat")) {
            map.insert("repeat".to_owned(), repeat.clone());
        }
        y += 1;
        let height = height_of(r.get("height"));
        let mut x = 0;
        let mut inner: Vec<Value> = Vec::new();
        for (j, panel) in list(r, "panels", &place)?.iter().enumerate() {
            let mut panel = object(panel, &format!("{place}.panels[{j}]"))?.clone();
            let span = small(&panel, "span", 12).clamp(1, 12) * 2;
            if x + span > 24 {
                x = 0;
                y += height;
            }
            let place = json!({"x": x, "y": y, "w": span, "h": height});
            panel.insert("gridPos".to_owned(), place);
            x += span;
            inner.push(Value::Object(panel));
        }
        y += height;
        if collapsed {
            if let Some(map) = head.as_object_mut() {
                map.insert("panels".to_owned(), Value::Array(inner));
            }
            out.push(head);
        } else {
            out.push(head);
            out.extend(inner);
        }
    }
    notices.push(Notice::new(NoticeKind::OldLayout, "rows", "rows were laid out on the grid"));
    root.remove("rows");
    root.insert("panels".to_owned(), Value::Array(out));
    Ok(())
}

/// `250`, `"250"` or `"250px"`, in rows of the grid.
fn height_of(value: Option<&Value>) -> u32 {
    let px = match value {
        Some(Value::String(s)) => s.trim_end_matches("px").trim().parse().ok(),
        other => number(other),
    };
    match px {
        Some(px) if px > 0.0 => (px / PIXELS_PER_GRID_ROW).ceil().clamp(1.0, 100.0) as u32,
        _ => ROW_HEIGHT,
    }
}
