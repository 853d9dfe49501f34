use std::collections::{BTreeMap, BTreeSet};

use obs_types::AttrValue;

use crate::TraceQlError;
use crate::ast::{
    Aggregate, Attribute, FieldExpr, FieldOp, Pipeline, Relation, ScalarExpr, SpansetExpr,
    SpansetOp, Stage, Static, StructuralMode,
};
use crate::field::Field;
use crate::value::{Value, fulfils};
use crate::view::TraceView;

/// Spans of one trace as ascending indices, with what by() and aggregates found out about them.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Set {
    pub(crate) spans: Vec<usize>,
    pub(crate) attributes: Vec<(String, AttrValue)>,
}

/// A [`Pipeline`] ready to run on many traces.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    stages: Vec<PlanStage>,
}

#[derive(Clone, Debug)]
enum PlanStage {
    Spanset(PlanSpanset),
    Scalar { name: String, aggregate: Aggregate, field: Option<Field>, op: FieldOp, value: Static },
    By { name: String, field: Field },
    Coalesce,
    Select,
}

#[derive(Clone, Debug)]
enum PlanSpanset {
    All,
    Filter(Field),
    Binary { op: SpansetOp, left: Box<PlanSpanset>, right: Box<PlanSpanset> },
    Pipeline(Plan),
}

impl Plan {
    pub(crate) fn new(pipeline: &Pipeline) -> Result<Self, TraceQlError> {
        let stages = pipeline.0.iter().map(PlanStage::new).collect::<Result<_, _>>()?;
        Ok(Self { stages })
    }

    /// The sets of spans that are left at the end; none is empty.
    pub(crate) fn run(&self, view: &TraceView<'_>) -> Vec<Set> {
        let all = Set { spans: (0..view.nodes.len()).collect(), attributes: Vec::new() };
        self.run_on(view, vec![all])
    }

    fn run_on(&self, view: &TraceView<'_>, mut sets: Vec<Set>) -> Vec<Set> {
        for stage in &self.stages {
            sets = stage.run(view, sets);
            sets.retain(|s| !s.spans.is_empty());
        }
        sets
    }
}

impl PlanStage {
    fn new(stage: &Stage) -> Result<Self, TraceQlError> {
        Ok(match stage {
            Stage::Spanset(e) => Self::Spanset(PlanSpanset::new(e)?),
            Stage::ScalarFilter { op, left, right } => {
                let (aggregate, op, value) = match (left, right) {
                    (a @ ScalarExpr::Aggregate { .. }, ScalarExpr::Static(s)) => (a, *op, s),
                    (ScalarExpr::Static(s), a @ ScalarExpr::Aggregate { .. }) => {
                        (a, op.flipped(), s)
                    }
                    _ => return Err(TraceQlError::Unsupported(stage.to_string())),
                };
                let ScalarExpr::Aggregate { op: function, field } = aggregate else {
                    return Err(TraceQlError::Unsupported(stage.to_string()));
                };
                Self::Scalar {
                    name: aggregate.to_string(),
                    aggregate: *function,
                    field: field.as_ref().map(Field::new).transpose()?,
                    op,
                    value: value.clone(),
                }
            }
            Stage::By(e) => Self::By { name: format!("by({e})"), field: Field::new(e)? },
            Stage::Coalesce => Self::Coalesce,
            Stage::Select(_) => Self::Select,
        })
    }

    fn run(&self, view: &TraceView<'_>, sets: Vec<Set>) -> Vec<Set> {
        match self {
            Self::Spanset(e) => sets.into_iter().map(|s| e.run(view, s)).collect(),
            Self::Scalar { name, aggregate, field, op, value } => sets
                .into_iter()
                .filter_map(|mut set| {
                    let result = aggregate_set(*aggregate, field.as_ref(), view, &set)?;
                    let order = match (&result, value) {
                        (
                            Value::Int(a) | Value::Duration(a),
                            Static::Int(b) | Static::Duration(b),
                        ) => a.cmp(b),
                        (a, b) => {
                            a.as_number()?.partial_cmp(&Value::from_static(b).as_number()?)?
                        }
                    };
                    if !fulfils(*op, order) {
                        return None;
                    }
                    set.attributes.extend(result.to_attr().map(|v| (name.clone(), v)));
                    Some(set)
                })
                .collect(),
            Self::By { name, field } => {
                let mut out = Vec::new();
                for set in sets {
                    let mut groups: BTreeMap<String, Set> = BTreeMap::new();
                    for i in &set.spans {
                        let value = field.eval(view, *i);
                        let group = groups.entry(value.group_key()).or_insert_with(|| {
                            let mut attributes = set.attributes.clone();
                            let value = value.to_attr().unwrap_or(AttrValue::Str("nil".into()));
                            attributes.push((name.clone(), value));
                            Set { spans: Vec::new(), attributes }
                        });
                        group.spans.push(*i);
                    }
                    out.extend(groups.into_values());
                }
                out
            }
            Self::Coalesce => {
                let spans: BTreeSet<usize> = sets.into_iter().flat_map(|s| s.spans).collect();
                vec![Set { spans: spans.into_iter().collect(), attributes: Vec::new() }]
            }
            Self::Select => sets,
        }
    }
}

