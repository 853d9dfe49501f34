//! Prometheus remote write 1.0 and 2.0: bodies after decompression, to batches and back.
//!
//! No message is built on the way in: labels and samples are views of the body, shown series by
//! series ([`read_v1`], [`read_v2`]) or copied into a batch with one allocation for the labels and
//! one for the samples of a series.
//! Source: Prometheus remote write specifications 1.0 and 2.0.

pub(crate) mod histogram;
pub(crate) mod messages;
mod sent;
mod sent_v2;
mod series;
mod v1;
mod v2;

pub(crate) use self::histogram::{absolute, span};
pub use self::sent::{SentBody, read_sent_v1};
pub use self::sent_v2::read_sent_v2;
pub use self::series::{Rest, SeriesView};
pub use self::v1::{decode_v1, encode_v1, read_v1};
pub use self::v2::{decode_v2, read_v2};

use obs_types::MetricKind;

/// Which message a body holds, from the `proto` parameter of its `Content-Type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RemoteWriteVersion {
    V1,
    V2,
}

impl RemoteWriteVersion {
    /// `None` for a message or media type that we do not read (415).
    pub fn from_content_type(content_type: Option<&str>) -> Option<Self> {
        let mut parts = content_type.unwrap_or("application/x-protobuf").split(';').map(str::trim);
        if !parts.next()?.eq_ignore_ascii_case("application/x-protobuf") {
            return None;
        }
        match parts.find_map(|p| p.strip_prefix("proto=")) {
            None | Some("prometheus.WriteRequest") => Some(Self::V1),
            Some("io.prometheus.write.v2.Request") => Some(Self::V2),
            Some(_) => None,
        }
    }
}

fn kind_from_number(number: u64) -> MetricKind {
    match number {
        1 => MetricKind::Counter,
        2 => MetricKind::Gauge,
        3 => MetricKind::Histogram,
        4 => MetricKind::GaugeHistogram,
        5 => MetricKind::Summary,
        6 => MetricKind::Info,
        7 => MetricKind::StateSet,
        _ => MetricKind::Unknown,
    }
}

fn number_from_kind(kind: MetricKind) -> i32 {
    match kind {
        MetricKind::Unknown => 0,
        MetricKind::Counter => 1,
        MetricKind::Gauge => 2,
        MetricKind::Histogram => 3,
        MetricKind::GaugeHistogram => 4,
        MetricKind::Summary => 5,
        MetricKind::Info => 6,
        MetricKind::StateSet => 7,
    }
}

#[cfg(test)]
mod tests;

#[cfg(test)]
pub(crate) use self::tests::examples;
