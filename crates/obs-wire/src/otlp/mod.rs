//! OpenTelemetry protocol: export requests in protobuf or JSON to batches, traces back to OTLP.
//!
//! Lives here: decoding with guards against amplification, the mapping of each signal, partial
//! success replies. Not here: HTTP and gRPC.
//! Source: OTLP specification 1.x; Prometheus' and Loki's published mappings of attributes.

mod attributes;
mod delta;
mod exponential;
mod integrity;
mod lenient_json;
mod logs;
mod metric_name;
mod metrics;
mod reply;
mod shapes;
mod traces;

pub use self::attributes::{
    attributes_from_otlp, attributes_to_otlp, value_to_json, value_to_text,
};
pub use self::delta::{DeltaLimits, DeltaState, DeltaStats};
pub use self::integrity::{IntegrityCheck, IntegrityClaim, Verdict};
pub use self::logs::{ATTESTATION, decode_logs, decode_logs_checked};
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

/// How the derived JSON reader treats a mistake in a field of this kind of request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mistakes {
    /// It says so.
    Told,
    /// It takes a flattened `oneof` that it cannot read as absent, so bodies are brought into its
    /// spelling before it sees them.
    Swallowed,
}

fn decode_request<T: prost::Message + Default + DeserializeOwned>(
    what: &'static str,
    body: &[u8],
    format: OtlpFormat,
    shape: &'static Shape,
    mistakes: Mistakes,
    caps: &WireCaps,
) -> Result<T, WireError> {
    if format == OtlpFormat::Protobuf {
        check_shape(what, body, shape, caps)?;
        return T::decode(body).map_err(|e| WireError::malformed(what, e.to_string()));
    }
    crate::json::check_shape(what, body, caps)?;
    let malformed = |e: serde_json::Error| WireError::malformed(what, e.to_string());
    let repaired = || {
        let mut value = serde_json::from_slice(body)?;
        lenient_json::repair(&mut value);
        serde_json::from_value(value)
    };
    match mistakes {
        Mistakes::Swallowed => repaired().map_err(malformed),
        Mistakes::Told => serde_json::from_slice(body)
            // The first error knows line and column.
            .or_else(|first| repaired().map_err(|_second| malformed(first))),
    }
}

/// OTLP times are unsigned; beyond the year 2262 there is no nanosecond timestamp for them.
fn timestamp(nanos: u64) -> Option<obs_types::TimestampNs> {
    i64::try_from(nanos).ok().map(obs_types::TimestampNs)
}

#[cfg(test)]
mod tests;
