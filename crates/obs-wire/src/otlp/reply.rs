//! What a receiver answers: export responses with partial success, and `google.rpc.Status`.

use obs_types::IngestOutcome;
use opentelemetry_proto::tonic::collector::logs::v1::{
    ExportLogsPartialSuccess, ExportLogsServiceResponse,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsPartialSuccess, ExportMetricsServiceResponse,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceResponse,
};
use prost::Message as _;

use super::OtlpFormat;

/// One of the three kinds of telemetry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    Metrics,
    Logs,
    Traces,
}

impl Signal {
    /// The `signal` label of own metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Metrics => "metrics",
            Self::Logs => "logs",
            Self::Traces => "traces",
        }
    }
}

/// The export response; `partial_success` is set only when something was rejected.
pub fn partial_success(signal: Signal, outcome: &IngestOutcome, format: OtlpFormat) -> Vec<u8> {
    let rejected = i64::try_from(outcome.rejected_count()).unwrap_or(i64::MAX);
    let error_message = crate::cut_text(outcome.rejected_text().unwrap_or_default());
    match format {
        OtlpFormat::Json => {
            let name = match signal {
                Signal::Metrics => "rejectedDataPoints",
                Signal::Logs => "rejectedLogRecords",
                Signal::Traces => "rejectedSpans",
            };
            let body = if rejected == 0 {
                serde_json::json!({})
            } else {
                // int64 is a string in protobuf's JSON.
                serde_json::json!({"partialSuccess": {
                    name: rejected.to_string(), "errorMessage": error_message,
                }})
            };
            body.to_string().into_bytes()
        }
        OtlpFormat::Protobuf if rejected == 0 => Vec::new(),
        OtlpFormat::Protobuf => match signal {
            Signal::Metrics => ExportMetricsServiceResponse {
                partial_success: Some(ExportMetricsPartialSuccess {
                    rejected_data_points: rejected,
                    error_message,
                }),
            }
            .encode_to_vec(),
            Signal::Logs => ExportLogsServiceResponse {
                partial_success: Some(ExportLogsPartialSuccess {
                    rejected_log_records: rejected,
                    error_message,
                }),
            }
            .encode_to_vec(),
            Signal::Traces => ExportTraceServiceResponse {
                partial_success: Some(ExportTracePartialSuccess {
                    rejected_spans: rejected,
                    error_message,
                }),
            }
            .encode_to_vec(),
        },
    }
}

#[derive(Clone, PartialEq, prost::Message)]
struct RpcStatus {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
}

/// A `google.rpc.Status` body; `code` is gRPC's number.
pub fn status_body(code: i32, message: &str, format: OtlpFormat) -> Vec<u8> {
    match format {
        OtlpFormat::Protobuf => RpcStatus { code, message: message.to_owned() }.encode_to_vec(),
        OtlpFormat::Json => {
            serde_json::json!({"code": code, "message": message}).to_string().into_bytes()
        }
    }
}
