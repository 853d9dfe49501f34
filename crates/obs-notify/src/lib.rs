//! Alert delivery.
//!
//! Lives here: routes and receivers, grouping, the queue on disk, sending with retries, the
//! delivery log, drills, the addresses of an alert's picture.
//! Not here: what fires (`obs-rules`), the alert objects, silences and inhibition (`obs-rules`),
//! receipts (`obs-ops`).
//! Units: milliseconds since the Unix epoch.
//! Source: Alertmanager's route tree and webhook format version 4; ENGINE 7.2.

mod config;
mod dispatch;
mod drill;
mod error;
mod notifier;
mod payload;
mod picture;
mod queue;
mod secret;

pub use config::{NotifyConfig, Receiver, Route, Target};
pub use dispatch::{Dispatcher, Notification};
pub use drill::{Drilled, MARK, drill};
pub use error::NotifyError;
pub use notifier::{Host, Notifier, NotifyEvent};
pub use payload::{slack_message, webhook_message};
pub use picture::PanelRef;
pub use queue::{Delivery, DeliveryStatus, Queue};
pub use secret::SecretUrl;
