//! Checked relabeling rules.

use super::discovery::valid_label_name;
use super::forms::RelabelForm;
use crate::scrape::relabel::{Action, RelabelRule, anchored};

pub(super) fn relabel_rules(forms: Option<Vec<RelabelForm>>) -> Result<Vec<RelabelRule>, String> {
    forms.unwrap_or_default().into_iter().map(relabel_rule).collect()
}

fn relabel_rule(form: RelabelForm) -> Result<RelabelRule, String> {
    let action_text = form.action.as_deref().unwrap_or("replace");
    let action = Action::from_text(action_text)
        .ok_or_else(|| format!("unknown relabel action {action_text:?}"))?;
    let target_label = form.target_label.unwrap_or_default();
    let needs_target = matches!(
        action,
        Action::Replace
            | Action::HashMod
            | Action::Lowercase
            | Action::Uppercase
            | Action::KeepEqual
            | Action::DropEqual
    );
    if needs_target && target_label.is_empty() {
        return Err(format!(
            "relabel configuration for {action_text} action requires 'target_label' value"
        ));
    }
    if action == Action::HashMod && form.modulus.is_none_or(|m| m == 0) {
        return Err("relabel configuration for hashmod requires non-zero modulus".into());
    }
    if matches!(action, Action::LabelDrop | Action::LabelKeep)
        && (form.source_labels.is_some()
            || !target_label.is_empty()
            || form.modulus.is_some()
            || form.separator.is_some()
            || form.replacement.is_some())
    {
        return Err(format!("{action_text} action requires only 'regex', and no other fields"));
    }
    if matches!(action, Action::KeepEqual | Action::DropEqual)
        && (form.regex.is_some()
            || form.modulus.is_some()
            || form.separator.is_some()
            || form.replacement.is_some())
    {
        return Err(format!(
            "{action_text} action requires only 'source_labels' and `target_label`, and no other fields"
        ));
    }
    if matches!(action, Action::HashMod | Action::Lowercase | Action::Uppercase)
        && target_label.contains('$')
    {
        return Err(format!("{target_label:?} is invalid 'target_label' for {action_text} action"));
    }
    if matches!(action, Action::Lowercase | Action::Uppercase) && form.replacement.is_some() {
        return Err(format!("'replacement' can not be set for {action_text} action"));
    }
    if let Some(bad) = form.source_labels.iter().flatten().find(|n| !valid_label_name(n)) {
        return Err(format!("{bad:?} is not a valid label name"));
    }
    let pattern = form.regex.unwrap_or_else(|| "(.*)".to_owned());
    Ok(RelabelRule {
        source_labels: form.source_labels.unwrap_or_default(),
        separator: form.separator.unwrap_or_else(|| ";".to_owned()),
        target_label,
        regex: anchored(&pattern).map_err(|e| format!("relabel regex {pattern:?}: {e}"))?,
        modulus: form.modulus.unwrap_or(0),
        replacement: form.replacement.unwrap_or_else(|| "$1".to_owned()),
        action,
    })
}
