//! Anomalies: a streaming detector for one series, peers against each other, and the fields of
//! ENGINE's `obs_anomaly_detected`.

mod detector;
mod peers;
mod record;
mod shape;
mod window;

pub use detector::{AnomalyKind, DEFAULT_CONFIG, Detection, Detector, DetectorConfig};
pub use peers::{PeerOutlier, compare_peers};
pub use record::AnomalyRecord;
pub(crate) use window::median as median_of;
