use obs_types::{AttrScope, SpanKind, StatusCode};

/// A parsed query with its trailing `with(…)` hints.
#[derive(Clone, Debug, PartialEq)]
pub struct Query {
    pub body: QueryBody,
    pub hints: Vec<Hint>,
}

/// `name=value` inside `with(…)`.
#[derive(Clone, Debug, PartialEq)]
pub struct Hint {
    pub name: String,
    pub value: Static,
}

/// A query either finds spans or makes time series.
#[derive(Clone, Debug, PartialEq)]
pub enum QueryBody {
    Search(Pipeline),
    Metrics(MetricsExpr),
}

/// Stages separated by `|`; each takes and gives the sets of spans of one trace. Never empty.
#[derive(Clone, Debug, PartialEq)]
pub struct Pipeline(pub Vec<Stage>);

#[derive(Clone, Debug, PartialEq)]
pub enum Stage {
    Spanset(SpansetExpr),
    /// `count() > 2`: keeps the sets whose aggregate fulfils the comparison.
    ScalarFilter {
        op: FieldOp,
        left: ScalarExpr,
        right: ScalarExpr,
    },
    /// `by(expr)`: splits each set by the expression's value.
    By(FieldExpr),
    /// `coalesce()`: joins the sets of a trace again.
    Coalesce,
    /// `select(a, b)`: attributes to return with each span.
    Select(Vec<Attribute>),
}

#[derive(Clone, Debug, PartialEq)]
pub enum SpansetExpr {
    /// `{ … }`; `None` for `{}`, which keeps everything.
    Filter(Option<FieldExpr>),
    Binary {
        op: SpansetOp,
        left: Box<SpansetExpr>,
        right: Box<SpansetExpr>,
    },
    /// `( … | … )`
    Pipeline(Pipeline),
}

/// How two sets of spans of one trace combine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpansetOp {
    And,
    Or,
    Structural { relation: Relation, mode: StructuralMode },
}

/// What a right-hand span is to a left-hand span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relation {
    /// `>`
    Child,
    /// `<`
    Parent,
    /// `>>`
    Descendant,
    /// `<<`
    Ancestor,
    /// `~`
    Sibling,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StructuralMode {
    /// Right-hand spans that stand in the relation to some left-hand span.
    Plain,
    /// `!>`: right-hand spans that stand in the relation to no left-hand span.
    Negated,
    /// `&>`: both partners of every pair.
    Union,
}

/// The spans of one set lowered to one number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aggregate {
    Count,
    Avg,
    Min,
    Max,
    Sum,
}

#[derive(Clone, Debug, PartialEq)]
pub enum ScalarExpr {
    Static(Static),
    /// `field` is `None` for `count()` only.
    Aggregate {
        op: Aggregate,
        field: Option<FieldExpr>,
    },
    Binary {
        op: FieldOp,
        left: Box<ScalarExpr>,
        right: Box<ScalarExpr>,
    },
    /// `({…} | count())`
    Pipeline {
        pipeline: Pipeline,
        aggregate: Box<ScalarExpr>,
    },
}

/// A literal.
#[derive(Clone, Debug, PartialEq)]
pub enum Static {
    Nil,
    Int(i64),
    Float(f64),
    Str(String),
    Bool(bool),
    /// Nanoseconds.
    Duration(i64),
    Status(StatusCode),
    Kind(SpanKind),
}

/// What a span, its trace, event, link or scope says without an attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Intrinsic {
    Duration,
    Name,
    Status,
    StatusMessage,
    Kind,
    ChildCount,
    SpanId,
    ParentId,
    RootName,
    RootService,
    TraceDuration,
    TraceId,
    NestedSetLeft,
    NestedSetRight,
    NestedSetParent,
    EventName,
    EventTimeSinceStart,
    LinkTraceId,
    LinkSpanId,
    InstrumentationName,
    InstrumentationVersion,
    /// The parent span itself; parsed, not evaluated.
    Parent,
}

