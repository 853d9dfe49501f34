use std::collections::BTreeMap;

use obs_types::{AttrValue, QueryContext, TimeRangeNs, TraceSelect, TraceSource};

use crate::TraceQlError;
use crate::ast::{Attribute, Query, QueryBody};
use crate::conditions::conditions;
use crate::field::read;
use crate::spansets::Plan;
use crate::value::Value;
use crate::view::TraceView;

/// Values of an attribute on the spans that the query keeps; unique, sorted by type and text, at
/// most `limit` (0: all).
pub fn tag_values(
    source: &dyn TraceSource,
    query: &Query,
    attribute: &Attribute,
    range: TimeRangeNs,
    limit: usize,
    context: &QueryContext,
) -> Result<Vec<AttrValue>, TraceQlError> {
    query.validate()?;
    let QueryBody::Search(pipeline) = &query.body else {
        return Err(TraceQlError::Invalid("tag values need a search query".to_owned()));
    };
    let plan = Plan::new(pipeline)?;
    let all_of = conditions(pipeline);
    let mut out: BTreeMap<String, AttrValue> = BTreeMap::new();
    for trace in source.select(&TraceSelect { range, all_of: &all_of }, context)? {
        context.check()?;
        let trace = trace?;
        let view = TraceView::new(&trace);
        for i in plan.run(&view).into_iter().flat_map(|set| set.spans) {
            let value = read(attribute, &view, i);
            let items = match value {
                Value::Many(items) => items,
                one => vec![one],
            };
            for item in items {
                let key = item.group_key();
                if !out.contains_key(&key)
                    && let Some(v) = item.to_attr()
                {
                    context.memory.grow(key.len() + size_of::<AttrValue>())?;
                    out.insert(key, v);
                }
            }
        }
    }
    let limit = if limit == 0 { usize::MAX } else { limit };
    Ok(out.into_values().take(limit).collect())
}
