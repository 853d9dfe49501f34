//! Our own JSON: the shape packs are written in. Missing fields take their defaults, unknown
//! fields are an error that names them. Mappings, overrides, transformations, links, `options` and
//! `custom` are in Grafana's words; `grafana` holds what was imported and has no use here.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::field::{FieldConfig, Threshold, Thresholds};
use crate::grafana::{
    links_from, links_to, mappings_from, mappings_to, overrides_from, overrides_to,
    transformations_from, transformations_to,
};
use crate::kinds::{Language, PanelKind, VariableKind};
use crate::model::{
    Annotation, Dashboard, Extra, GridPosition, Panel, Query, Repeat, TimeRange, Variable,
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
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    annotations: Vec<AnnotationFile>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    links: Vec<Value>,
    panels: Vec<PanelFile>,
    #[serde(default, skip_serializing_if = "Extra::is_empty")]
    grafana: Extra,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct AnnotationFile {
    name: String,
    #[serde(default)]
    enabled: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    hidden: bool,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    color: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    language: Option<String>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    expr: String,
    #[serde(default, skip_serializing_if = "Extra::is_empty")]
    grafana: Extra,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct RepeatFile {
    variable: String,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    vertical: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    columns_max: Option<u32>,
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
    #[serde(default, skip_serializing_if = "Extra::is_empty")]
    grafana: Extra,
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
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    thresholds_percent: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    decimals: Option<u32>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    display_name: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    mappings: Vec<Value>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    value_links: Vec<Value>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    overrides: Vec<Value>,
    #[serde(default, skip_serializing_if = "Extra::is_empty")]
    custom: Extra,
    #[serde(default, skip_serializing_if = "Extra::is_empty")]
    options: Extra,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    transformations: Vec<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    repeat: Option<RepeatFile>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    links: Vec<Value>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    queries: Vec<QueryFile>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    text: String,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    collapsed: bool,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    panels: Vec<PanelFile>,
    #[serde(default, skip_serializing_if = "Extra::is_empty")]
    grafana: Extra,
    /// Of the field defaults.
    #[serde(default, skip_serializing_if = "Extra::is_empty")]
    grafana_field: Extra,
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
    #[serde(default, skip_serializing_if = "Option::is_none")]
    panel_id: Option<i64>,
    #[serde(default, skip_serializing_if = "Extra::is_empty")]
    grafana: Extra,
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
                wanted: "query, custom, constant, textbox, interval, datasource, adhoc, groupby or switch",
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
                extra: v.grafana,
            });
        }
        let annotations = file.annotations.into_iter().map(annotation_in).collect();
        let panels = file.panels.into_iter().map(|p| panel_in(p, &mut ids)).collect();
        Ok(Self {
            title: file.title,
            uid: file.uid,
            description: file.description,
            tags: file.tags,
            time: TimeRange { from: file.time.from, to: file.time.to },
            refresh: file.refresh,
            variables,
            annotations,
            links: links_from(&file.links),
            panels,
            extra: file.grafana,
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
            annotations: self.annotations.iter().map(annotation_out).collect(),
            links: values(links_to(&self.links)),
            panels: self.panels.iter().map(panel_out).collect(),
            grafana: self.extra.clone(),
        };
        Ok(serde_json::to_string_pretty(&file)?)
    }
}

fn values(list: Value) -> Vec<Value> {
    match list {
        Value::Array(all) => all,
        _ => Vec::new(),
    }
}

fn annotation_in(a: AnnotationFile) -> Annotation {
    Annotation {
        name: a.name,
        enabled: a.enabled,
        hidden: a.hidden,
        color: a.color,
        language: a.language.map(|l| Language::from_name(&l)),
        expr: a.expr,
        extra: a.grafana,
    }
}

fn annotation_out(a: &Annotation) -> AnnotationFile {
    AnnotationFile {
        name: a.name.clone(),
        enabled: a.enabled,
        hidden: a.hidden,
        color: a.color.clone(),
        language: a.language.as_ref().map(|l| l.as_str().to_owned()),
        expr: a.expr.clone(),
        grafana: a.extra.clone(),
    }
}

fn field_in(p: &mut PanelFile) -> FieldConfig {
    let steps = std::mem::take(&mut p.thresholds);
    FieldConfig {
        unit: std::mem::take(&mut p.unit),
        decimals: p.decimals,
        min: p.min,
        max: p.max,
        display_name: std::mem::take(&mut p.display_name),
        thresholds: Thresholds {
            percentage: p.thresholds_percent,
            steps: steps
                .into_iter()
                .map(|t| Threshold { value: t.value, color: t.color })
                .collect(),
        },
        mappings: mappings_from(&p.mappings),
        links: links_from(&p.value_links),
        custom: std::mem::take(&mut p.custom),
        overrides: overrides_from(std::mem::take(&mut p.overrides)),
        extra: std::mem::take(&mut p.grafana_field),
    }
}

fn panel_in(mut p: PanelFile, ids: &mut grafana::Ids) -> Panel {
    Panel {
        id: ids.take(p.id),
        kind: PanelKind::from_name(&p.kind),
        field: field_in(&mut p),
        title: p.title,
        description: p.description,
        position: GridPosition {
            x: p.position.x,
            y: p.position.y,
            w: p.position.w,
            h: p.position.h,
        },
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
                panel_id: q.panel_id,
                extra: q.grafana,
            })
            .collect(),
        transformations: transformations_from(p.transformations),
        options: p.options,
        text: p.text,
        repeat: p.repeat.map(|r| Repeat {
            variable: r.variable,
            vertical: r.vertical,
            columns_max: r.columns_max,
        }),
        links: links_from(&p.links),
        collapsed: p.collapsed,
        panels: p.panels.into_iter().map(|p| panel_in(p, ids)).collect(),
        extra: p.grafana,
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
        grafana: v.extra.clone(),
    }
}

fn panel_out(p: &Panel) -> PanelFile {
    let GridPosition { x, y, w, h } = p.position;
    let f = &p.field;
    let threshold = |t: &Threshold| ThresholdFile { value: t.value, color: t.color.clone() };
    PanelFile {
        id: p.id,
        kind: p.kind.as_str().to_owned(),
        title: p.title.clone(),
        description: p.description.clone(),
        position: GridFile { x, y, w, h },
        unit: f.unit.clone(),
        min: f.min,
        max: f.max,
        thresholds: f.thresholds.steps.iter().map(threshold).collect(),
        thresholds_percent: f.thresholds.percentage,
        decimals: f.decimals,
        display_name: f.display_name.clone(),
        mappings: values(mappings_to(&f.mappings)),
        value_links: values(links_to(&f.links)),
        overrides: values(overrides_to(&f.overrides)),
        custom: f.custom.clone(),
        options: p.options.clone(),
        transformations: values(transformations_to(&p.transformations)),
        repeat: p.repeat.as_ref().map(|r| RepeatFile {
            variable: r.variable.clone(),
            vertical: r.vertical,
            columns_max: r.columns_max,
        }),
        links: values(links_to(&p.links)),
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
                panel_id: q.panel_id,
                grafana: q.extra.clone(),
            })
            .collect(),
        text: p.text.clone(),
        collapsed: p.collapsed,
        panels: p.panels.iter().map(panel_out).collect(),
        grafana: p.extra.clone(),
        grafana_field: f.extra.clone(),
    }
}
