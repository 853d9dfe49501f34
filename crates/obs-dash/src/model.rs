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
    /// In reading order. A row is a panel of kind [`PanelKind::Row`] that holds the panels after
    /// it.
    pub panels: Vec<Panel>,
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

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum VariableKind {
    /// Values from a query, such as `label_values(up, instance)`.
    #[default]
    Query,
    /// A list of values separated by commas.
    Custom,
    /// One fixed value.
    Constant,
    /// Free text.
    TextBox,
    /// A list of durations.
    Interval,
    /// A data source; vm-obs has one of each kind.
    DataSource,
    /// Label filters made on the page.
    AdHoc,
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
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PanelKind {
    Row,
    TimeSeries,
    Stat,
    Gauge,
    BarGauge,
    BarChart,
    PieChart,
    Table,
    Heatmap,
    Histogram,
    StateTimeline,
    Logs,
    Traces,
    Text,
    /// A kind that vm-obs draws as a table; kept for the way back.
    Other(String),
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
    /// Grafana's name, such as `bytes`, `s`, `percentunit`; empty for plain numbers.
    pub unit: String,
    pub min: Option<f64>,
    pub max: Option<f64>,
    /// Ascending; the first has no value and is the colour below all others.
    pub thresholds: Vec<Threshold>,
    pub queries: Vec<Query>,
    /// Of a text panel.
    pub text: String,
    /// Rows only: whether the panels of the row are folded away.
    pub collapsed: bool,
    /// Rows only: the panels that belong to it.
    pub panels: Vec<Panel>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Threshold {
    /// `None` for the base.
    pub value: Option<f64>,
    pub color: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Language {
    PromQl,
    LogQl,
    TraceQl,
    /// A data source that vm-obs does not speak, by its name.
    Other(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    pub ref_id: String,
    pub language: Language,
    pub expr: String,
    /// With `{{label}}` parts; empty for the labels.
    pub legend: String,
    /// One value at the end of the range instead of a series.
    pub instant: bool,
    /// Asked for but not drawn.
    pub hidden: bool,
    /// Least step, such as `1m`; empty for what fits the page.
    pub interval: String,
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
            unit: String::new(),
            min: None,
            max: None,
            thresholds: Vec::new(),
            queries: Vec::new(),
            text: String::new(),
            collapsed: false,
            panels: Vec::new(),
        }
    }
}

impl PanelKind {
    /// As our JSON and Grafana's write it.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Row => "row",
            Self::TimeSeries => "timeseries",
            Self::Stat => "stat",
            Self::Gauge => "gauge",
            Self::BarGauge => "bargauge",
            Self::BarChart => "barchart",
            Self::PieChart => "piechart",
            Self::Table => "table",
            Self::Heatmap => "heatmap",
            Self::Histogram => "histogram",
            Self::StateTimeline => "state-timeline",
            Self::Logs => "logs",
            Self::Traces => "traces",
            Self::Text => "text",
            Self::Other(name) => name,
        }
    }

    /// Old names (`graph`, `singlestat`) mean their successors.
    pub fn from_name(name: &str) -> Self {
        match name {
            "row" => Self::Row,
            "timeseries" | "graph" => Self::TimeSeries,
            "stat" | "singlestat" | "grafana-singlestat-panel" => Self::Stat,
            "gauge" => Self::Gauge,
            "bargauge" => Self::BarGauge,
            "barchart" => Self::BarChart,
            "piechart" | "grafana-piechart-panel" => Self::PieChart,
            "table" | "table-old" => Self::Table,
            "heatmap" => Self::Heatmap,
            "histogram" => Self::Histogram,
            "state-timeline" | "status-history" => Self::StateTimeline,
            "logs" => Self::Logs,
            "traces" => Self::Traces,
            "text" => Self::Text,
            other => Self::Other(other.to_owned()),
        }
    }
}

impl VariableKind {
    /// As our JSON and Grafana's write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Query => "query",
            Self::Custom => "custom",
            Self::Constant => "constant",
            Self::TextBox => "textbox",
            Self::Interval => "interval",
            Self::DataSource => "datasource",
            Self::AdHoc => "adhoc",
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "query" => Self::Query,
            "custom" => Self::Custom,
            "constant" => Self::Constant,
            "textbox" => Self::TextBox,
            "interval" => Self::Interval,
            "datasource" => Self::DataSource,
            "adhoc" => Self::AdHoc,
            _ => return None,
        })
    }
}

impl Language {
    pub fn as_str(&self) -> &str {
        match self {
            Self::PromQl => "promql",
            Self::LogQl => "logql",
            Self::TraceQl => "traceql",
            Self::Other(name) => name,
        }
    }

    pub fn from_name(name: &str) -> Self {
        match name {
            "promql" => Self::PromQl,
            "logql" => Self::LogQl,
            "traceql" => Self::TraceQl,
            other => Self::Other(other.to_owned()),
        }
    }

    /// Grafana's type of the data source.
    pub fn datasource_type(&self) -> &str {
        match self {
            Self::PromQl => "prometheus",
            Self::LogQl => "loki",
            Self::TraceQl => "tempo",
            Self::Other(name) => name,
        }
    }

    pub fn from_datasource_type(name: &str) -> Self {
        match name {
            "prometheus"
            | "victoriametrics-datasource"
            | "victoriametrics-metrics-datasource"
            | "grafana-amazonprometheus-datasource"
            | "grafana-azureprometheus-datasource" => Self::PromQl,
            "loki" => Self::LogQl,
            "tempo" => Self::TraceQl,
            other => Self::Other(other.to_owned()),
        }
    }
}
