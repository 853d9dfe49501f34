//! Our own JSON: the shape packs are written in. Missing fields take their defaults, unknown
//! fields are an error that names them.

use serde::{Deserialize, Serialize};

use crate::model::{
    Dashboard, GridPosition, Language, Panel, PanelKind, Query, Threshold, TimeRange, Variable,
    VariableKind,
};
use crate::{DashError, grafana};

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct DashboardFile {
    title: String,
    #[serde(default)]
    uid: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    description: String,
    #[serde(default)]
    tags: Vec<String>,
    #[serde(default)]
    time: TimeFile,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    refresh: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    variables: Vec<VariableFile>,
    panels: Vec<PanelFile>,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct TimeFile {
    from: String,
    to: String,
}

impl Default for TimeFile {
    fn default() -> Self {
        let TimeRange { from, to } = TimeRange::default();
        Self { from, to }
    }
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct VariableFile {
    name: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    label: String,
    kind: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    query: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    regex: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    current: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    options: Vec<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    multi: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    include_all: bool,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    all_value: String,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    hidden: bool,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct PanelFile {
    #[serde(default)]
    id: i64,
    kind: String,
    #[serde(default)]
    title: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    description: String,
    position: GridFile,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    unit: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    min: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    max: Option<f64>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    thresholds: Vec<ThresholdFile>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    queries: Vec<QueryFile>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    text: String,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    collapsed: bool,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    panels: Vec<PanelFile>,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct GridFile {
    x: u32,
    y: u32,
    w: u32,
    h: u32,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct ThresholdFile {
    #[serde(default)]
    value: Option<f64>,
    color: String,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct QueryFile {
    #[serde(default)]
    ref_id: String,
    language: String,
    expr: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    legend: String,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    instant: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    hidden: bool,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    interval: String,
}

impl Dashboard {
    /// Reads our own JSON.
    pub fn from_json(text: &str) -> Result<Self, DashError> {
        let file: DashboardFile = serde_json::from_str(text)?;
        let mut ids = grafana::Ids::default();
        let mut variables = Vec::new();
        for (i, v) in file.variables.into_iter().enumerate() {
            let kind = VariableKind::from_name(&v.kind).ok_or_else(|| DashError::Shape {
                place: format!("variables[{i}].kind"),
                wanted: "query, custom, constant, textbox, interval, datasource or adhoc",
                found: "another word",
            })?;
            variables.push(Variable {
                name: v.name,
                label: v.label,
                kind,
                query: v.query,
                regex: v.regex,
                current: v.current,
                options: v.options,
                multi: v.multi,
                include_all: v.include_all,
                all_value: v.all_value,
                hidden: v.hidden,
            });
        }
        let panels = file.panels.into_iter().map(|p| panel_in(p, &mut ids)).collect();
        Ok(Self {
            title: file.title,
            uid: file.uid,
            description: file.description,
            tags: file.tags,
            time: TimeRange { from: file.time.from, to: file.time.to },
            refresh: file.refresh,
            variables,
            panels,
        })
    }

    /// Our own JSON, indented; reading it gives an equal dashboard.
    pub fn to_json(&self) -> Result<String, DashError> {
        let file = DashboardFile {
            title: self.title.clone(),
            uid: self.uid.clone(),
            description: self.description.clone(),
            tags: self.tags.clone(),
            time: TimeFile { from: self.time.from.clone(), to: self.time.to.clone() },
            refresh: self.refresh.clone(),
            variables: self.variables.iter().map(variable_out).collect(),
            panels: self.panels.iter().map(panel_out).collect(),
        };
        Ok(serde_json::to_string_pretty(&file)?)
    }
}

fn panel_in(p: PanelFile, ids: &mut grafana::Ids) -> Panel {
    Panel {
        id: ids.take(p.id),
        kind: PanelKind::from_name(&p.kind),
        title: p.title,
        description: p.description,
        position: GridPosition {
            x: p.position.x,
            y: p.position.y,
            w: p.position.w,
            h: p.position.h,
        },
        unit: p.unit,
        min: p.min,
        max: p.max,
        thresholds: p
            .thresholds
            .into_iter()
            .map(|t| Threshold { value: t.value, color: t.color })
            .collect(),
        queries: p
            .queries
            .into_iter()
            .map(|q| Query {
                ref_id: q.ref_id,
                language: Language::from_name(&q.language),
                expr: q.expr,
                legend: q.legend,
                instant: q.instant,
                hidden: q.hidden,
                interval: q.interval,
            })
            .collect(),
        text: p.text,
        collapsed: p.collapsed,
        panels: p.panels.into_iter().map(|p| panel_in(p, ids)).collect(),
    }
}

fn variable_out(v: &Variable) -> VariableFile {
    VariableFile {
        name: v.name.clone(),
        label: v.label.clone(),
        kind: v.kind.as_str().to_owned(),
        query: v.query.clone(),
        regex: v.regex.clone(),
        current: v.current.clone(),
        options: v.options.clone(),
        multi: v.multi,
        include_all: v.include_all,
        all_value: v.all_value.clone(),
        hidden: v.hidden,
    }
}

fn panel_out(p: &Panel) -> PanelFile {
    let GridPosition { x, y, w, h } = p.position;
    PanelFile {
        id: p.id,
        kind: p.kind.as_str().to_owned(),
        title: p.title.clone(),
        description: p.description.clone(),
        position: GridFile { x, y, w, h },
        unit: p.unit.clone(),
        min: p.min,
        max: p.max,
        thresholds: p
            .thresholds
            .iter()
            .map(|t| ThresholdFile { value: t.value, color: t.color.clone() })
            .collect(),
        queries: p
            .queries
            .iter()
            .map(|q| QueryFile {
                ref_id: q.ref_id.clone(),
                language: q.language.as_str().to_owned(),
                expr: q.expr.clone(),
                legend: q.legend.clone(),
                instant: q.instant,
                hidden: q.hidden,
                interval: q.interval.clone(),
            })
            .collect(),
        text: p.text.clone(),
        collapsed: p.collapsed,
        panels: p.panels.iter().map(panel_out).collect(),
    }
}
