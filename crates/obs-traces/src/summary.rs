use std::collections::{BTreeMap, BTreeSet};

use obs_disk::bytes::{Reader, put_bytes, put_u64};
use obs_types::{
    AttrScope, AttrValue, Attributes, SpanKind, SpanRecord, TraceCondition, TraceConditionOp,
};

/// Values kept per attribute, and their bytes: enough for every listing a person reads.
const VALUES_MAX: usize = 256;
const VALUES_BYTES_MAX: usize = 16 << 10;
/// Operations kept per service.
const OPERATIONS_MAX: usize = 2_000;

/// What a head or block holds: attribute names with their values as long as they are few,
/// services with their operations. Lets searches skip blocks, and answers tag listings.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Summary {
    pub(crate) tags: BTreeMap<(u8, String), Values>,
    pub(crate) services: BTreeMap<String, BTreeSet<(String, u8)>>,
}

/// Distinct values of one attribute.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Values {
    /// By [`value_key`]; empty once `overflowed` is set.
    pub(crate) values: BTreeMap<String, AttrValue>,
    bytes: usize,
    /// Set when there were too many to keep.
    pub(crate) overflowed: bool,
}

/// Sorts values by type, then text, and tells them apart.
pub(crate) fn value_key(value: &AttrValue) -> String {
    match value {
        AttrValue::Str(s) => format!("s{s}"),
        AttrValue::Bool(b) => format!("b{b}"),
        // Shifted so that texts sort as numbers.
        AttrValue::Int(v) => format!("i{:020}", (*v as u64) ^ (1 << 63)),
        AttrValue::Double(v) => format!("d{v}"),
        other => format!("x{other:?}"),
    }
}

pub(crate) fn scope_code(scope: AttrScope) -> u8 {
    match scope {
        AttrScope::Any => 0,
        AttrScope::Span => 1,
        AttrScope::Resource => 2,
        AttrScope::Event => 3,
        AttrScope::Link => 4,
        AttrScope::Instrumentation => 5,
        AttrScope::Intrinsic => 6,
    }
}

pub(crate) fn scope_from_code(code: u8) -> Option<AttrScope> {
    Some(match code {
        1 => AttrScope::Span,
        2 => AttrScope::Resource,
        3 => AttrScope::Event,
        4 => AttrScope::Link,
        5 => AttrScope::Instrumentation,
        6 => AttrScope::Intrinsic,
        _ => return None,
    })
}

impl Values {
    pub(crate) fn insert(&mut self, value: &AttrValue) {
        if self.overflowed {
            return;
        }
        let key = value_key(value);
        if self.values.contains_key(&key) {
            return;
        }
        self.bytes += key.len();
        if self.values.len() >= VALUES_MAX || self.bytes > VALUES_BYTES_MAX {
            self.overflowed = true;
            self.values.clear();
            return;
        }
        self.values.insert(key, value.clone());
    }
}

/// Calls `visit` with every attribute of a span and with the intrinsics that are summarised.
/// Elements of arrays are visited too: a search for one of them must not skip the block.
pub(crate) fn visit_tags(record: &SpanRecord, visit: &mut dyn FnMut(AttrScope, &str, &AttrValue)) {
    let mut all = |scope: AttrScope, attributes: &Attributes| {
        for (name, value) in &attributes.0 {
            visit(scope, name, value);
            if let AttrValue::Array(items) = value {
                items.iter().for_each(|i| visit(scope, name, i));
            }
        }
    };
    let span = &record.span;
    all(AttrScope::Span, &span.attributes);
    all(AttrScope::Resource, &record.resource.attributes);
    all(AttrScope::Instrumentation, &record.scope.attributes);
    span.events.iter().for_each(|e| all(AttrScope::Event, &e.attributes));
    span.links.iter().for_each(|l| all(AttrScope::Link, &l.attributes));
    if record.resource.attributes.get_str("service.name").is_none() {
        let unknown = AttrValue::Str(record.resource.service().to_owned());
        visit(AttrScope::Resource, "service.name", &unknown);
    }
    let text = |s: &str| AttrValue::Str(s.to_owned());
    visit(AttrScope::Intrinsic, "name", &text(&span.name));
    visit(AttrScope::Intrinsic, "kind", &text(span.kind.as_str()));
    visit(AttrScope::Intrinsic, "status", &text(span.status.code.as_str()));
    visit(AttrScope::Intrinsic, "statusMessage", &text(&span.status.message));
}

impl Summary {
    pub(crate) fn add(&mut self, record: &SpanRecord) {
        visit_tags(record, &mut |scope, name, value| {
            let key = (scope_code(scope), name.to_owned());
            self.tags.entry(key).or_default().insert(value);
        });
        let service = record.resource.service();
        let operation = (record.span.name.clone(), record.span.kind.to_otlp() as u8);
        match self.services.get_mut(service) {
            Some(operations) if operations.len() < OPERATIONS_MAX => {
                operations.insert(operation);
            }
            Some(_) => {}
            None => {
                self.services.insert(service.to_owned(), BTreeSet::from([operation]));
            }
        }
    }

    /// Whether some span may fulfil the condition.
    pub(crate) fn may_match(&self, condition: &TraceCondition) -> bool {
        let scopes: &[AttrScope] = match condition.scope {
            AttrScope::Any => &[
                AttrScope::Span,
                AttrScope::Resource,
                AttrScope::Event,
                AttrScope::Link,
                AttrScope::Instrumentation,
            ],
            AttrScope::Intrinsic
                if !matches!(
                    condition.name.as_str(),
                    "name" | "kind" | "status" | "statusMessage"
                ) =>
            {
                return true;
            }
            ref one => std::slice::from_ref(one),
        };
        scopes.iter().any(|scope| {
            match self.tags.get(&(scope_code(*scope), condition.name.clone())) {
                None => false,
                Some(values) if values.overflowed => true,
                Some(values) => values.values.values().any(|v| may_fulfil(v, condition)),
            }
        })
    }

