//! How the values of a panel are shown: unit, limits, thresholds, mappings, overrides.

use serde_json::Value;

use crate::model::{Extra, Link};

#[derive(Clone, Debug, Default, PartialEq)]
pub struct FieldConfig {
    /// Grafana's name, such as `bytes`, `s`, `percentunit`; empty for plain numbers.
    pub unit: String,
    /// Digits after the point; `None` for what the value needs.
    pub decimals: Option<u32>,
    pub min: Option<f64>,
    pub max: Option<f64>,
    /// A name in place of the series' own; may hold `${__field.labels.x}`.
    pub display_name: String,
    pub thresholds: Thresholds,
    /// The first that matches gives the text and colour of a value.
    pub mappings: Vec<Mapping>,
    pub links: Vec<Link>,
    /// How it is drawn, by Grafana's names: `lineWidth`, `fillOpacity`, `stacking`,
    /// `axisPlacement` and so on.
    pub custom: Extra,
    /// In order; a later one wins.
    pub overrides: Vec<Override>,
    /// More of the defaults, such as `color`.
    pub extra: Extra,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Thresholds {
    /// Values are percent between `min` and `max`, not the field's own.
    pub percentage: bool,
    /// Ascending; the first has no value and is the colour below all others.
    pub steps: Vec<Threshold>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Threshold {
    /// `None` for the base.
    pub value: Option<f64>,
    pub color: String,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Mapping {
    pub when: When,
    pub shown: Shown,
}

impl Mapping {
    /// As Grafana writes them; also what an override holds.
    pub fn from_grafana(items: &[Value]) -> Vec<Self> {
        crate::grafana::mappings_from(items)
    }
}

/// What a mapping applies to.
#[derive(Clone, Debug, PartialEq)]
pub enum When {
    /// The value written out is this text.
    Value(String),
    /// Both ends belong to it; `None` is without end.
    Range(Option<f64>, Option<f64>),
    /// The text of the value matches, `/…/` with flags or without.
    Regex(String),
    /// `null`, `nan`, `null+nan`, `true`, `false`, `empty`.
    Special(String),
}

/// What stands in place of a value; `None` leaves that part as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shown {
    pub text: Option<String>,
    pub color: Option<String>,
    pub index: Option<i64>,
}

/// Settings of some fields that win over the panel's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Override {
    pub matcher: FieldMatcher,
    /// Names such as `unit` and `custom.lineWidth` with their values, in order.
    pub properties: Vec<(String, Value)>,
    pub extra: Extra,
}

/// Which fields an override is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FieldMatcher {
    Name(String),
    Regex(String),
    Type(String),
    /// All fields of the query of that letter.
    FrameRefId(String),
    /// Another matcher of Grafana's, by its name, with its options.
    Other(String, Value),
}

impl Default for FieldMatcher {
    fn default() -> Self {
        Self::Name(String::new())
    }
}

impl FieldMatcher {
    /// Grafana's name of the matcher.
    pub fn id(&self) -> &str {
        match self {
            Self::Name(_) => "byName",
            Self::Regex(_) => "byRegexp",
            Self::Type(_) => "byType",
            Self::FrameRefId(_) => "byFrameRefID",
            Self::Other(id, _) => id,
        }
    }

    pub(crate) fn options(&self) -> Value {
        match self {
            Self::Name(o) | Self::Regex(o) | Self::Type(o) | Self::FrameRefId(o) => {
                Value::String(o.clone())
            }
            Self::Other(_, options) => options.clone(),
        }
    }

    pub(crate) fn new(id: &str, options: Value) -> Self {
        match (id, options) {
            ("byName", Value::String(o)) => Self::Name(o),
            ("byRegexp", Value::String(o)) => Self::Regex(o),
            ("byType", Value::String(o)) => Self::Type(o),
            ("byFrameRefID", Value::String(o)) => Self::FrameRefId(o),
            (other, options) => Self::Other(other.to_owned(), options),
        }
    }
}
