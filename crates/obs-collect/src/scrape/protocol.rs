//! Which formats a scrape asks for, and what a body is taken for.
//! Source: Prometheus 3 "Scrape protocol content negotiation".

use obs_wire::exposition::ExpositionFormat;

use super::config::ScrapeFormats;

/// A format by its name in `scrape_protocols`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScrapeProtocol {
    Protobuf,
    OpenMetrics1,
    OpenMetrics0,
    Text1,
    Text0,
}

impl ScrapeProtocol {
    pub const ALL: [Self; 5] =
        [Self::Protobuf, Self::OpenMetrics1, Self::OpenMetrics0, Self::Text1, Self::Text0];

    pub fn name(self) -> &'static str {
        match self {
            Self::Protobuf => "PrometheusProto",
            Self::OpenMetrics1 => "OpenMetricsText1.0.0",
            Self::OpenMetrics0 => "OpenMetricsText0.0.1",
            Self::Text1 => "PrometheusText1.0.0",
            Self::Text0 => "PrometheusText0.0.4",
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|p| p.name() == name)
    }

    fn media_type(self) -> &'static str {
        match self {
            Self::Protobuf => {
                "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited"
            }
            Self::OpenMetrics1 => "application/openmetrics-text;version=1.0.0",
            Self::OpenMetrics0 => "application/openmetrics-text;version=0.0.1",
            Self::Text1 => "text/plain;version=1.0.0",
            Self::Text0 => "text/plain;version=0.0.4",
        }
    }

    fn body(self) -> BodyFormat {
        match self {
            Self::Protobuf => BodyFormat::Protobuf,
            Self::OpenMetrics1 | Self::OpenMetrics0 => {
                BodyFormat::Text(ExpositionFormat::OpenMetrics)
            }
            Self::Text1 | Self::Text0 => BodyFormat::Text(ExpositionFormat::Prometheus),
        }
    }
}

/// How a target writes names that are not `[a-zA-Z_:][a-zA-Z0-9_:]*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Escaping {
    AllowUtf8,
    Underscores,
    Dots,
    Values,
}

impl Escaping {
    pub fn from_text(text: &str) -> Option<Self> {
        [Self::AllowUtf8, Self::Underscores, Self::Dots, Self::Values]
            .into_iter()
            .find(|e| e.as_str() == text)
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::AllowUtf8 => "allow-utf-8",
            Self::Underscores => "underscores",
            Self::Dots => "dots",
            Self::Values => "values",
        }
    }
}

/// What a body is read as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BodyFormat {
    Protobuf,
    Text(ExpositionFormat),
}

/// The `Accept` header: falling weights in the order of preference, and anything at the end.
pub(crate) fn accept(formats: &ScrapeFormats) -> String {
    let mut weight = ScrapeProtocol::ALL.len() + 1;
    let mut out = String::new();
    for protocol in &formats.protocols {
        out.push_str(protocol.media_type());
        // The older versions know no escaping.
        if matches!(protocol, ScrapeProtocol::OpenMetrics1 | ScrapeProtocol::Text1) {
            out.push_str(";escaping=");
            out.push_str(formats.escaping.as_str());
        }
        out.push_str(&format!(";q=0.{weight},"));
        weight -= 1;
    }
    out + &format!("*/*;q=0.{weight}")
}

/// From a `Content-Type`; `Err` where it says nothing usable and there is no fallback.
pub(crate) fn body_format(
    content_type: Option<&str>,
    fallback: Option<ScrapeProtocol>,
) -> Result<BodyFormat, String> {
    let stated = content_type.unwrap_or("").trim();
    let mut parts = stated.split(';').map(str::trim);
    let essence = parts.next().unwrap_or("").to_ascii_lowercase();
    let format = match essence.as_str() {
        "application/openmetrics-text" => Some(ScrapeProtocol::OpenMetrics1),
        "text/plain" => Some(ScrapeProtocol::Text0),
        "application/vnd.google.protobuf" => Some(ScrapeProtocol::Protobuf),
        _ => None,
    };
    match (format.or(fallback), stated) {
        (Some(protocol), _) => Ok(protocol.body()),
        (None, "") => Err("target sends no Content-Type, and the job has no \
                           fallback_scrape_protocol"
            .into()),
        (None, other) => Err(format!(
            "unsupported Content-Type {other:?}, and the job has no fallback_scrape_protocol"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::super::config::testing::job;
    use super::*;

    #[test]
    fn accept_as_prometheus_sends_it() {
        let of = |lines: &str| accept(&job(lines).formats);
        assert_eq!(
            of(""),
            "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
             application/openmetrics-text;version=0.0.1;q=0.5,\
             text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,\
             text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
        );
        assert!(of("  scrape_native_histograms: true\n").starts_with(
            "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;\
             encoding=delimited;q=0.6,application/openmetrics-text;version=1.0.0"
        ));
        assert_eq!(
            of(
                "  scrape_protocols: [PrometheusText1.0.0]\n  metric_name_validation_scheme: legacy\n"
            ),
            "text/plain;version=1.0.0;escaping=underscores;q=0.6,*/*;q=0.5"
        );
    }

    #[test]
    fn bodies_by_content_type_or_fallback() {
        let text = BodyFormat::Text(ExpositionFormat::Prometheus);
        assert_eq!(body_format(Some("text/plain; version=0.0.4"), None), Ok(text));
        assert_eq!(
            body_format(Some("application/vnd.google.protobuf; encoding=delimited"), None),
            Ok(BodyFormat::Protobuf)
        );
        for bad in [None, Some(""), Some("application/json")] {
            assert!(body_format(bad, None).unwrap_err().contains("fallback_scrape_protocol"));
            assert_eq!(body_format(bad, Some(ScrapeProtocol::Text0)), Ok(text));
        }
    }
}
