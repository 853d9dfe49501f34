//! What a query will do: the prepared tree with types, time ranges, estimated series, and how each
//! part is evaluated. Nothing is read but the index, and what stands behind `@` where that is
//! computed from series.

use obs_types::{QueryContext, SeriesSource, TimeRangeMs, TimestampMs};

use crate::ast::*;
use crate::eval::{Evaluator, Steps};
use crate::functions::sliding::slides;
use crate::text::quote;
use crate::tree::{list, string};
use crate::{Engine, EngineError};

/// One node of a prepared query; children in the order of the text.
#[derive(Clone, Debug, PartialEq)]
pub struct Explanation {
    /// `aggregation`, `binary`, `call`, `instant selector`, `range selector`, `subquery`,
    /// `number`, `string`, `unary`, `parentheses`, `once`.
    pub node: &'static str,
    /// The node's part of the query in canonical form.
    pub text: String,
    pub value_type: ValueType,
    /// How often it is evaluated, and the first and last evaluation time, milliseconds.
    pub evaluations: usize,
    pub first_ms: i64,
    pub last_ms: i64,
    /// How it is evaluated and what is passed down; whole sentences without a full stop.
    pub notes: Vec<String>,
    /// Of selectors.
    pub selector: Option<ExplainedSelector>,
    pub children: Vec<Explanation>,
}

/// What a selector asks of the source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExplainedSelector {
    /// `name="value"` and its kin; they are looked up in the index.
    pub matchers: Vec<String>,
    /// First and last millisecond of the data that is read, both included.
    pub from_ms: i64,
    pub to_ms: i64,
    /// The window of a range selector, the lookback of an instant one.
    pub window_ms: i64,
    /// The function that consumes the samples, by which a source may answer from aggregates.
    pub function: Option<&'static str>,
    /// Series that the index has for the matchers and the time range.
    pub series: usize,
}

impl Engine {
    /// Explains a query at an instant (`step_ms` 0, `start` = `end`) or over a range. `Err` as for
    /// running it where it cannot be parsed or prepared, or the index cannot be read.
    pub fn explain(
        &self,
        source: &dyn SeriesSource,
        query: &str,
        (start, end, step_ms): (TimestampMs, TimestampMs, i64),
        context: &QueryContext,
    ) -> Result<Explanation, EngineError> {
        let expr = self.parse(query)?;
        let range = self.query_range(start.0, end.0, step_ms);
        let prepared = self.prepared(source, &expr, range, context)?;
        let steps = Steps { start: start.0, end: end.0.max(start.0), step: range.step.max(1) };
        let evaluator = Evaluator::new(self.options(), source, context);
        Explainer { evaluator }.node(&prepared, steps, None)
    }
}

struct Explainer<'a> {
    evaluator: Evaluator<'a>,
}

impl Explainer<'_> {
    fn node(
        &self,
        e: &Expr,
        steps: Steps,
        function: Option<&'static str>,
    ) -> Result<Explanation, EngineError> {
        let mut out = Explanation {
            node: "",
            text: e.to_string(),
            value_type: e.value_type(),
            evaluations: steps.count(),
            first_ms: steps.start,
            last_ms: steps.start + (steps.count().saturating_sub(1)) as i64 * steps.step,
            notes: Vec::new(),
            selector: None,
            children: Vec::new(),
        };
        let mut inner = steps;
        let mut hint = None;
        match &e.kind {
            ExprKind::Aggregate(a) => {
                out.node = "aggregation";
                out.notes.push(match a.op {
                    AggregateOp::Topk | AggregateOp::Bottomk => {
                        "the groups are settled once, ranking is done at every step".to_owned()
                    }
                    _ => "the groups are settled once, series add to them one by one".to_owned(),
                });
            }
            ExprKind::Binary(b) => {
                out.node = "binary";
                if b.matching.is_some()
                    && b.lhs.value_type() == ValueType::Vector
                    && b.rhs.value_type() == ValueType::Vector
                {
                    out.notes.push("which series meet is settled once".to_owned());
                }
            }
            ExprKind::Call(c) => {
                out.node = "call";
                hint = Some(c.func.name);
                if let Some(ranged) = c.args.iter().find(|a| a.value_type() == ValueType::Matrix) {
                    let extended = matches!(&ranged.kind, ExprKind::Matrix(m)
                        if m.selector.anchored || m.selector.smoothed);
                    out.notes.push(if slides(c.func.name) && !extended {
                        "windows of floats slide; those with histograms are evaluated one by one"
                            .to_owned()
                    } else {
                        "every window is evaluated by itself".to_owned()
                    });
                }
            }
            ExprKind::Matrix(m) => {
                out.node = "range selector";
                let span = self.evaluator.range_span(m, steps);
                let window = m.range.millis();
                out.selector = Some(self.selector(&m.selector, span, window, function)?);
            }
            ExprKind::Vector(v) => {
                out.node = "instant selector";
                let span = self.evaluator.instant_span(v, steps);
                let function = function.filter(|f| matches!(*f, "timestamp" | "start_timestamp"));
                let lookback = self.evaluator.options.lookback_ms;
                out.selector = Some(self.selector(v, span, lookback, function)?);
            }
            ExprKind::Subquery(s) => {
                out.node = "subquery";
                inner = self.evaluator.subquery_steps(s, steps);
                out.notes.push("evaluated once over all windows".to_owned());
            }
            ExprKind::StepInvariant(_) => {
                out.node = "once";
                inner = Steps { end: steps.start, ..steps };
                hint = function;
                out.notes.push("the same at every step, so evaluated at the first".to_owned());
            }
            ExprKind::Number(_) => out.node = "number",
            ExprKind::String(_) => out.node = "string",
            ExprKind::Paren(_) => {
                out.node = "parentheses";
                hint = function;
            }
            ExprKind::Unary(_) => out.node = "unary",
        }
        for child in e.children() {
            out.children.push(self.node(child, inner, hint)?);
        }
        Ok(out)
    }

    fn selector(
        &self,
        v: &VectorSelector,
        (from_ms, to_ms): (i64, i64),
        window_ms: i64,
        function: Option<&'static str>,
    ) -> Result<ExplainedSelector, EngineError> {
        let ev = &self.evaluator;
        let range = TimeRangeMs::new(TimestampMs(from_ms), TimestampMs(to_ms.saturating_add(1)));
        let series = ev.source.series(std::slice::from_ref(&v.matchers), range, ev.context)?;
        let matchers = v.matchers.iter();
        Ok(ExplainedSelector {
            matchers: matchers
                .map(|m| format!("{}{}{}", m.name(), m.op(), quote(m.value())))
                .collect(),
            from_ms,
            to_ms,
            window_ms,
            function,
            series: series.len(),
        })
    }
}