    pub(crate) fn operations(&self, service: &str) -> impl Iterator<Item = (&str, SpanKind)> {
        let found = self.services.get(service).into_iter().flatten();
        found.map(|(name, kind)| (name.as_str(), SpanKind::from_otlp(i32::from(*kind))))
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        put_u64(&mut out, self.tags.len() as u64);
        for ((scope, name), values) in &self.tags {
            out.push(*scope);
            put_bytes(&mut out, name.as_bytes());
            out.push(u8::from(values.overflowed));
            put_u64(&mut out, values.values.len() as u64);
            for value in values.values.values() {
                encode_value(&mut out, value);
            }
        }
        put_u64(&mut out, self.services.len() as u64);
        for (service, operations) in &self.services {
            put_bytes(&mut out, service.as_bytes());
            put_u64(&mut out, operations.len() as u64);
            for (name, kind) in operations {
                put_bytes(&mut out, name.as_bytes());
                out.push(*kind);
            }
        }
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut from = Reader::new(bytes);
        let mut summary = Self::default();
        for _ in 0..from.count()? {
            let [scope] = from.array()?;
            let name = from.str()?.to_owned();
            let mut values = Values { overflowed: from.array()? != [0], ..Values::default() };
            for _ in 0..from.count()? {
                let value = decode_value(&mut from, 0)?;
                let key = value_key(&value);
                values.bytes += key.len();
                values.values.insert(key, value);
            }
            summary.tags.insert((scope, name), values);
        }
        for _ in 0..from.count()? {
            let service = from.str()?.to_owned();
            let mut operations = BTreeSet::new();
            for _ in 0..from.count()? {
                let name = from.str()?.to_owned();
                let [kind] = from.array()?;
                operations.insert((name, kind));
            }
            summary.services.insert(service, operations);
        }
        from.rest.is_empty().then_some(summary)
    }
}

/// Errs towards `true`: types that do not compare here may compare in the language.
fn may_fulfil(value: &AttrValue, condition: &TraceCondition) -> bool {
    use TraceConditionOp as Op;
    let order = match (value, &condition.value) {
        (AttrValue::Str(a), AttrValue::Str(b)) => a.cmp(b),
        (AttrValue::Int(a), AttrValue::Int(b)) => a.cmp(b),
        (AttrValue::Bool(a), AttrValue::Bool(b)) => a.cmp(b),
        (AttrValue::Str(_), AttrValue::Int(_) | AttrValue::Double(_) | AttrValue::Bool(_)) => {
            return condition.op == Op::Exists;
        }
        _ => return true,
    };
    match condition.op {
        Op::Equal => order.is_eq(),
        Op::NotEqual => order.is_ne(),
        Op::Less => order.is_lt(),
        Op::LessEqual => order.is_le(),
        Op::Greater => order.is_gt(),
        Op::GreaterEqual => order.is_ge(),
        Op::Regex | Op::NotRegex | Op::Exists => true,
    }
}

fn encode_value(out: &mut Vec<u8>, value: &AttrValue) {
    match value {
        AttrValue::Str(s) => {
            out.push(0);
            put_bytes(out, s.as_bytes());
        }
        AttrValue::Bool(b) => out.push(if *b { 2 } else { 1 }),
        AttrValue::Int(v) => {
            out.push(3);
            out.extend_from_slice(&v.to_le_bytes());
        }
        AttrValue::Double(v) => {
            out.push(4);
            out.extend_from_slice(&v.to_bits().to_le_bytes());
        }
        AttrValue::Bytes(b) => {
            out.push(5);
            put_bytes(out, b);
        }
        AttrValue::Array(items) => {
            out.push(6);
            put_u64(out, items.len() as u64);
            items.iter().for_each(|i| encode_value(out, i));
        }
        AttrValue::Map(entries) => {
            out.push(7);
            put_u64(out, entries.len() as u64);
            for (name, v) in entries {
                put_bytes(out, name.as_bytes());
                encode_value(out, v);
            }
        }
    }
}

fn decode_value(from: &mut Reader<'_>, depth: usize) -> Option<AttrValue> {
    if depth > crate::codec::VALUE_DEPTH_MAX {
        return None;
    }
    let [kind] = from.array()?;
    Some(match kind {
        0 => AttrValue::Str(from.str()?.to_owned()),
        1 => AttrValue::Bool(false),
        2 => AttrValue::Bool(true),
        3 => AttrValue::Int(i64::from_le_bytes(from.array()?)),
        4 => AttrValue::Double(f64::from_bits(u64::from_le_bytes(from.array()?))),
        5 => AttrValue::Bytes(from.bytes()?.to_vec()),
        6 => {
            let n = from.count()?;
            AttrValue::Array((0..n).map(|_| decode_value(from, depth + 1)).collect::<Option<_>>()?)
        }
        7 => {
            let n = from.count()?;
            let entry = |from: &mut Reader<'_>| {
                Some((from.str()?.to_owned(), decode_value(from, depth + 1)?))
            };
            AttrValue::Map((0..n).map(|_| entry(from)).collect::<Option<_>>()?)
        }
        _ => return None,
    })
}
