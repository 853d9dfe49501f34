//! `__inputs`: what an export asks of whoever imports it. vm-obs has one source of each kind, so
//! the answers are known.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::json::text;
use crate::kinds::Language;
use crate::model::Extra;
use crate::notice::{Notice, NoticeKind};

/// Puts the answers in place of `${NAME}` everywhere in the file and takes `__inputs` out.
pub(super) fn resolve(root: &mut Extra, notices: &mut Vec<Notice>) {
    let mut answers: BTreeMap<String, String> = BTreeMap::new();
    let declared = root.remove("__inputs");
    for input in declared.iter().filter_map(Value::as_array).flatten().filter_map(Value::as_object)
    {
        let name = text(input, "name");
        if name.is_empty() {
            continue;
        }
        let answer = match text(input, "type").as_str() {
            "datasource" => {
                let plugin = text(input, "pluginId");
                let language = Language::from_datasource_type(&plugin);
                notices.push(Notice::new(
                    NoticeKind::InputResolved,
                    format!("__inputs.{name}"),
                    format!("data source {plugin} is the one of this server"),
                ));
                own_source(&language)
            }
            _ => text(input, "value"),
        };
        answers.insert(name, answer);
    }
    let mut known: BTreeSet<String> = BTreeSet::new();
    let variables = root.get("templating").and_then(|t| t.get("list")).and_then(Value::as_array);
    for v in variables.into_iter().flatten().filter_map(Value::as_object) {
        known.insert(text(v, "name"));
    }
    let mut missing = BTreeMap::new();
    for value in root.values_mut() {
        replace(value, &answers, &known, &mut missing);
    }
    for (name, language) in missing {
        notices.push(Notice::new(
            NoticeKind::InputUnresolved,
            format!("${{{name}}}"),
            format!("no input or variable of that name; taken as {}", language.datasource_type()),
        ));
    }
}

/// The reference that the export writes for a source of this server.
pub(crate) fn own_source(language: &Language) -> String {
    match language {
        Language::Other(kind) => kind.clone(),
        known => format!("${{ds_{}}}", known.datasource_type()),
    }
}

fn replace(
    value: &mut Value,
    answers: &BTreeMap<String, String>,
    known: &BTreeSet<String>,
    missing: &mut BTreeMap<String, Language>,
) {
    match value {
        Value::String(s) => {
            if !s.contains("${") {
                return;
            }
            for (name, answer) in answers {
                let mark = format!("${{{name}}}");
                if s.contains(&mark) {
                    *s = s.replace(&mark, answer);
                }
            }
            let name = s.strip_prefix("${").and_then(|s| s.strip_suffix('}')).unwrap_or("");
            if name.starts_with("DS_") && !known.contains(name) {
                let language = Language::guess(name).unwrap_or(Language::PromQl);
                let answer = own_source(&language);
                missing.insert(name.to_owned(), language);
                *s = answer;
            }
        }
        Value::Array(items) => {
            for item in items {
                replace(item, answers, known, missing);
            }
        }
        Value::Object(o) => {
            for item in o.values_mut() {
                replace(item, answers, known, missing);
            }
        }
        _ => {}
    }
}
