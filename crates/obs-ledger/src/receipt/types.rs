use std::fmt;

/// The kinds of receipt, named as their `type` field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum ReceiptType {
    MetricSnapshot,
    LogBatch,
    TraceBatch,
    TraceComplete,
    AlertFired,
    AlertResolved,
    AlertAck,
    Silence,
    SloReport,
    SloDefinition,
    AnomalyDetected,
    ConfigChange,
    Retention,
    Reseal,
    Gap,
    LedgerRecovered,
    Anchor,
    KeyRotate,
    KeyRevoke,
    Audit,
    Doctor,
    TierMove,
    Exercise,
    Report,
}

impl ReceiptType {
    pub const ALL: [Self; 24] = [
        Self::MetricSnapshot,
        Self::LogBatch,
        Self::TraceBatch,
        Self::TraceComplete,
        Self::AlertFired,
        Self::AlertResolved,
        Self::AlertAck,
        Self::Silence,
        Self::SloReport,
        Self::SloDefinition,
        Self::AnomalyDetected,
        Self::ConfigChange,
        Self::Retention,
        Self::Reseal,
        Self::Gap,
        Self::LedgerRecovered,
        Self::Anchor,
        Self::KeyRotate,
        Self::KeyRevoke,
        Self::Audit,
        Self::Doctor,
        Self::TierMove,
        Self::Exercise,
        Self::Report,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::MetricSnapshot => "obs_metric_snapshot",
            Self::LogBatch => "obs_log_batch",
            Self::TraceBatch => "obs_trace_batch",
            Self::TraceComplete => "obs_trace_complete",
            Self::AlertFired => "obs_alert_fired",
            Self::AlertResolved => "obs_alert_resolved",
            Self::AlertAck => "obs_alert_ack",
            Self::Silence => "obs_silence",
            Self::SloReport => "obs_slo_report",
            Self::SloDefinition => "obs_slo_definition",
            Self::AnomalyDetected => "obs_anomaly_detected",
            Self::ConfigChange => "obs_config_change",
            Self::Retention => "obs_retention",
            Self::Reseal => "obs_reseal",
            Self::Gap => "obs_gap",
            Self::LedgerRecovered => "obs_ledger_recovered",
            Self::Anchor => "obs_anchor",
            Self::KeyRotate => obs_proof::keys::ROTATE,
            Self::KeyRevoke => obs_proof::keys::REVOKE,
            Self::Audit => "obs_audit",
            Self::Doctor => "obs_doctor",
            Self::TierMove => "obs_tier_move",
            Self::Exercise => "obs_exercise",
            Self::Report => "obs_report",
        }
    }

    /// Accepts the full name and ENGINE's query form without `obs_`.
    pub fn from_name(name: &str) -> Option<Self> {
        let short = name.strip_prefix("obs_").unwrap_or(name);
        Self::ALL.into_iter().find(|t| t.as_str().strip_prefix("obs_") == Some(short))
    }

    /// Whether it closes an hour of a stream.
    pub fn is_seal(self) -> bool {
        matches!(self, Self::MetricSnapshot | Self::LogBatch | Self::TraceBatch)
    }

    /// Whether it says which keys are the log's.
    pub fn is_key(self) -> bool {
        matches!(self, Self::KeyRotate | Self::KeyRevoke)
    }

    /// The JSON Schema (draft 2020-12) of this type's receipts.
    pub fn json_schema(self) -> &'static str {
        match self {
            Self::MetricSnapshot => {
                include_str!("../../../../docs/format/schemas/obs_metric_snapshot.json")
            }
            Self::LogBatch => include_str!("../../../../docs/format/schemas/obs_log_batch.json"),
            Self::TraceBatch => {
                include_str!("../../../../docs/format/schemas/obs_trace_batch.json")
            }
            Self::TraceComplete => {
                include_str!("../../../../docs/format/schemas/obs_trace_complete.json")
            }
            Self::AlertFired => {
                include_str!("../../../../docs/format/schemas/obs_alert_fired.json")
            }
            Self::AlertResolved => {
                include_str!("../../../../docs/format/schemas/obs_alert_resolved.json")
            }
            Self::AlertAck => include_str!("../../../../docs/format/schemas/obs_alert_ack.json"),
            Self::Silence => include_str!("../../../../docs/format/schemas/obs_silence.json"),
            Self::SloReport => include_str!("../../../../docs/format/schemas/obs_slo_report.json"),
            Self::SloDefinition => {
                include_str!("../../../../docs/format/schemas/obs_slo_definition.json")
            }
            Self::AnomalyDetected => {
                include_str!("../../../../docs/format/schemas/obs_anomaly_detected.json")
            }
            Self::ConfigChange => {
                include_str!("../../../../docs/format/schemas/obs_config_change.json")
            }
            Self::Retention => include_str!("../../../../docs/format/schemas/obs_retention.json"),
            Self::Reseal => include_str!("../../../../docs/format/schemas/obs_reseal.json"),
            Self::Gap => include_str!("../../../../docs/format/schemas/obs_gap.json"),
            Self::LedgerRecovered => {
                include_str!("../../../../docs/format/schemas/obs_ledger_recovered.json")
            }
            Self::Anchor => include_str!("../../../../docs/format/schemas/obs_anchor.json"),
            Self::KeyRotate => {
                include_str!("../../../../docs/format/schemas/obs_key_rotate.json")
            }
            Self::KeyRevoke => {
                include_str!("../../../../docs/format/schemas/obs_key_revoke.json")
            }
            Self::Audit => include_str!("../../../../docs/format/schemas/obs_audit.json"),
            Self::Doctor => include_str!("../../../../docs/format/schemas/obs_doctor.json"),
            Self::TierMove => include_str!("../../../../docs/format/schemas/obs_tier_move.json"),
            Self::Exercise => include_str!("../../../../docs/format/schemas/obs_exercise.json"),
            Self::Report => include_str!("../../../../docs/format/schemas/obs_report.json"),
        }
    }
}

impl fmt::Display for ReceiptType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
