//! Spans as bytes: the records of the log and the chunks of blocks. Drawing:
//! `docs/format/traces-block.md`.
//!
//! A batch holds a table of strings, a table of resources, a table of scopes, and the spans as
//! columns: ids, parents, times and the rest each lie together, so that they compress well.

use std::collections::HashMap;
use std::sync::Arc;

use obs_disk::bytes::{Reader, put_bytes, put_i64, put_u64};
use obs_types::{
    AttrValue, Attributes, InstrumentationScope, Resource, Span, SpanEvent, SpanId, SpanKind,
    SpanLink, SpanRecord, SpanStatus, StatusCode, TimestampNs, TraceId,
};

/// Arrays and maps inside each other; deeper values are refused at ingestion.
pub(crate) const VALUE_DEPTH_MAX: usize = 16;
const COLUMNS: usize = 8;

// Columns in their order in the batch.
const TRACE_IDS: usize = 0;
const SPAN_IDS: usize = 1;
const PARENT_IDS: usize = 2;
const TIMES: usize = 3;
const SMALL: usize = 4;
const ATTRIBUTES: usize = 5;
const EVENTS: usize = 6;
const LINKS: usize = 7;

#[derive(Default)]
struct Tables<'a> {
    strings: HashMap<&'a str, u64>,
    /// Packed in order of first use.
    string_bytes: Vec<u8>,
    resources: HashMap<*const Resource, u64>,
    resource_bytes: Vec<u8>,
    scopes: HashMap<*const InstrumentationScope, u64>,
    scope_bytes: Vec<u8>,
}

impl<'a> Tables<'a> {
    fn text(&mut self, out: &mut Vec<u8>, s: &'a str) {
        let next = self.strings.len() as u64;
        let bytes = &mut self.string_bytes;
        let id = *self.strings.entry(s).or_insert_with(|| {
            put_bytes(bytes, s.as_bytes());
            next
        });
        put_u64(out, id);
    }

    fn attributes(&mut self, out: &mut Vec<u8>, attributes: &'a Attributes) {
        put_u64(out, attributes.0.len() as u64);
        for (name, value) in &attributes.0 {
            self.text(out, name);
            self.value(out, value);
        }
    }

    fn value(&mut self, out: &mut Vec<u8>, value: &'a AttrValue) {
        match value {
            AttrValue::Str(s) => {
                out.push(0);
                self.text(out, s);
            }
            AttrValue::Bool(b) => out.push(if *b { 2 } else { 1 }),
            AttrValue::Int(v) => {
                out.push(3);
                put_i64(out, *v);
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
                items.iter().for_each(|i| self.value(out, i));
            }
            AttrValue::Map(entries) => {
                out.push(7);
                put_u64(out, entries.len() as u64);
                for (name, v) in entries {
                    self.text(out, name);
                    self.value(out, v);
                }
            }
        }
    }

    /// Resources are told apart by address: equal ones that are not shared are stored twice, which
    /// costs bytes (compressed away) and no time.
    fn resource(&mut self, resource: &'a Arc<Resource>) -> u64 {
        let next = self.resources.len() as u64;
        if let Some(id) = self.resources.get(&Arc::as_ptr(resource)) {
            return *id;
        }
        self.resources.insert(Arc::as_ptr(resource), next);
        let mut out = std::mem::take(&mut self.resource_bytes);
        self.attributes(&mut out, &resource.attributes);
        self.resource_bytes = out;
        next
    }

    fn scope(&mut self, scope: &'a Arc<InstrumentationScope>) -> u64 {
        let next = self.scopes.len() as u64;
        if let Some(id) = self.scopes.get(&Arc::as_ptr(scope)) {
            return *id;
        }
        self.scopes.insert(Arc::as_ptr(scope), next);
        let mut out = std::mem::take(&mut self.scope_bytes);
        self.text(&mut out, &scope.name);
        self.text(&mut out, &scope.version);
        self.attributes(&mut out, &scope.attributes);
        self.scope_bytes = out;
        next
    }
}

