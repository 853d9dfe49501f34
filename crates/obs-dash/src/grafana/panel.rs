use serde_json::Value;

use super::json::{
    flag, object, shape, small, take_flag, take_list, take_number, take_object, take_text, text,
};
use super::{Ids, PANELS_MAX, field, inputs, legacy, links_from, transformations_from};
use crate::DashError;
use crate::kinds::{Language, PanelKind, VariableKind};
use crate::model::{Extra, GridPosition, Panel, Query, Repeat, Variable};
use crate::notice::{Notice, NoticeKind};

/// What Grafana calls the source that shows another panel's answers.
const OTHER_PANEL: &str = "-- Dashboard --";

pub(super) struct Reader<'a> {
    variables: &'a [Variable],
    ids: Ids,
    count: usize,
    notices: &'a mut Vec<Notice>,
}

pub(super) fn largest_id(panels: &[Value]) -> i64 {
    let id = |p: &Value| {
        let inner = p.get("panels").and_then(Value::as_array).map_or(0, |p| largest_id(p));
        p.get("id").and_then(Value::as_i64).unwrap_or(0).max(inner)
    };
    panels.iter().map(id).max().unwrap_or(0)
}

impl<'a> Reader<'a> {
    pub(super) fn new(
        variables: &'a [Variable],
        id_max: i64,
        notices: &'a mut Vec<Notice>,
    ) -> Self {
        Self { variables, ids: Ids::above(id_max), count: 0, notices }
    }

    fn tell(&mut self, kind: NoticeKind, place: &str, text: impl Into<String>) {
        self.notices.push(Notice::new(kind, place, text));
    }

    pub(super) fn panel(&mut self, value: Value, place: &str) -> Result<Panel, DashError> {
        let Value::Object(mut p) = value else { return shape(place, "an object", &value) };
        self.count += 1;
        if self.count > PANELS_MAX {
            return Err(DashError::TooMany { what: "panels", count: self.count, max: PANELS_MAX });
        }
        if let Some(told) = legacy::migrate(&mut p) {
            self.tell(NoticeKind::OldPanel, place, told);
        }
        let kind = PanelKind::from_name(&text(&p, "type"));
        if p.contains_key("libraryPanel") && !p.contains_key("targets") {
            let told = "the panel lives in Grafana's library; the file has only its name";
            self.tell(NoticeKind::LibraryPanel, place, told);
        } else if let PanelKind::Other(name) = &kind {
            let told = format!("panels of kind {name:?} are shown as a table of their data");
            self.tell(NoticeKind::UnknownPanel, place, told);
        }
        p.remove("type");
        let wanted = p.remove("id").and_then(|v| v.as_i64()).unwrap_or(0);
        let id = self.ids.take(wanted);
        if wanted > 0 && id != wanted {
            self.tell(NoticeKind::RepeatedId, place, format!("panel id {wanted} is now {id}"));
        }
        let mut panel = Panel::new(id, kind, take_text(&mut p, "title"));
        panel.description = take_text(&mut p, "description");
        let grid = take_object(&mut p, "gridPos");
        panel.position = GridPosition {
            x: small(&grid, "x", 0).min(23),
            y: small(&grid, "y", 0),
            w: small(&grid, "w", 24).clamp(1, 24),
            h: small(&grid, "h", if panel.kind == PanelKind::Row { 1 } else { 8 }).max(1),
        };
        panel.field = field::read(take_object(&mut p, "fieldConfig"), place)?;
        panel.options = take_object(&mut p, "options");
        if panel.kind == PanelKind::Text {
            // Before Grafana 7 it lay in the panel itself.
            panel.text = match take_text(&mut panel.options, "content") {
                content if content.is_empty() => take_text(&mut p, "content"),
                content => content,
            };
        }
        panel.collapsed = take_flag(&mut p, "collapsed");
        panel.links = links_from(&take_list(&mut p, "links", place)?);
        panel.transformations = transformations_from(take_list(&mut p, "transformations", place)?);
        panel.repeat = repeat(&mut p);
        let source = p.get("datasource").cloned().unwrap_or(Value::Null);
        for (i, target) in take_list(&mut p, "targets", place)?.into_iter().enumerate() {
            let place = format!("{place}.targets[{i}]");
            let query = self.query(target, &place, &source, i)?;
            panel.queries.push(query);
        }
        drop_own_source(&mut p);
        for (i, inner) in take_list(&mut p, "panels", place)?.into_iter().enumerate() {
            panel.panels.push(self.panel(inner, &format!("{place}.panels[{i}]"))?);
        }
        panel.extra = p;
        Ok(panel)
    }

