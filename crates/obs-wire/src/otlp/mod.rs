//! OpenTelemetry protocol: export requests in protobuf or JSON to batches, traces back to OTLP.
//!
//! Lives here: decoding with guards against amplification, the mapping of each signal, partial
//! success replies. Not here: HTTP and gRPC.
//! Source: OTLP specification 1.x; Prometheus' and Loki's published mappings of attributes.

mod attributes;
mod logs;
mod metric_name;
mod metrics;
mod reply;
mod shapes;
mod traces;

pub use self::attributes::{
    attributes_from_otlp, attributes_to_otlp, value_to_json, value_to_text,
};
pub use self::logs::decode_logs;
pub use self::metric_name::{label_name, metric_name};
pub use self::metrics::decode_metrics;
pub use self::reply::{Signal, partial_success, status_body};
pub use self::traces::{
    TraceStatus, decode_traces, tempo_trace, tempo_trace_by_id, trace_to_json, trace_to_otlp,
};

use serde::de::DeserializeOwned;

use crate::protobuf::{Shape, check_shape};
use crate::{WireCaps, WireError};

/// How an export request is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OtlpFormat {
    Protobuf,
    Json,
}

impl OtlpFormat {
    /// `None` for a media type that OTLP does not know (415).
    pub fn from_content_type(content_type: Option<&str>) -> Option<Self> {
        let essence = content_type?.split(';').next()?.trim().to_ascii_lowercase();
        match essence.as_str() {
            "application/x-protobuf" | "application/protobuf" => Some(Self::Protobuf),
            "application/json" => Some(Self::Json),
            _ => None,
        }
    }

    pub fn content_type(self) -> &'static str {
        match self {
            Self::Protobuf => "application/x-protobuf",
            Self::Json => "application/json",
        }
    }
}

fn decode_request<T: prost::Message + Default + DeserializeOwned>(
    what: &'static str,
    body: &[u8],
    format: OtlpFormat,
    shape: &'static Shape,
    caps: &WireCaps,
) -> Result<T, WireError> {
    match format {
        OtlpFormat::Protobuf => {
            check_shape(what, body, shape, caps)?;
            T::decode(body).map_err(|e| WireError::malformed(what, e.to_string()))
        }
        OtlpFormat::Json => {
            crate::json::check_shape(what, body, caps)?;
            serde_json::from_slice(body).map_err(|e| WireError::malformed(what, e.to_string()))
        }
    }
}

/// OTLP times are unsigned; beyond the year 2262 there is no nanosecond timestamp for them.
fn timestamp(nanos: u64) -> Option<obs_types::TimestampNs> {
    i64::try_from(nanos).ok().map(obs_types::TimestampNs)
}

#[cfg(test)]
mod tests;