/// Something that can be read from a span.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attribute {
    Intrinsic(Intrinsic),
    /// `parent` is set for `parent.x`, which is parsed and not evaluated.
    Named {
        scope: AttrScope,
        parent: bool,
        name: String,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnaryOp {
    Not,
    Negate,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldOp {
    And,
    Or,
    Equal,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
    Regex,
    NotRegex,
    Add,
    Sub,
    Mul,
    Div,
    Mod,
    Pow,
}

/// What stands inside `{ … }`, evaluated per span.
#[derive(Clone, Debug, PartialEq)]
pub enum FieldExpr {
    Static(Static),
    Attribute(Attribute),
    Unary { op: UnaryOp, operand: Box<FieldExpr> },
    Binary { op: FieldOp, left: Box<FieldExpr>, right: Box<FieldExpr> },
}

#[derive(Clone, Debug, PartialEq)]
pub enum MetricsExpr {
    /// `spans | function by(…)`
    Function { spans: Pipeline, function: MetricsFunction, by: Vec<Attribute> },
    /// `input | topk(count)` or `bottomk`.
    Rank { input: Box<MetricsExpr>, bottom: bool, count: i64 },
    /// `input > value`: drops the samples that do not fulfil it.
    Filter { input: Box<MetricsExpr>, op: FieldOp, value: Static },
    /// Arithmetic; one side may be a [`MetricsExpr::Scalar`].
    Binary { op: FieldOp, left: Box<MetricsExpr>, right: Box<MetricsExpr> },
    /// Only as one side of `Binary`.
    Scalar(Static),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OverTime {
    Min,
    Max,
    Avg,
    Sum,
}

#[derive(Clone, Debug, PartialEq)]
pub enum MetricsFunction {
    Rate,
    CountOverTime,
    OverTime {
        op: OverTime,
        attribute: Attribute,
    },
    QuantileOverTime {
        attribute: Attribute,
        quantiles: Vec<f64>,
    },
    HistogramOverTime {
        attribute: Attribute,
    },
    /// Attribute values of the spans that match `selection` against those of the others.
    Compare {
        selection: SpansetExpr,
        /// Values returned per attribute.
        top: Option<i64>,
        /// Nanoseconds; the selection holds only spans that start in `[start, end)`.
        window: Option<(i64, i64)>,
    },
}

impl FieldOp {
    pub fn is_comparison(self) -> bool {
        matches!(
            self,
            Self::Equal
                | Self::NotEqual
                | Self::Less
                | Self::LessEqual
                | Self::Greater
                | Self::GreaterEqual
                | Self::Regex
                | Self::NotRegex
        )
    }

    pub fn is_arithmetic(self) -> bool {
        matches!(self, Self::Add | Self::Sub | Self::Mul | Self::Div | Self::Mod | Self::Pow)
    }

    /// The operator that gives the same answer with its sides exchanged.
    pub(crate) fn flipped(self) -> Self {
        match self {
            Self::Less => Self::Greater,
            Self::LessEqual => Self::GreaterEqual,
            Self::Greater => Self::Less,
            Self::GreaterEqual => Self::LessEqual,
            other => other,
        }
    }
}

impl Attribute {
    /// Where a [`obs_types::TraceSource`] looks for it, and under which name.
    pub fn scope_and_name(&self) -> (AttrScope, &str) {
        match self {
            Self::Intrinsic(i) => (AttrScope::Intrinsic, i.source_name()),
            Self::Named { scope, name, .. } => (*scope, name),
        }
    }

    /// `service.name` for `resource.service.name`: the key of an answer.
    pub fn key(&self) -> &str {
        self.scope_and_name().1
    }
}

impl Intrinsic {
    /// As the query language writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Duration => "duration",
            Self::Name => "name",
            Self::Status => "status",
            Self::StatusMessage => "statusMessage",
            Self::Kind => "kind",
            Self::ChildCount => "span:childCount",
            Self::SpanId => "span:id",
            Self::ParentId => "span:parentID",
            Self::RootName => "rootName",
            Self::RootService => "rootServiceName",
            Self::TraceDuration => "traceDuration",
            Self::TraceId => "trace:id",
            Self::NestedSetLeft => "nestedSetLeft",
            Self::NestedSetRight => "nestedSetRight",
            Self::NestedSetParent => "nestedSetParent",
            Self::EventName => "event:name",
            Self::EventTimeSinceStart => "event:timeSinceStart",
            Self::LinkTraceId => "link:traceID",
            Self::LinkSpanId => "link:spanID",
            Self::InstrumentationName => "instrumentation:name",
            Self::InstrumentationVersion => "instrumentation:version",
            Self::Parent => "parent",
        }
    }

    /// The name under which conditions and tag values mean it; the same as [`Self::as_str`].
    pub fn source_name(self) -> &'static str {
        self.as_str()
    }

    pub(crate) fn from_plain(word: &str) -> Option<Self> {
        Some(match word {
            "duration" => Self::Duration,
            "name" => Self::Name,
            "status" => Self::Status,
            "statusMessage" => Self::StatusMessage,
            "kind" => Self::Kind,
            "childCount" => Self::ChildCount,
            "rootName" => Self::RootName,
            "rootServiceName" => Self::RootService,
            "traceDuration" => Self::TraceDuration,
            "nestedSetLeft" => Self::NestedSetLeft,
            "nestedSetRight" => Self::NestedSetRight,
            "nestedSetParent" => Self::NestedSetParent,
            "parent" => Self::Parent,
            _ => return None,
        })
    }

    pub(crate) fn from_scoped(scope: &str, word: &str) -> Option<Self> {
        Some(match (scope, word) {
            ("trace", "duration") => Self::TraceDuration,
            ("trace", "rootName") => Self::RootName,
            ("trace", "rootService") => Self::RootService,
            ("trace", "id") => Self::TraceId,
            ("span", "duration") => Self::Duration,
            ("span", "name") => Self::Name,
            ("span", "kind") => Self::Kind,
            ("span", "status") => Self::Status,
            ("span", "statusMessage") => Self::StatusMessage,
            ("span", "id") => Self::SpanId,
            ("span", "parentID") => Self::ParentId,
            ("span", "childCount") => Self::ChildCount,
            ("event", "name") => Self::EventName,
            ("event", "timeSinceStart") => Self::EventTimeSinceStart,
            ("link", "traceID") => Self::LinkTraceId,
            ("link", "spanID") => Self::LinkSpanId,
            ("instrumentation", "name") => Self::InstrumentationName,
            ("instrumentation", "version") => Self::InstrumentationVersion,
            _ => return None,
        })
    }
}
