//! The shape of a query.

use obs_types::Matcher;

/// A whole query.
#[derive(Clone, Debug, PartialEq)]
pub enum Expr {
    /// Gives log lines.
    Log(LogExpr),
    /// Gives numbers.
    Metric(MetricExpr),
}

/// A selector and what happens to each line, in order.
#[derive(Clone, Debug, PartialEq)]
pub struct LogExpr {
    pub matchers: Vec<Matcher>,
    pub stages: Vec<Stage>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Stage {
    LineFilter(LineFilter),
    Json(Vec<Extraction>),
    Logfmt { strict: bool, keep_empty: bool, extractions: Vec<Extraction> },
    Regexp(String),
    Pattern(String),
    Unpack,
    LabelFilter(LabelFilter),
    LineFormat(String),
    LabelFormat(Vec<LabelFormat>),
    Decolorize,
    Drop(Vec<NamedMatcher>),
    Keep(Vec<NamedMatcher>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineFilterOp {
    /// `|=`
    Contains,
    /// `!=`
    NotContains,
    /// `|~`
    Regex,
    /// `!~`
    NotRegex,
    /// `|>`
    Pattern,
    /// `!>`
    NotPattern,
}

/// `|= "a" or "b"`: a line passes if any term matches; negative operators pass if none does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LineFilter {
    pub op: LineFilterOp,
    pub terms: Vec<LineTerm>,
}

/// What one line filter looks for: a text, or with `ip(…)` an address, range or network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LineTerm {
    pub text: String,
    pub ip: bool,
}

/// `name="path"` of `json` and `logfmt`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extraction {
    pub label: String,
    pub path: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CompareOp {
    Equal,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
}

#[derive(Clone, Debug, PartialEq)]
pub enum LabelFilter {
    Matcher(Matcher),
    Number {
        label: String,
        op: CompareOp,
        value: f64,
    },
    /// Nanoseconds.
    Duration {
        label: String,
        op: CompareOp,
        value: i64,
    },
    Bytes {
        label: String,
        op: CompareOp,
        value: u64,
    },
    Ip(IpFilter),
    And(Box<LabelFilter>, Box<LabelFilter>),
    Or(Box<LabelFilter>, Box<LabelFilter>),
}

/// `addr = ip("10.0.0.0/8")`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IpFilter {
    pub label: String,
    pub negated: bool,
    pub pattern: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelFormat {
    pub label: String,
    pub value: LabelFormatValue,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LabelFormatValue {
    /// `new=old`
    Rename(String),
    /// `new="{{.old}}"`
    Template(String),
}

/// An operand of `drop` and `keep`: a name, or a matcher that must hold as well.
#[derive(Clone, Debug, PartialEq)]
pub enum NamedMatcher {
    Name(String),
    Matcher(Matcher),
}

#[derive(Clone, Debug, PartialEq)]
pub enum MetricExpr {
    Range(RangeAggregation),
    Vector(VectorAggregation),
    Binary(Box<BinaryExpr>),
    LabelReplace(Box<LabelReplace>),
    Literal(f64),
    /// `vector(n)`
    Constant(f64),
}

/// A selector with pipeline over a window that ends `offset_ns` before the evaluation time.
#[derive(Clone, Debug, PartialEq)]
pub struct LogRange {
    pub log: LogExpr,
    pub range_ns: i64,
    pub offset_ns: i64,
    pub unwrap: Option<Unwrap>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Unwrap {
    pub label: String,
    pub conversion: Option<Conversion>,
    /// Label filters after the unwrap; all must hold.
    pub filters: Vec<LabelFilter>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conversion {
    Bytes,
    Duration,
    DurationSeconds,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RangeOp {
    Count,
    Rate,
    RateCounter,
    Bytes,
    BytesRate,
    Avg,
    Sum,
    Min,
    Max,
    Stdvar,
    Stddev,
    Quantile,
    First,
    Last,
    Absent,
}

#[derive(Clone, Debug, PartialEq)]
pub struct RangeAggregation {
    pub op: RangeOp,
    /// Of `quantile_over_time`.
    pub parameter: Option<f64>,
    pub range: LogRange,
    pub grouping: Option<Grouping>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grouping {
    pub without: bool,
    pub labels: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VectorOp {
    Sum,
    Avg,
    Count,
    Max,
    Min,
    Stddev,
    Stdvar,
    BottomK,
    TopK,
    Sort,
    SortDesc,
    ApproxTopK,
}

#[derive(Clone, Debug, PartialEq)]
pub struct VectorAggregation {
    pub op: VectorOp,
    /// The k of `topk`, `bottomk` and `approx_topk`; 0 otherwise.
    pub parameter: usize,
    pub inner: Box<MetricExpr>,
    pub grouping: Option<Grouping>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BinaryOp {
    Or,
    And,
    Unless,
    Add,
    Sub,
    Mul,
    Div,
    Mod,
    Pow,
    Compare(CompareOp),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cardinality {
    OneToOne,
    /// `group_left`
    ManyToOne,
    /// `group_right`
    OneToMany,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VectorMatching {
    pub cardinality: Cardinality,
    /// `on` rather than `ignoring`.
    pub on: bool,
    pub labels: Vec<String>,
    /// Labels that `group_left` or `group_right` copies from the "one" side.
    pub include: Vec<String>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct BinaryExpr {
    pub op: BinaryOp,
    pub left: MetricExpr,
    pub right: MetricExpr,
    pub return_bool: bool,
    pub matching: VectorMatching,
}

#[derive(Clone, Debug, PartialEq)]
pub struct LabelReplace {
    pub inner: MetricExpr,
    pub destination: String,
    pub replacement: String,
    pub source: String,
    pub regex: String,
}

impl VectorMatching {
    pub(crate) fn plain() -> Self {
        Self {
            cardinality: Cardinality::OneToOne,
            on: false,
            labels: Vec::new(),
            include: Vec::new(),
        }
    }
}

impl LineFilterOp {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Contains => "|=",
            Self::NotContains => "!=",
            Self::Regex => "|~",
            Self::NotRegex => "!~",
            Self::Pattern => "|>",
            Self::NotPattern => "!>",
        }
    }

    pub fn is_negative(self) -> bool {
        matches!(self, Self::NotContains | Self::NotRegex | Self::NotPattern)
    }
}

impl CompareOp {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Equal => "==",
            Self::NotEqual => "!=",
            Self::Less => "<",
            Self::LessEqual => "<=",
            Self::Greater => ">",
            Self::GreaterEqual => ">=",
        }
    }

    pub(crate) fn holds<T: PartialOrd>(self, left: T, right: T) -> bool {
        match self {
            Self::Equal => left == right,
            Self::NotEqual => left != right,
            Self::Less => left < right,
            Self::LessEqual => left <= right,
            Self::Greater => left > right,
            Self::GreaterEqual => left >= right,
        }
    }
}

impl Conversion {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Bytes => "bytes",
            Self::Duration => "duration",
            Self::DurationSeconds => "duration_seconds",
        }
    }
}

impl RangeOp {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Count => "count_over_time",
            Self::Rate => "rate",
            Self::RateCounter => "rate_counter",
            Self::Bytes => "bytes_over_time",
            Self::BytesRate => "bytes_rate",
            Self::Avg => "avg_over_time",
            Self::Sum => "sum_over_time",
            Self::Min => "min_over_time",
            Self::Max => "max_over_time",
            Self::Stdvar => "stdvar_over_time",
            Self::Stddev => "stddev_over_time",
            Self::Quantile => "quantile_over_time",
            Self::First => "first_over_time",
            Self::Last => "last_over_time",
            Self::Absent => "absent_over_time",
        }
    }
}

impl VectorOp {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sum => "sum",
            Self::Avg => "avg",
            Self::Count => "count",
            Self::Max => "max",
            Self::Min => "min",
            Self::Stddev => "stddev",
            Self::Stdvar => "stdvar",
            Self::BottomK => "bottomk",
            Self::TopK => "topk",
            Self::Sort => "sort",
            Self::SortDesc => "sort_desc",
            Self::ApproxTopK => "approx_topk",
        }
    }

    pub(crate) fn takes_parameter(self) -> bool {
        matches!(self, Self::BottomK | Self::TopK | Self::ApproxTopK)
    }
}

impl BinaryOp {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Or => "or",
            Self::And => "and",
            Self::Unless => "unless",
            Self::Add => "+",
            Self::Sub => "-",
            Self::Mul => "*",
            Self::Div => "/",
            Self::Mod => "%",
            Self::Pow => "^",
            Self::Compare(op) => op.as_str(),
        }
    }

    pub fn is_set(self) -> bool {
        matches!(self, Self::Or | Self::And | Self::Unless)
    }

    /// Higher binds tighter.
    pub(crate) fn precedence(self) -> u8 {
        match self {
            Self::Or => 1,
            Self::And | Self::Unless => 2,
            Self::Compare(_) => 3,
            Self::Add | Self::Sub => 4,
            Self::Mul | Self::Div | Self::Mod => 5,
            Self::Pow => 6,
        }
    }
}