/// Packs spans; they come back in the same order and equal.
pub(crate) fn encode_batch(spans: &[SpanRecord]) -> Vec<u8> {
    let mut tables = Tables::default();
    let mut columns: [Vec<u8>; COLUMNS] = Default::default();
    let mut last_start = 0i64;
    let mut last_trace = TraceId::default();
    for record in spans {
        let resource = tables.resource(&record.resource);
        let scope = tables.scope(&record.scope);
        let span = &record.span;
        let [trace_ids, span_ids, parents, times, small, attributes, events, links] = &mut columns;
        // Spans of one trace stand together: the id is written when it changes.
        if span.trace_id == last_trace {
            trace_ids.push(0);
        } else {
            trace_ids.push(1);
            trace_ids.extend_from_slice(&span.trace_id.0);
            last_trace = span.trace_id;
        }
        span_ids.extend_from_slice(&span.span_id.0);
        if span.parent_span_id.is_zero() {
            parents.push(0);
        } else {
            parents.push(1);
            parents.extend_from_slice(&span.parent_span_id.0);
        }
        put_i64(times, span.start.0.wrapping_sub(last_start));
        last_start = span.start.0;
        put_i64(times, span.end.0.wrapping_sub(span.start.0));
        put_u64(small, resource);
        put_u64(small, scope);
        tables.text(small, &span.name);
        small.push((span.kind.to_otlp() as u8) << 2 | span.status.code.to_otlp() as u8);
        tables.text(small, &span.status.message);
        tables.text(small, &span.trace_state);
        put_u64(small, u64::from(span.flags));
        tables.attributes(attributes, &span.attributes);
        put_u64(events, span.events.len() as u64);
        for e in &span.events {
            put_i64(events, e.timestamp.0.wrapping_sub(span.start.0));
            tables.text(events, &e.name);
            tables.attributes(events, &e.attributes);
        }
        put_u64(links, span.links.len() as u64);
        for l in &span.links {
            links.extend_from_slice(&l.trace_id.0);
            links.extend_from_slice(&l.span_id.0);
            tables.text(links, &l.trace_state);
            tables.attributes(links, &l.attributes);
        }
    }
    let mut out = Vec::new();
    put_u64(&mut out, spans.len() as u64);
    for (count, bytes) in [
        (tables.strings.len(), &tables.string_bytes),
        (tables.resources.len(), &tables.resource_bytes),
        (tables.scopes.len(), &tables.scope_bytes),
    ] {
        put_u64(&mut out, count as u64);
        put_bytes(&mut out, bytes);
    }
    for column in &columns {
        put_bytes(&mut out, column);
    }
    out
}

struct Strings<'a>(Vec<&'a str>);

impl<'a> Strings<'a> {
    fn text(&self, from: &mut Reader<'_>) -> Option<&'a str> {
        let id = usize::try_from(from.u64()?).ok()?;
        self.0.get(id).copied()
    }

    fn attributes(&self, from: &mut Reader<'_>) -> Option<Attributes> {
        let n = from.count()?;
        let mut out = Vec::with_capacity(n);
        for _ in 0..n {
            out.push((self.text(from)?.to_owned(), self.value(from, 0)?));
        }
        Some(Attributes(out))
    }

    fn value(&self, from: &mut Reader<'_>, depth: usize) -> Option<AttrValue> {
        if depth > VALUE_DEPTH_MAX {
            return None;
        }
        let [kind] = from.array()?;
        Some(match kind {
            0 => AttrValue::Str(self.text(from)?.to_owned()),
            1 => AttrValue::Bool(false),
            2 => AttrValue::Bool(true),
            3 => AttrValue::Int(from.i64()?),
            4 => AttrValue::Double(f64::from_bits(u64::from_le_bytes(from.array()?))),
            5 => AttrValue::Bytes(from.bytes()?.to_vec()),
            6 => {
                let n = from.count()?;
                AttrValue::Array(
                    (0..n).map(|_| self.value(from, depth + 1)).collect::<Option<_>>()?,
                )
            }
            7 => {
                let n = from.count()?;
                let entry = |from: &mut Reader<'_>| {
                    Some((self.text(from)?.to_owned(), self.value(from, depth + 1)?))
                };
                AttrValue::Map((0..n).map(|_| entry(from)).collect::<Option<_>>()?)
            }
            _ => return None,
        })
    }
}

