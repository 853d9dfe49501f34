//! Where in a JSON text its values stand.

use std::collections::BTreeMap;

use serde_json::Value;

/// The line of every value of a JSON text, by its path (`panels[3].targets[0].expr`).
#[derive(Debug)]
pub(crate) struct Places {
    lines: BTreeMap<String, u64>,
}

/// An open object or list: its path, and for a list the index of the next value.
type Open = (String, Option<usize>);

impl Places {
    /// `text` is valid JSON; of anything else the part before the mistake is known.
    pub(crate) fn of(text: &str) -> Self {
        let mut lines = BTreeMap::new();
        let mut stack: Vec<Open> = Vec::new();
        let mut key: Option<String> = None;
        let mut line = 1;
        let mut chars = text.char_indices().peekable();
        while let Some((at, c)) = chars.next() {
            match c {
                '\n' => line += 1,
                ',' => {
                    key = None;
                    if let Some((_, Some(index))) = stack.last_mut() {
                        *index += 1;
                    }
                }
                '}' | ']' => {
                    stack.pop();
                    key = None;
                }
                '"' => {
                    let mut end = at + 1;
                    let mut escaped = false;
                    for (i, c) in chars.by_ref() {
                        end = i;
                        match c {
                            _ if escaped => escaped = false,
                            '\\' => escaped = true,
                            '"' => break,
                            _ => {}
                        }
                    }
                    let names = matches!(stack.last(), Some((_, None))) && key.is_none();
                    if names {
                        let name = text.get(at..=end).unwrap_or_default();
                        key = Some(serde_json::from_str(name).unwrap_or_default());
                    }
                    lines.entry(path(&stack, key.as_deref())).or_insert(line);
                }
                '{' | '[' => {
                    let own = path(&stack, key.as_deref());
                    lines.entry(own.clone()).or_insert(line);
                    stack.push((own, (c == '[').then_some(0)));
                    key = None;
                }
                c if c.is_ascii_alphanumeric() || c == '-' => {
                    lines.entry(path(&stack, key.as_deref())).or_insert(line);
                    let more = |c: char| c.is_ascii_alphanumeric() || "+-.".contains(c);
                    while chars.next_if(|(_, c)| more(*c)).is_some() {}
                }
                _ => {}
            }
        }
        Self { lines }
    }

    /// 1-based; that of the closest value around it where there is none at the path itself, 0 for
    /// a path of nothing.
    pub(crate) fn line(&self, path: &str) -> u64 {
        let mut path = path;
        loop {
            if let Some(line) = self.lines.get(path) {
                return *line;
            }
            match path.rfind(['.', '[']) {
                Some(cut) => path = path.split_at(cut).0,
                None => return u64::from(!self.lines.is_empty()),
            }
        }
    }

    pub(crate) fn has(&self, path: &str) -> bool {
        self.lines.contains_key(path)
    }
}

fn path(stack: &[Open], key: Option<&str>) -> String {
    match (stack.last(), key) {
        (Some((outer, Some(index))), _) => format!("{outer}[{index}]"),
        (Some((outer, None)), Some(key)) if outer.is_empty() => key.to_owned(),
        (Some((outer, None)), Some(key)) => format!("{outer}.{key}"),
        _ => String::new(),
    }
}

/// A panel of a file of any generation.
#[derive(Debug)]
pub(crate) struct PanelPlace<'a> {
    pub path: String,
    pub id: Option<i64>,
    pub title: &'a str,
    pub json: &'a Value,
}

/// Every panel of a file, in its order, wherever the generation keeps them.
pub(crate) fn panel_places<'a>(value: &'a Value, path: &str, out: &mut Vec<PanelPlace<'a>>) {
    let Some(object) = value.as_object() else { return };
    let inside = |name: &str| match path {
        "" => name.to_owned(),
        outer => format!("{outer}.{name}"),
    };
    for name in ["dashboard", "spec"] {
        if let Some(inner) = object.get(name) {
            panel_places(inner, &inside(name), out);
        }
    }
    for (i, row) in object.get("rows").and_then(Value::as_array).into_iter().flatten().enumerate() {
        panel_places(row, &format!("{}[{i}]", inside("rows")), out);
    }
    for (i, p) in object.get("panels").and_then(Value::as_array).into_iter().flatten().enumerate() {
        let path = format!("{}[{i}]", inside("panels"));
        out.push(PanelPlace {
            id: p.get("id").and_then(Value::as_i64),
            title: p.get("title").and_then(Value::as_str).unwrap_or_default(),
            json: p,
            path: path.clone(),
        });
        panel_places(p, &path, out);
    }
    for (name, e) in object.get("elements").and_then(Value::as_object).into_iter().flatten() {
        let Some(spec) = e.get("spec") else { continue };
        out.push(PanelPlace {
            id: spec.get("id").and_then(Value::as_i64),
            title: spec.get("title").and_then(Value::as_str).unwrap_or_default(),
            json: spec,
            path: format!("{}.{name}.spec", inside("elements")),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_has_its_line() {
        let text =
            "{\n \"a\": [\n  1,\n  {\"b\\\"c\": \"x\\\\\", \"d\": null}\n ],\n \"e\": -1.5e+3\n}";
        let places = Places::of(text);
        let found: Vec<(&str, u64)> = places.lines.iter().map(|(p, l)| (p.as_str(), *l)).collect();
        let wanted = [("", 1), ("a", 2), ("a[0]", 3), ("a[1]", 4), ("a[1].b\"c", 4), ("a[1].d", 4)];
        assert_eq!(found, [wanted.as_slice(), &[("e", 6)]].concat());
        assert_eq!(places.line("a[1].none[3].x"), 4);
        assert_eq!(places.line("none"), 1);
    }

    #[test]
    fn text_that_is_no_json_does_no_harm() {
        for text in ["", "\"", "{\"a", "]]}", "{\"a\": [1, \u{e4}", ",,,[,"] {
            assert!(Places::of(text).line("a") <= 1);
        }
    }
}
