//! Operators and aggregations: their names and what their grammar says of them.

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AggregateOp {
    Avg,
    Bottomk,
    Count,
    CountValues,
    Group,
    Limitk,
    LimitRatio,
    Max,
    Min,
    Quantile,
    Stddev,
    Stdvar,
    Sum,
    Topk,
    /// Of the MetricsQL dialect.
    Extra(ExtraAggregate),
}

/// Aggregations that MetricsQL has beyond PromQL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ExtraAggregate {
    Any,
    Distinct,
    Geomean,
    Histogram,
    Mad,
    Median,
    Mode,
    Sum2,
    Share,
    Zscore,
    Outliersk,
    OutliersIqr,
    OutliersMad,
    /// The `k` series that rank highest (`top`) or lowest over the whole range.
    Ranked {
        top: bool,
        by: RankBy,
    },
}

/// What ranks whole series.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RankBy {
    Avg,
    Last,
    Max,
    Median,
    Min,
}

/// `(name, aggregation)`.
const EXTRA: [(&str, ExtraAggregate); 23] = {
    use ExtraAggregate::*;
    const fn ranked(top: bool, by: RankBy) -> ExtraAggregate {
        Ranked { top, by }
    }
    [
        ("any", Any),
        ("distinct", Distinct),
        ("geomean", Geomean),
        ("histogram", Histogram),
        ("mad", Mad),
        ("median", Median),
        ("mode", Mode),
        ("sum2", Sum2),
        ("share", Share),
        ("zscore", Zscore),
        ("outliersk", Outliersk),
        ("outliers_iqr", OutliersIqr),
        ("outliers_mad", OutliersMad),
        ("topk_avg", ranked(true, RankBy::Avg)),
        ("topk_last", ranked(true, RankBy::Last)),
        ("topk_max", ranked(true, RankBy::Max)),
        ("topk_median", ranked(true, RankBy::Median)),
        ("topk_min", ranked(true, RankBy::Min)),
        ("bottomk_avg", ranked(false, RankBy::Avg)),
        ("bottomk_last", ranked(false, RankBy::Last)),
        ("bottomk_max", ranked(false, RankBy::Max)),
        ("bottomk_median", ranked(false, RankBy::Median)),
        ("bottomk_min", ranked(false, RankBy::Min)),
    ]
};

impl ExtraAggregate {
    /// Looks an aggregation up by its name in lower case.
    pub(crate) fn from_word(word: &str) -> Option<Self> {
        EXTRA.iter().find(|(name, _)| *name == word).map(|(_, op)| *op)
    }

    fn as_str(self) -> &'static str {
        EXTRA.iter().find(|(_, op)| *op == self).map_or("", |(name, _)| name)
    }

    fn takes_param(self) -> bool {
        matches!(self, Self::Outliersk | Self::OutliersMad | Self::Ranked { .. })
    }
}

impl AggregateOp {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Avg => "avg",
            Self::Bottomk => "bottomk",
            Self::Count => "count",
            Self::CountValues => "count_values",
            Self::Group => "group",
            Self::Limitk => "limitk",
            Self::LimitRatio => "limit_ratio",
            Self::Max => "max",
            Self::Min => "min",
            Self::Quantile => "quantile",
            Self::Stddev => "stddev",
            Self::Stdvar => "stdvar",
            Self::Sum => "sum",
            Self::Topk => "topk",
            Self::Extra(op) => op.as_str(),
        }
    }

    pub(crate) fn from_word(word: &str) -> Option<Self> {
        Some(match word.to_ascii_lowercase().as_str() {
            "avg" => Self::Avg,
            "bottomk" => Self::Bottomk,
            "count" => Self::Count,
            "count_values" => Self::CountValues,
            "group" => Self::Group,
            "limitk" => Self::Limitk,
            "limit_ratio" => Self::LimitRatio,
            "max" => Self::Max,
            "min" => Self::Min,
            "quantile" => Self::Quantile,
            "stddev" => Self::Stddev,
            "stdvar" => Self::Stdvar,
            "sum" => Self::Sum,
            "topk" => Self::Topk,
            _ => return None,
        })
    }

    pub fn takes_param(self) -> bool {
        if let Self::Extra(op) = self {
            return op.takes_param();
        }
        matches!(
            self,
            Self::Topk
                | Self::Bottomk
                | Self::CountValues
                | Self::Quantile
                | Self::Limitk
                | Self::LimitRatio
        )
    }

    pub fn is_experimental(self) -> bool {
        matches!(self, Self::Limitk | Self::LimitRatio)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BinaryOp {
    Add,
    Sub,
    Mul,
    Div,
    Mod,
    Pow,
    Atan2,
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    /// `</`: keep the observations below a value.
    TrimUpper,
    /// `>/`: keep the observations above a value.
    TrimLower,
    And,
    Or,
    Unless,
    /// MetricsQL: fills gaps of the left side.
    Default,
    /// MetricsQL: keeps the left side where the right side has a value.
    If,
    /// MetricsQL: keeps the left side where the right side has none.
    IfNot,
}

impl BinaryOp {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Add => "+",
            Self::Sub => "-",
            Self::Mul => "*",
            Self::Div => "/",
            Self::Mod => "%",
            Self::Pow => "^",
            Self::Atan2 => "atan2",
            Self::Eq => "==",
            Self::Ne => "!=",
            Self::Lt => "<",
            Self::Le => "<=",
            Self::Gt => ">",
            Self::Ge => ">=",
            Self::TrimUpper => "</",
            Self::TrimLower => ">/",
            Self::And => "and",
            Self::Or => "or",
            Self::Unless => "unless",
            Self::Default => "default",
            Self::If => "if",
            Self::IfNot => "ifnot",
        }
    }

    /// Higher binds tighter.
    pub(crate) fn precedence(self) -> u8 {
        match self {
            Self::Default => 1,
            Self::If | Self::IfNot => 2,
            Self::Or => 3,
            Self::And | Self::Unless => 4,
            Self::Eq
            | Self::Ne
            | Self::Lt
            | Self::Le
            | Self::Gt
            | Self::Ge
            | Self::TrimUpper
            | Self::TrimLower => 5,
            Self::Add | Self::Sub => 6,
            Self::Mul | Self::Div | Self::Mod | Self::Atan2 => 7,
            Self::Pow => 8,
        }
    }

    pub fn is_comparison(self) -> bool {
        matches!(self, Self::Eq | Self::Ne | Self::Lt | Self::Le | Self::Gt | Self::Ge)
    }

    pub fn is_set(self) -> bool {
        matches!(self, Self::And | Self::Or | Self::Unless)
    }

    /// Whether the result is the left side, with gaps filled or made (MetricsQL).
    pub fn is_conditional(self) -> bool {
        matches!(self, Self::Default | Self::If | Self::IfNot)
    }

    /// Whether the result is another quantity, so that the metric name no longer fits.
    pub(crate) fn changes_schema(self) -> bool {
        matches!(
            self,
            Self::Add | Self::Sub | Self::Mul | Self::Div | Self::Mod | Self::Pow | Self::Atan2
        )
    }
}