/// `None` if the bytes are not a whole batch.
pub(crate) fn decode_batch(bytes: &[u8]) -> Option<Vec<SpanRecord>> {
    let mut from = Reader::new(bytes);
    let count = from.count()?;
    let table = |from: &mut Reader<'_>| -> Option<(usize, usize)> {
        let n = usize::try_from(from.u64()?).ok()?;
        Some((n, n))
    };
    let (string_count, _) = table(&mut from)?;
    let mut packed = Reader::new(from.bytes()?);
    let mut strings = Vec::with_capacity(string_count.min(packed.rest.len()));
    for _ in 0..string_count {
        strings.push(packed.str()?);
    }
    let strings = Strings(strings);
    let (resource_count, _) = table(&mut from)?;
    let mut packed = Reader::new(from.bytes()?);
    let mut resources = Vec::new();
    for _ in 0..resource_count {
        resources.push(Arc::new(Resource { attributes: strings.attributes(&mut packed)? }));
    }
    let (scope_count, _) = table(&mut from)?;
    let mut packed = Reader::new(from.bytes()?);
    let mut scopes = Vec::new();
    for _ in 0..scope_count {
        scopes.push(Arc::new(InstrumentationScope {
            name: strings.text(&mut packed)?.to_owned(),
            version: strings.text(&mut packed)?.to_owned(),
            attributes: strings.attributes(&mut packed)?,
        }));
    }
    let mut columns = [Reader::new(&[]); COLUMNS];
    for column in &mut columns {
        *column = Reader::new(from.bytes()?);
    }
    if !from.rest.is_empty() {
        return None;
    }
    let mut out = Vec::with_capacity(count);
    let mut last_start = 0i64;
    let mut trace_id = TraceId::default();
    for _ in 0..count {
        if columns[TRACE_IDS].array::<1>()? != [0] {
            trace_id = TraceId(columns[TRACE_IDS].array()?);
        }
        let span_id = SpanId(columns[SPAN_IDS].array()?);
        let parent_span_id = match columns[PARENT_IDS].array::<1>()? {
            [0] => SpanId::default(),
            _ => SpanId(columns[PARENT_IDS].array()?),
        };
        let start = last_start.wrapping_add(columns[TIMES].i64()?);
        last_start = start;
        let end = start.wrapping_add(columns[TIMES].i64()?);
        let small = &mut columns[SMALL];
        let resource = resources.get(usize::try_from(small.u64()?).ok()?)?.clone();
        let scope = scopes.get(usize::try_from(small.u64()?).ok()?)?.clone();
        let name = strings.text(small)?.to_owned();
        let [packed] = small.array()?;
        let status = SpanStatus {
            code: StatusCode::from_otlp(i32::from(packed & 3)),
            message: strings.text(small)?.to_owned(),
        };
        let trace_state = strings.text(small)?.to_owned();
        let flags = u32::try_from(small.u64()?).ok()?;
        let attributes = strings.attributes(&mut columns[ATTRIBUTES])?;
        let from = &mut columns[EVENTS];
        let n = from.count()?;
        let mut events = Vec::with_capacity(n);
        for _ in 0..n {
            events.push(SpanEvent {
                timestamp: TimestampNs(start.wrapping_add(from.i64()?)),
                name: strings.text(from)?.to_owned(),
                attributes: strings.attributes(from)?,
            });
        }
        let from = &mut columns[LINKS];
        let n = from.count()?;
        let mut links = Vec::with_capacity(n);
        for _ in 0..n {
            links.push(SpanLink {
                trace_id: TraceId(from.array()?),
                span_id: SpanId(from.array()?),
                trace_state: strings.text(from)?.to_owned(),
                attributes: strings.attributes(from)?,
            });
        }
        out.push(SpanRecord {
            resource,
            scope,
            span: Span {
                trace_id,
                span_id,
                parent_span_id,
                trace_state,
                flags,
                name,
                kind: SpanKind::from_otlp(i32::from(packed >> 2)),
                start: TimestampNs(start),
                end: TimestampNs(end),
                status,
                attributes,
                events,
                links,
            },
        });
    }
    columns.iter().all(|c| c.rest.is_empty()).then_some(out)
}