    fn query(
        &mut self,
        value: Value,
        place: &str,
        panel_source: &Value,
        index: usize,
    ) -> Result<Query, DashError> {
        let mut t = object(&value, place)?.clone();
        let own = t.get("datasource").filter(|d| !d.is_null());
        let source = own.unwrap_or(panel_source);
        let language = language(source, &t, self.variables);
        let panel_id = (uid_of(source) == OTHER_PANEL)
            .then(|| t.get("panelId").and_then(Value::as_i64))
            .flatten();
        let (first, second) =
            if language == Language::TraceQl { ("query", "expr") } else { ("expr", "query") };
        let mut expr = take_text(&mut t, first);
        if expr.is_empty() && language.is_known() {
            expr = take_text(&mut t, second);
        }
        if let (Language::Other(kind), false) = (&language, panel_id.is_some()) {
            let told = format!("data source {kind:?} is not one of vm-obs'");
            self.tell(NoticeKind::UnknownSource, place, told);
        }
        let ref_id = match take_text(&mut t, "refId") {
            id if id.is_empty() => letter(index),
            id => id,
        };
        // A target may ask for both; a series then says more.
        let instant =
            (flag(&t, "instant") || text(&t, "queryType") == "instant") && !flag(&t, "range");
        drop_own_source(&mut t);
        Ok(Query {
            ref_id,
            language,
            expr,
            legend: take_text(&mut t, "legendFormat"),
            instant,
            hidden: take_flag(&mut t, "hide"),
            interval: take_text(&mut t, "interval"),
            panel_id,
            extra: t,
        })
    }
}

fn repeat(p: &mut Extra) -> Option<Repeat> {
    let variable = take_text(p, "repeat");
    if variable.is_empty() {
        return None;
    }
    let columns_max = take_number(p, "maxPerRow").map(|n| n.clamp(1.0, 24.0) as u32);
    Some(Repeat { variable, vertical: take_text(p, "repeatDirection") == "v", columns_max })
}

fn uid_of(source: &Value) -> String {
    match source {
        Value::Object(o) => text(o, "uid"),
        Value::String(name) => name.clone(),
        _ => String::new(),
    }
}

/// A data source is a name, a variable, or an object with a type; without any of them the fields
/// of the target tell.
pub(super) fn language(source: &Value, target: &Extra, variables: &[Variable]) -> Language {
    let kind = source.as_object().map(|o| text(o, "type")).unwrap_or_default();
    let uid = uid_of(source);
    if uid == OTHER_PANEL {
        return Language::Other(OTHER_PANEL.to_owned());
    }
    if !kind.is_empty() && kind != "datasource" {
        return Language::from_datasource_type(&kind);
    }
    let name =
        uid.strip_prefix("${").and_then(|u| u.strip_suffix('}')).or_else(|| uid.strip_prefix('$'));
    if let Some(name) = name {
        let name = name.split(':').next().unwrap_or("");
        if let Some(kind) = name.strip_prefix("ds_").map(Language::from_datasource_type)
            && kind.is_known()
        {
            return kind;
        }
        let variable = variables.iter().find(|v| v.name == name);
        if let Some(v) = variable.filter(|v| v.kind == VariableKind::DataSource) {
            return Language::from_datasource_type(&v.query);
        }
    }
    match target.get("queryType").and_then(Value::as_str) {
        Some("traceql" | "traceqlSearch" | "traceId") => Language::TraceQl,
        _ => Language::guess(&uid).unwrap_or(Language::PromQl),
    }
}

/// Takes out a data source that the export would write itself.
pub(super) fn drop_own_source(from: &mut Extra) {
    let own = match from.get("datasource") {
        Some(Value::Null) => true,
        Some(Value::String(uid)) => is_own(uid, None),
        Some(Value::Object(o)) => {
            let language = Language::from_datasource_type(&text(o, "type"));
            o.keys().all(|k| k == "type" || k == "uid") && is_own(&text(o, "uid"), Some(&language))
        }
        _ => false,
    };
    if own {
        from.remove("datasource");
    }
}

fn is_own(uid: &str, language: Option<&Language>) -> bool {
    match language {
        Some(language) => language.is_known() && uid == inputs::own_source(language),
        None => [Language::PromQl, Language::LogQl, Language::TraceQl]
            .iter()
            .any(|l| uid == inputs::own_source(l)),
    }
}

/// An open row lies before its panels in the list; here it holds them.
pub(super) fn rows_own(panels: Vec<Panel>) -> Vec<Panel> {
    let mut out: Vec<Panel> = Vec::new();
    for panel in panels {
        let row = out.last_mut().filter(|r| r.kind == PanelKind::Row && !r.collapsed);
        match row {
            Some(row) if panel.kind != PanelKind::Row => row.panels.push(panel),
            _ => out.push(panel),
        }
    }
    out
}

/// A, B, … Z, then A1, B1, …
fn letter(index: usize) -> String {
    let name = char::from(b'A' + (index % 26) as u8);
    match index / 26 {
        0 => name.to_string(),
        round => format!("{name}{round}"),
    }
}
