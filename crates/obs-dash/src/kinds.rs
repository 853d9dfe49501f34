//! The words of the model: kinds of panels and variables, languages of queries.

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
    StatusHistory,
    Logs,
    Traces,
    NodeGraph,
    Text,
    /// A kind that vm-obs draws as a table; kept for the way back.
    Other(String),
}

/// Each kind with its name in our JSON and in Grafana's.
const PANEL_KINDS: [(PanelKind, &str); 16] = [
    (PanelKind::Row, "row"),
    (PanelKind::TimeSeries, "timeseries"),
    (PanelKind::Stat, "stat"),
    (PanelKind::Gauge, "gauge"),
    (PanelKind::BarGauge, "bargauge"),
    (PanelKind::BarChart, "barchart"),
    (PanelKind::PieChart, "piechart"),
    (PanelKind::Table, "table"),
    (PanelKind::Heatmap, "heatmap"),
    (PanelKind::Histogram, "histogram"),
    (PanelKind::StateTimeline, "state-timeline"),
    (PanelKind::StatusHistory, "status-history"),
    (PanelKind::Logs, "logs"),
    (PanelKind::Traces, "traces"),
    (PanelKind::NodeGraph, "nodeGraph"),
    (PanelKind::Text, "text"),
];

/// Plugins that became kinds of their own, by their old names.
const OLD_PANEL_KINDS: [(&str, &str); 9] = [
    ("graph", "timeseries"),
    ("singlestat", "stat"),
    ("grafana-singlestat-panel", "stat"),
    ("grafana-piechart-panel", "piechart"),
    ("table-old", "table"),
    ("heatmap-new", "heatmap"),
    ("natel-discrete-panel", "state-timeline"),
    ("flant-statusmap-panel", "status-history"),
    ("graph-old", "timeseries"),
];

impl PanelKind {
    /// As our JSON and Grafana's write it.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Other(name) => name,
            known => PANEL_KINDS.iter().find(|(k, _)| k == known).map_or("", |(_, name)| name),
        }
    }

    /// Old names (`graph`, `singlestat`) mean their successors.
    pub fn from_name(name: &str) -> Self {
        let name = successor(name).unwrap_or(name);
        PANEL_KINDS
            .iter()
            .find(|(_, n)| *n == name)
            .map_or_else(|| Self::Other(name.to_owned()), |(kind, _)| kind.clone())
    }
}

/// What an old kind is called today; `None` for one that kept its name.
pub(crate) fn successor(name: &str) -> Option<&'static str> {
    OLD_PANEL_KINDS.iter().find(|(old, _)| *old == name).map(|(_, new)| *new)
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
    /// Labels to group by.
    GroupBy,
    /// One of two values.
    Switch,
}

const VARIABLE_KINDS: [(VariableKind, &str); 9] = [
    (VariableKind::Query, "query"),
    (VariableKind::Custom, "custom"),
    (VariableKind::Constant, "constant"),
    (VariableKind::TextBox, "textbox"),
    (VariableKind::Interval, "interval"),
    (VariableKind::DataSource, "datasource"),
    (VariableKind::AdHoc, "adhoc"),
    (VariableKind::GroupBy, "groupby"),
    (VariableKind::Switch, "switch"),
];

impl VariableKind {
    /// As our JSON and Grafana's write it.
    pub fn as_str(self) -> &'static str {
        VARIABLE_KINDS.iter().find(|(k, _)| *k == self).map_or("", |(_, name)| name)
    }

    pub fn from_name(name: &str) -> Option<Self> {
        VARIABLE_KINDS.iter().find(|(_, n)| *n == name).map(|(kind, _)| *kind)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Language {
    PromQl,
    LogQl,
    TraceQl,
    /// A data source that vm-obs does not speak, by its name.
    Other(String),
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
            "loki" | "victoriametrics-logs-datasource" => Self::LogQl,
            "tempo" => Self::TraceQl,
            other => Self::Other(other.to_owned()),
        }
    }

    /// The language that a data source of that name most likely speaks; `None` for a name that
    /// says nothing.
    pub(crate) fn guess(name: &str) -> Option<Self> {
        let name = name.to_ascii_lowercase();
        [("loki", Self::LogQl), ("tempo", Self::TraceQl), ("prometheus", Self::PromQl)]
            .into_iter()
            .find(|(word, _)| name.contains(word))
            .map(|(_, language)| language)
    }

    /// Whether vm-obs can ask it.
    pub fn is_known(&self) -> bool {
        !matches!(self, Self::Other(_))
    }
}
