use serde_json::Value;

use crate::field::FieldConfig;
use crate::kinds::{Language, PanelKind, VariableKind};

/// Fields of Grafana's JSON that vm-obs has no use for; kept as they are for the way back.
pub type Extra = serde_json::Map<String, Value>;

/// A page of panels.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Dashboard {
    pub title: String,
    /// Names the dashboard in URLs; empty if it has none yet.
    pub uid: String,
    pub description: String,
    pub tags: Vec<String>,
    /// What is shown when the page is opened.
    pub time: TimeRange,
    /// Such as `30s`; empty for no refresh.
    pub refresh: String,
    pub variables: Vec<Variable>,
    pub annotations: Vec<Annotation>,
    pub links: Vec<Link>,
    /// In reading order. A row is a panel of kind [`PanelKind::Row`] that holds the panels after
    /// it.
    pub panels: Vec<Panel>,
    pub extra: Extra,
}

/// Expressions such as `now-1h` and `now`, or RFC 3339 instants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimeRange {
    pub from: String,
    pub to: String,
}

impl Default for TimeRange {
    fn default() -> Self {
        Self { from: "now-1h".to_owned(), to: "now".to_owned() }
    }
}

/// A `$name` that queries may contain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Variable {
    pub name: String,
    pub label: String,
    pub kind: VariableKind,
    /// What the values come from; its meaning follows from the kind.
    pub query: String,
    pub regex: String,
    /// The chosen values.
    pub current: Vec<String>,
    /// The values on offer, where they are listed.
    pub options: Vec<String>,
    pub multi: bool,
    pub include_all: bool,
    /// What "All" stands for; empty for a regex of all values.
    pub all_value: String,
    pub hidden: bool,
    pub extra: Extra,
}

/// Events that are marked on every chart of the page.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Annotation {
    pub name: String,
    pub enabled: bool,
    pub hidden: bool,
    pub color: String,
    /// `None` for a source of events that is no query, such as Grafana's own.
    pub language: Option<Language>,
    pub expr: String,
    pub extra: Extra,
}

/// A way from a dashboard or a panel to another page.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Link {
    pub title: String,
    pub url: String,
    pub extra: Extra,
}

/// In a grid of 24 columns; a row of the grid is about 30 pixels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GridPosition {
    pub x: u32,
    pub y: u32,
    pub w: u32,
    pub h: u32,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Panel {
    /// Unique in the dashboard.
    pub id: i64,
    pub kind: PanelKind,
    pub title: String,
    pub description: String,
    pub position: GridPosition,
    pub field: FieldConfig,
    pub queries: Vec<Query>,
    /// What is done to the answers before they are drawn, in order.
    pub transformations: Vec<Transformation>,
    /// Options of the kind by Grafana's names, such as `reduceOptions` and `legend`.
    pub options: Extra,
    /// Of a text panel.
    pub text: String,
    pub repeat: Option<Repeat>,
    pub links: Vec<Link>,
    /// Rows only: whether the panels of the row are folded away.
    pub collapsed: bool,
    /// Rows only: the panels that belong to it.
    pub panels: Vec<Panel>,
    pub extra: Extra,
}

/// One copy of the panel for each value of a variable.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Repeat {
    pub variable: String,
    /// Copies go below one another, not beside.
    pub vertical: bool,
    /// How many copies stand beside one another; `None` for what fits.
    pub columns_max: Option<u32>,
}

/// A step such as `organize` or `joinByField`, by Grafana's name, with its options.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Transformation {
    pub id: String,
    pub disabled: bool,
    pub options: Value,
    pub extra: Extra,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    pub ref_id: String,
    pub language: Language,
    /// Empty for a target that asks nothing yet.
    pub expr: String,
    /// With `{{label}}` parts; empty for the labels.
    pub legend: String,
    /// One value at the end of the range instead of a series.
    pub instant: bool,
    /// Asked for but not drawn.
    pub hidden: bool,
    /// Least step, such as `1m`; empty for what fits the page.
    pub interval: String,
    /// Shows the answers of that panel instead of asking.
    pub panel_id: Option<i64>,
    pub extra: Extra,
}

impl Dashboard {
    /// Every panel with its place, rows before their panels.
    pub fn all_panels(&self) -> Vec<&Panel> {
        fn add<'a>(panels: &'a [Panel], out: &mut Vec<&'a Panel>) {
            for p in panels {
                out.push(p);
                add(&p.panels, out);
            }
        }
        let mut out = Vec::new();
        add(&self.panels, &mut out);
        out
    }
}

impl Panel {
    pub fn new(id: i64, kind: PanelKind, title: impl Into<String>) -> Self {
        Self {
            id,
            kind,
            title: title.into(),
            description: String::new(),
            position: GridPosition::default(),
            field: FieldConfig::default(),
            queries: Vec::new(),
            transformations: Vec::new(),
            options: Extra::new(),
            text: String::new(),
            repeat: None,
            links: Vec::new(),
            collapsed: false,
            panels: Vec::new(),
            extra: Extra::new(),
        }
    }
}

impl Query {
    pub fn new(ref_id: impl Into<String>, language: Language, expr: impl Into<String>) -> Self {
        Self {
            ref_id: ref_id.into(),
            language,
            expr: expr.into(),
            legend: String::new(),
            instant: false,
            hidden: false,
            interval: String::new(),
            panel_id: None,
            extra: Extra::new(),
        }
    }
}