/// `None` if no span of the set has the value. Durations stay durations.
fn aggregate_set<'a>(
    op: Aggregate,
    field: Option<&Field>,
    view: &TraceView<'_>,
    set: &Set,
) -> Option<Value<'a>> {
    let Some(field) = field else { return Some(Value::Int(set.spans.len() as i64)) };
    let mut values = Vec::new();
    let mut duration = false;
    for i in &set.spans {
        let value = field.eval(view, *i);
        duration |= matches!(value, Value::Duration(_));
        values.extend(value.as_number());
    }
    if values.is_empty() {
        return None;
    }
    let sum: f64 = values.iter().sum();
    let number = match op {
        Aggregate::Count => values.len() as f64,
        Aggregate::Sum => sum,
        Aggregate::Avg => sum / values.len() as f64,
        Aggregate::Min => values.iter().copied().fold(f64::INFINITY, f64::min),
        Aggregate::Max => values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
    };
    Some(if duration { Value::Duration(number as i64) } else { Value::Float(number) })
}

impl PlanSpanset {
    fn new(e: &SpansetExpr) -> Result<Self, TraceQlError> {
        Ok(match e {
            SpansetExpr::Filter(None) => Self::All,
            SpansetExpr::Filter(Some(e)) => Self::Filter(Field::new(e)?),
            SpansetExpr::Binary { op, left, right } => Self::Binary {
                op: *op,
                left: Box::new(Self::new(left)?),
                right: Box::new(Self::new(right)?),
            },
            SpansetExpr::Pipeline(p) => Self::Pipeline(Plan::new(p)?),
        })
    }

    fn run(&self, view: &TraceView<'_>, set: Set) -> Set {
        match self {
            Self::All => set,
            Self::Filter(field) => {
                let Set { mut spans, attributes } = set;
                spans.retain(|i| field.eval(view, *i).is_true());
                Set { spans, attributes }
            }
            Self::Binary { op, left, right } => {
                let attributes = set.attributes.clone();
                let l = left.run(view, set.clone()).spans;
                let r = right.run(view, set).spans;
                let spans = match op {
                    SpansetOp::And if l.is_empty() || r.is_empty() => Vec::new(),
                    SpansetOp::And | SpansetOp::Or => union(l, r),
                    SpansetOp::Structural { relation, mode } => {
                        structural(view, *relation, *mode, &l, &r)
                    }
                };
                Set { spans, attributes }
            }
            Self::Pipeline(plan) => {
                let attributes = set.attributes.clone();
                let sets = plan.run_on(view, vec![set]);
                let spans: BTreeSet<usize> = sets.into_iter().flat_map(|s| s.spans).collect();
                Set { spans: spans.into_iter().collect(), attributes }
            }
        }
    }
}

fn union(left: Vec<usize>, right: Vec<usize>) -> Vec<usize> {
    let mut spans = left;
    spans.extend(right);
    spans.sort_unstable();
    spans.dedup();
    spans
}

/// Linear in the spans, but for `n log n` of sorting.
fn structural(
    view: &TraceView<'_>,
    relation: Relation,
    mode: StructuralMode,
    left: &[usize],
    right: &[usize],
) -> Vec<usize> {
    let hits = related(view, relation, left, right);
    match mode {
        StructuralMode::Plain => hits,
        StructuralMode::Negated => {
            right.iter().copied().filter(|i| hits.binary_search(i).is_err()).collect()
        }
        StructuralMode::Union => {
            let inverse = match relation {
                Relation::Child => Relation::Parent,
                Relation::Parent => Relation::Child,
                Relation::Descendant => Relation::Ancestor,
                Relation::Ancestor => Relation::Descendant,
                Relation::Sibling => Relation::Sibling,
            };
            union(related(view, inverse, right, left), hits)
        }
    }
}

