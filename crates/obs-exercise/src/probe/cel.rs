//! Conditions over a JSON body, in the Common Expression Language (cel.dev); the body is `body`.

use std::sync::Arc;

use cel::{Context, Program, Value};

use crate::exchange::StepError;

/// A larger body is not read as JSON.
const BODY_BYTES_MAX: usize = 4 << 20;

/// A condition that can be asked.
#[derive(Clone, Debug)]
pub(super) struct Condition {
    text: String,
    program: Arc<Program>,
}

impl Condition {
    pub(super) fn parse(text: &str, place: &str) -> Result<Self, StepError> {
        let program = Program::compile(text).map_err(|e| StepError::new(place, e.to_string()))?;
        Ok(Self { text: text.to_owned(), program: Arc::new(program) })
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// `Err` where it has no answer, such as for a field that is not there.
    pub(super) fn holds(&self, body: &serde_json::Value) -> Result<bool, String> {
        let mut context = Context::default();
        context.add_variable("body", body).map_err(|e| e.to_string())?;
        match self.program.execute(&context).map_err(|e| e.to_string())? {
            Value::Bool(holds) => Ok(holds),
            other => Err(format!("gives {other:?}, which is neither true nor false")),
        }
    }
}

/// The body as JSON.
pub(super) fn json(body: &[u8]) -> Result<serde_json::Value, String> {
    if body.len() > BODY_BYTES_MAX {
        return Err(format!("the body is above {BODY_BYTES_MAX} bytes"));
    }
    serde_json::from_slice(body).map_err(|e| format!("the body is no JSON: {e}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_over_a_body() {
        let body = br#"{"status": "ok", "count": 5, "ratio": 0.25, "up": true,
            "items": [{"name": "a", "lag": 3}, {"name": "b", "lag": 40}], "none": null}"#;
        let body = json(body).unwrap();
        for (text, expected) in [
            ("body.status == 'ok'", true),
            ("body.count == 5", true),
            ("body.count > 5", false),
            ("body.ratio < 0.5 && body.up", true),
            ("body.items.exists(i, i.name == 'b')", true),
            ("body.items.all(i, i.lag < 30)", false),
            ("body.items.filter(i, i.lag > 30).size() == 1", true),
            ("body.status.matches('^o.$')", true),
            ("has(body.missing)", false),
            ("body.none == null", true),
            ("body.items[0]['name'].startsWith('a') || body.missing == 1", true),
        ] {
            let condition = Condition::parse(text, "p").unwrap();
            assert_eq!(condition.holds(&body), Ok(expected), "{text}");
        }
        for text in ["body.missing == 1", "body.count", "other == 1"] {
            assert!(Condition::parse(text, "p").unwrap().holds(&body).is_err(), "{text}");
        }
        let e = Condition::parse("body.count ==", "modules.m.http").unwrap_err();
        assert!(e.to_string().contains("modules.m.http"), "{e}");
        assert!(json(b"<html>").unwrap_err().contains("no JSON"));
    }
}
