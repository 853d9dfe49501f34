//! A marked message through every way out, to see whether it is taken. Nothing is queued, repeated
//! or noted: the answer is the point.

use std::collections::BTreeMap;

use obs_rules::{AlertRecord, AlertStatus, RuleInfo};
use obs_types::{DurationMs, LabelSet, NodeName, TimestampMs};

use crate::notifier::{Answer, client, post};
use crate::{Notification, NotifyConfig, NotifyError, Target, slack_message, webhook_message};

/// What every message of a drill says, so that nobody takes it for trouble.
pub const MARK: &str = "[DRILL]";
/// Much of a provider's answer is no identification.
const ANSWER_CHARS_MAX: usize = 120;

/// One way out and what became of the message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drilled {
    pub receiver: String,
    /// As in `notified`: `slack:ops-channel`, `webhook:RECEIVER`.
    pub name: String,
    /// The provider's answer as it accepted both messages; otherwise why it did not.
    pub outcome: Result<String, String>,
}

/// Tells every target of every receiver that a drill fires, and that it is over where the target
/// wants to hear of ends. One after the other; each answer is waited for.
pub async fn drill(config: &NotifyConfig, now: TimestampMs) -> Result<Vec<Drilled>, NotifyError> {
    let client = client()?;
    let mut out = Vec::new();
    for receiver in &config.receivers {
        for target in &receiver.targets {
            let mut outcome = Ok(String::new());
            for status in [AlertStatus::Firing, AlertStatus::Resolved] {
                if status == AlertStatus::Resolved && (!target.send_resolved() || outcome.is_err())
                {
                    continue;
                }
                let message = Notification {
                    receiver: receiver.name.clone(),
                    group_key: format!("drill:{{{}}}", receiver.name),
                    group_labels: labels(),
                    alerts: vec![alert(status, now)],
                };
                let (url, body) = match target {
                    Target::Webhook { url, .. } => {
                        (url, webhook_message(&message, &config.external_url))
                    }
                    Target::Slack { url, channel, .. } => {
                        (url, slack_message(&message, channel, &config.external_url))
                    }
                };
                let answer = post(&client, url, &body).await;
                outcome = match answer {
                    Answer::Taken(said) => {
                        outcome.map(
                            |earlier: String| {
                                if earlier.is_empty() { shorten(&said) } else { earlier }
                            },
                        )
                    }
                    Answer::Again(why) | Answer::Refused(why) => {
                        Err(format!("the {} message: {why}", status.as_str()))
                    }
                };
            }
            let (receiver, name) = (receiver.name.clone(), target.shown_name(&receiver.name));
            out.push(Drilled { receiver, name, outcome });
        }
    }
    Ok(out)
}

fn shorten(text: &str) -> String {
    text.chars().take(ANSWER_CHARS_MAX).collect()
}

fn labels() -> LabelSet {
    LabelSet::from_pairs([("alertname", "DeliveryDrill"), ("drill", "true"), ("severity", "info")])
}

fn alert(status: AlertStatus, now: TimestampMs) -> AlertRecord {
    let name = format!("{MARK} DeliveryDrill");
    let mut labels = labels().to_builder();
    labels.set("alertname", name.clone());
    let over = status == AlertStatus::Resolved;
    let says = match over {
        false => "vm-obs checks that alerts reach you; nothing is wrong, do nothing",
        true => "the check is over; nothing was wrong",
    };
    AlertRecord {
        id: "drill".to_owned(),
        name,
        severity: "info".to_owned(),
        status,
        active_at: now,
        fired_at: Some(now),
        resolved_at: over.then_some(now),
        node: NodeName::new("drill"),
        rule: RuleInfo {
            file: String::new(),
            group: String::new(),
            name: MARK.to_owned(),
            expression: String::new(),
            threshold: None,
            hold: DurationMs(0),
        },
        current_value: 0.0,
        labels: labels.build(),
        annotations: BTreeMap::from([("summary".to_owned(), format!("{MARK} {says}"))]),
        notified: Vec::new(),
        acknowledged: None,
    }
}
