//! Where the messages lie in the three export requests (field numbers of opentelemetry-proto).

use crate::protobuf::Shape;

static LEAF: Shape = Shape(&[]);
static ANY: Shape = Shape(&[(5, &ARRAY), (6, &LIST)]);
static ARRAY: Shape = Shape(&[(1, &ANY)]);
static LIST: Shape = Shape(&[(1, &PAIR)]);
static PAIR: Shape = Shape(&[(2, &ANY)]);
static RESOURCE: Shape = Shape(&[(1, &PAIR), (3, &ENTITY)]);
static ENTITY: Shape = Shape(&[(3, &LEAF), (4, &LEAF)]);
static SCOPE: Shape = Shape(&[(3, &PAIR)]);

static LOG_RECORD: Shape = Shape(&[(5, &ANY), (6, &PAIR)]);
static SCOPE_LOGS: Shape = Shape(&[(1, &SCOPE), (2, &LOG_RECORD)]);
static RESOURCE_LOGS: Shape = Shape(&[(1, &RESOURCE), (2, &SCOPE_LOGS)]);
pub(super) static LOGS: Shape = Shape(&[(1, &RESOURCE_LOGS)]);

static EVENT: Shape = Shape(&[(3, &PAIR)]);
static LINK: Shape = Shape(&[(4, &PAIR)]);
static SPAN: Shape = Shape(&[(9, &PAIR), (11, &EVENT), (13, &LINK), (15, &LEAF)]);
static SCOPE_SPANS: Shape = Shape(&[(1, &SCOPE), (2, &SPAN)]);
static RESOURCE_SPANS: Shape = Shape(&[(1, &RESOURCE), (2, &SCOPE_SPANS)]);
pub(super) static TRACES: Shape = Shape(&[(1, &RESOURCE_SPANS)]);

static EXEMPLAR: Shape = Shape(&[(7, &PAIR)]);
static NUMBER_POINT: Shape = Shape(&[(7, &PAIR), (5, &EXEMPLAR)]);
static HISTOGRAM_POINT: Shape = Shape(&[(9, &PAIR), (8, &EXEMPLAR)]);
static EXPONENTIAL_POINT: Shape = Shape(&[(1, &PAIR), (8, &LEAF), (9, &LEAF), (11, &EXEMPLAR)]);
static SUMMARY_POINT: Shape = Shape(&[(7, &PAIR), (6, &LEAF)]);
static NUMBERS: Shape = Shape(&[(1, &NUMBER_POINT)]);
static HISTOGRAM: Shape = Shape(&[(1, &HISTOGRAM_POINT)]);
static EXPONENTIAL: Shape = Shape(&[(1, &EXPONENTIAL_POINT)]);
static SUMMARY: Shape = Shape(&[(1, &SUMMARY_POINT)]);
static METRIC: Shape = Shape(&[
    (5, &NUMBERS),
    (7, &NUMBERS),
    (9, &HISTOGRAM),
    (10, &EXPONENTIAL),
    (11, &SUMMARY),
    (12, &PAIR),
]);
static SCOPE_METRICS: Shape = Shape(&[(1, &SCOPE), (2, &METRIC)]);
static RESOURCE_METRICS: Shape = Shape(&[(1, &RESOURCE), (2, &SCOPE_METRICS)]);
pub(super) static METRICS: Shape = Shape(&[(1, &RESOURCE_METRICS)]);
