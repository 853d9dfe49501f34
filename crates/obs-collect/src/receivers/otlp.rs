//! What OTLP over HTTP and over gRPC share: decoding each signal into its sink, and gRPC's codes.

use std::sync::Arc;

use hyper::StatusCode;
use obs_types::IngestOutcome;
use obs_wire::WireError;
use obs_wire::compression::Encoding;
use obs_wire::otlp::{
    IntegrityCheck, OtlpFormat, Signal, decode_logs_checked, decode_metrics, decode_traces,
};

use crate::attest::Records;

use super::intake::{Failure, Input, Intake};

impl Intake<'_> {
    /// [`Intake::store`] of an export request of the intake's signal.
    pub(super) async fn store_otlp(
        &self,
        input: Input,
        encoding: Result<Encoding, WireError>,
        format: OtlpFormat,
    ) -> Result<IngestOutcome, Failure> {
        match self.signal {
            Signal::Metrics => {
                let deltas = Arc::clone(&self.shared.deltas);
                self.store(
                    input,
                    encoding,
                    move |plain, caps, now| decode_metrics(plain, format, caps, &deltas, now),
                    |sinks, batch| sinks.metrics.append(batch),
                )
                .await
            }
            Signal::Logs => {
                let shared = Arc::clone(self.shared);
                self.store(
                    input,
                    encoding,
                    move |plain, caps, now| {
                        let records =
                            shared.sinks.notes.attestation.as_deref().map(|a| Records {
                                attestation: a,
                                counters: &shared.attest_counters,
                            });
                        let check = records.as_ref().map(|r| r as &dyn IntegrityCheck);
                        decode_logs_checked(plain, format, caps, now, check)
                    },
                    |sinks, records| sinks.logs.append(records),
                )
                .await
            }
            Signal::Traces => {
                self.store(
                    input,
                    encoding,
                    move |plain, caps, _now| decode_traces(plain, format, caps),
                    |sinks, spans| sinks.traces.append(spans),
                )
                .await
            }
        }
    }
}

/// gRPC's status number of a failure. Overload is `UNAVAILABLE`, because clients do not repeat
/// `RESOURCE_EXHAUSTED` without further details.
pub(super) fn grpc_code(failure: &Failure) -> i32 {
    const INVALID_ARGUMENT: i32 = 3;
    const RESOURCE_EXHAUSTED: i32 = 8;
    const UNIMPLEMENTED: i32 = 12;
    const INTERNAL: i32 = 13;
    const UNAVAILABLE: i32 = 14;
    match failure.status() {
        StatusCode::PAYLOAD_TOO_LARGE => RESOURCE_EXHAUSTED,
        StatusCode::UNSUPPORTED_MEDIA_TYPE => UNIMPLEMENTED,
        StatusCode::TOO_MANY_REQUESTS
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::REQUEST_TIMEOUT => UNAVAILABLE,
        StatusCode::INTERNAL_SERVER_ERROR => INTERNAL,
        _ => INVALID_ARGUMENT,
    }
}