/// The spans of `right` that stand in the relation to some span of `left`; ascending.
fn related(
    view: &TraceView<'_>,
    relation: Relation,
    left: &[usize],
    right: &[usize],
) -> Vec<usize> {
    let keep = |fits: &dyn Fn(usize) -> bool| right.iter().copied().filter(|i| fits(*i)).collect();
    match relation {
        Relation::Child => {
            let parents: BTreeSet<usize> = left.iter().copied().collect();
            keep(&|i| view.node(i).parent.is_some_and(|p| parents.contains(&p)))
        }
        Relation::Parent => {
            let parents: BTreeSet<usize> =
                left.iter().filter_map(|i| view.node(*i).parent).collect();
            keep(&|i| parents.contains(&i))
        }
        Relation::Descendant => {
            // Intervals nest, so of those that begin before a span it is enough to know the
            // furthest end.
            let mut intervals: Vec<(i64, i64)> =
                left.iter().map(|i| (view.node(*i).left, view.node(*i).right)).collect();
            intervals.sort_unstable();
            let mut furthest = i64::MIN;
            for interval in &mut intervals {
                furthest = furthest.max(interval.1);
                interval.1 = furthest;
            }
            keep(&|i| {
                let node = view.node(i);
                let before = intervals.partition_point(|(l, _)| *l < node.left);
                before
                    .checked_sub(1)
                    .and_then(|at| intervals.get(at))
                    .is_some_and(|(_, r)| *r > node.right)
            })
        }
        Relation::Ancestor => {
            let mut lefts: Vec<i64> = left.iter().map(|i| view.node(*i).left).collect();
            lefts.sort_unstable();
            keep(&|i| {
                let node = view.node(i);
                let after = lefts.partition_point(|l| *l <= node.left);
                lefts.get(after).is_some_and(|l| *l < node.right)
            })
        }
        Relation::Sibling => {
            let mut counts: BTreeMap<usize, usize> = BTreeMap::new();
            for i in left {
                if let Some(p) = view.node(*i).parent {
                    *counts.entry(p).or_default() += 1;
                }
            }
            let mine: BTreeSet<usize> = left.iter().copied().collect();
            keep(&|i| {
                let count = view.node(i).parent.and_then(|p| counts.get(&p)).copied().unwrap_or(0);
                count > usize::from(mine.contains(&i))
            })
        }
    }
}

/// Every attribute that the pipeline reads or selects, each once, in order of appearance.
pub(crate) fn attributes_read(pipeline: &Pipeline) -> Vec<Attribute> {
    let mut out = Vec::new();
    stages_read(&pipeline.0, &mut out);
    out
}

fn stages_read(stages: &[Stage], out: &mut Vec<Attribute>) {
    for stage in stages {
        match stage {
            Stage::Spanset(e) => spanset_read(e, out),
            Stage::ScalarFilter { left, right, .. } => {
                for side in [left, right] {
                    if let ScalarExpr::Aggregate { field: Some(e), .. } = side {
                        field_read(e, out);
                    }
                }
            }
            Stage::By(e) => field_read(e, out),
            Stage::Coalesce => {}
            Stage::Select(attributes) => attributes.iter().for_each(|a| add(a, out)),
        }
    }
}

fn add(attribute: &Attribute, out: &mut Vec<Attribute>) {
    if !out.contains(attribute) {
        out.push(attribute.clone());
    }
}

fn spanset_read(e: &SpansetExpr, out: &mut Vec<Attribute>) {
    match e {
        SpansetExpr::Filter(None) => {}
        SpansetExpr::Filter(Some(e)) => field_read(e, out),
        SpansetExpr::Binary { left, right, .. } => {
            spanset_read(left, out);
            spanset_read(right, out);
        }
        SpansetExpr::Pipeline(p) => stages_read(&p.0, out),
    }
}

fn field_read(e: &FieldExpr, out: &mut Vec<Attribute>) {
    match e {
        FieldExpr::Static(_) => {}
        FieldExpr::Attribute(a) => add(a, out),
        FieldExpr::Unary { operand, .. } => field_read(operand, out),
        FieldExpr::Binary { left, right, .. } => {
            field_read(left, out);
            field_read(right, out);
        }
    }
}
