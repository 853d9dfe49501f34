//! The notifier's view of this server.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use obs_collect::registry::Registry;
use obs_disk::Clock;
use obs_notify::{Host, Notifier, NotifyConfig, NotifyEvent, PanelRef};
use obs_ops::AlertService;
use obs_rules::AlertRecord;
use obs_types::TimestampMs;

use super::alert_panels::AlertPanels;

struct ServerHost {
    alerts: Arc<AlertService>,
    clock: Arc<dyn Clock>,
    registry: Arc<Registry>,
    panels: AlertPanels,
}

impl Host for ServerHost {
    fn now(&self) -> TimestampMs {
        self.clock.now()
    }

    fn is_muted(&self, alert: &AlertRecord, now: TimestampMs) -> bool {
        self.alerts.is_muted(alert, now)
    }

    fn delivered(&self, alert_ids: &[String], name: &str) {
        for id in alert_ids {
            if let Err(e) = self.alerts.record_notified(id, name) {
                tracing::error!(alert_id = id, error = %e, "delivery not noted");
            }
        }
    }

    fn panel(&self, alert: &AlertRecord) -> Option<PanelRef> {
        self.panels.of(&alert.rule.expression)
    }

    fn count(&self, event: NotifyEvent) {
        let (what, receiver) = match &event {
            NotifyEvent::Queued { name } => ("queued", name),
            NotifyEvent::Sent { name } => ("sent", name),
            NotifyEvent::Retried { name } => ("retried", name),
            NotifyEvent::Failed { name } => ("failed", name),
        };
        self.registry
            .counter(
                "vmobs_notifications_total",
                "Notifications by receiver and what became of them.",
                &[("event", what), ("receiver", receiver)],
            )
            .inc();
    }
}

/// Without a file nobody is told, but everything is shown and recorded.
pub(super) fn load(path: Option<&Path>, external_url: &str) -> anyhow::Result<NotifyConfig> {
    let Some(path) = path else { return Ok(NotifyConfig::silent(external_url)) };
    let text =
        std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(NotifyConfig::parse(&path.display().to_string(), &text, external_url)?)
}

pub(super) fn start(
    config: NotifyConfig,
    data: &Path,
    alerts: &Arc<AlertService>,
    clock: &Arc<dyn Clock>,
    registry: &Arc<Registry>,
    panels: AlertPanels,
) -> anyhow::Result<Notifier> {
    let host = ServerHost {
        alerts: Arc::clone(alerts),
        clock: Arc::clone(clock),
        registry: Arc::clone(registry),
        panels,
    };
    // Resolved ones too: a message about them may have been waiting when the process died.
    let known = alerts.records();
    Ok(Notifier::start(config, &data.join("queue"), &known, Arc::new(host))?)
}