impl Explanation {
    /// Series that all selectors of the tree read together; one that is read twice counts twice.
    pub fn series(&self) -> usize {
        let own = self.selector.as_ref().map_or(0, |s| s.series);
        own + self.children.iter().map(Self::series).sum::<usize>()
    }

    /// The tree as JSON text: `{"node","text","type","evaluations","firstMs","lastMs","notes",
    /// "selector":{"matchers","fromMs","toMs","windowMs","function","series"}|null,"children"}`.
    pub fn to_json(&self) -> String {
        let selector = self.selector.as_ref().map_or_else(
            || "null".to_owned(),
            |s| {
                format!(
                    "{{\"matchers\":{},\"from_ms\":{},\"to_ms\":{},\"window_ms\":{},\"function\":{},\
                     \"series\":{}}}",
                    list(s.matchers.iter().map(|m| string(m))),
                    s.from_ms,
                    s.to_ms,
                    s.window_ms,
                    s.function.map_or_else(|| "null".to_owned(), string),
                    s.series
                )
            },
        );
        format!(
            "{{\"node\":{},\"text\":{},\"type\":{},\"evaluations\":{},\"first_ms\":{},\"last_ms\":{},\
             \"notes\":{},\"selector\":{selector},\"children\":{}}}",
            string(self.node),
            string(&self.text),
            string(self.value_type.as_str()),
            self.evaluations,
            self.first_ms,
            self.last_ms,
            list(self.notes.iter().map(|n| string(n))),
            list(self.children.iter().map(Self::to_json))
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{MemorySource, parse_series};

    fn explain(query: &str) -> Explanation {
        let mut source = MemorySource::default();
        for i in 0..3 {
            let name = format!("m_total{{i=\"{i}\"}}");
            source.append(parse_series(&name, "0+1x100", TimestampMs(0), 15_000).unwrap());
        }
        let over = (TimestampMs(600_000), TimestampMs(900_000), 60_000);
        Engine::default().explain(&source, query, over, &QueryContext::unlimited()).unwrap()
    }

    #[test]
    fn selectors_say_what_they_read() {
        let e = explain("sum by (i) (rate(m_total{i!=\"2\"}[2m] offset 1m)) / m_total @ 500");
        assert_eq!((e.node, e.evaluations, e.series()), ("binary", 6, 5));
        let selector = e.children[0].children[0].children[0].selector.clone().unwrap();
        assert_eq!(
            selector,
            ExplainedSelector {
                matchers: vec!["i!=\"2\"".to_owned(), "__name__=\"m_total\"".to_owned()],
                from_ms: 420_001,
                to_ms: 840_000,
                window_ms: 120_000,
                function: Some("rate"),
                series: 2,
            }
        );
        let fixed = &e.children[1];
        assert_eq!((fixed.node, fixed.evaluations), ("once", 6));
        assert_eq!(fixed.children[0].evaluations, 1);
        assert!(e.to_json().starts_with("{\"node\":\"binary\",\"text\":\"sum by (i) (rate("));
    }

    #[test]
    fn subqueries_have_their_own_steps() {
        let e = explain("max_over_time(avg(m_total)[5m:30s])");
        let subquery = &e.children[0];
        assert_eq!((subquery.node, subquery.evaluations), ("subquery", 6));
        let inner = &subquery.children[0];
        assert_eq!((inner.first_ms, inner.last_ms, inner.evaluations), (330_000, 900_000, 20));
        assert_eq!(
            e.notes,
            ["windows of floats slide; those with histograms are evaluated one by one"]
        );
    }
}
