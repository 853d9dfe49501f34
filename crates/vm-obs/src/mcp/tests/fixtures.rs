//! What the protocol's conformance suite asks of a server by name: tools, resources and prompts of
//! a reference server, as a [`Catalog`]. Only tests hold it.
#![expect(deprecated, reason = "the suite asks for sampling and logging")]

use std::sync::Arc;
use std::time::Duration;

use rmcp::ErrorData;
use rmcp::model::{
    CallToolRequestParams, CallToolResult, CompleteRequestParams, ContentBlock,
    CreateMessageRequestParams, ElicitRequest, ElicitRequestParams, GetPromptResult,
    Implementation, JsonObject, LoggingLevel, Prompt, PromptArgument, PromptMessage,
    ReadResourceResult, Resource, ResourceContents, ResourceTemplate, Role, SamplingMessage,
    ServerCapabilities, ServerConfig, ServerRequest, Tool,
};
use serde_json::{Value, json};

use crate::mcp::catalog::{Catalog, Condition, Turn};

/// A red dot.
const PNG: &str = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8DwHwAFBQIAX8jx0gAAAABJRU5ErkJggg==";
/// A header and no sample.
const WAV: &str = "UklGRiQAAABXQVZFZm10IBAAAAABAAEAQB8AAIA+AAACABAAZGF0YQAAAAA=";
const STEP: Duration = Duration::from_millis(50);

#[derive(Clone, Debug)]
pub(super) struct Fixtures;

fn object(value: Value) -> JsonObject {
    value.as_object().cloned().unwrap()
}

fn text(text: impl Into<String>) -> CallToolResult {
    CallToolResult::success(vec![ContentBlock::text(text)])
}

fn embedded(uri: &str, mime: &str, text: &str) -> ContentBlock {
    ContentBlock::resource(ResourceContents::text(text, uri).with_mime_type(mime))
}

fn invalid(reason: impl Into<String>) -> ErrorData {
    ErrorData::invalid_params(reason.into(), None)
}

/// Name of each tool with its input.
fn tools() -> Vec<(&'static str, Value)> {
    let none = || json!({"type": "object", "properties": {}});
    let one = |name: &str| json!({"type": "object", "properties": {name: {"type": "string"}}, "required": [name]});
    let schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "$defs": {"address": {"type": "object", "properties": {
            "street": {"type": "string"}, "city": {"type": "string"}}}},
        "properties": {"name": {"type": "string"}, "address": {"$ref": "#/$defs/address"}},
        "additionalProperties": false,
    });
    vec![
        ("json_schema_2020_12_tool", schema),
        ("test_audio_content", none()),
        ("test_elicitation", one("message")),
        ("test_elicitation_sep1034_defaults", none()),
        ("test_elicitation_sep1330_enums", none()),
        ("test_embedded_resource", none()),
        ("test_error_handling", none()),
        ("test_image_content", none()),
        ("test_multiple_content_types", none()),
        ("test_reconnection", none()),
        ("test_sampling", one("prompt")),
        ("test_simple_text", none()),
        ("test_tool_with_logging", none()),
        ("test_tool_with_progress", none()),
    ]
}

async fn sampled(prompt: &str, turn: &Turn) -> Result<CallToolResult, ErrorData> {
    let asked = CreateMessageRequestParams::new(vec![SamplingMessage::user_text(prompt)], 100);
    let answer = turn.peer.create_message(asked).await;
    let answer = answer.map_err(|e| ErrorData::internal_error(e.to_string(), None))?;
    let said = serde_json::to_value(&answer.message.content).unwrap();
    Ok(text(format!("LLM response: {said}")))
}

/// Asks the person behind the client to fill a form.
async fn elicited(
    says: &str,
    message: &str,
    schema: Value,
    turn: &Turn,
) -> Result<CallToolResult, ErrorData> {
    let form = json!({"mode": "form", "message": message, "requestedSchema": schema});
    let form: ElicitRequestParams = serde_json::from_value(form).unwrap();
    let asked = ServerRequest::ElicitRequest(ElicitRequest::new(form));
    let answer = turn.peer.send_request(asked).await;
    let answer = answer.map_err(|e| ErrorData::internal_error(e.to_string(), None))?;
    Ok(text(format!("{says}: {}", serde_json::to_value(&answer).unwrap())))
}

fn person() -> Value {
    json!({"type": "object", "required": ["username", "email"], "properties": {
        "username": {"type": "string", "description": "User's response"},
        "email": {"type": "string", "description": "User's email address"}}})
}

fn defaults() -> Value {
    json!({"type": "object", "properties": {
        "name": {"type": "string", "default": "John Doe"},
        "age": {"type": "integer", "default": 30},
        "score": {"type": "number", "default": 95.5},
        "status": {"type": "string", "enum": ["active", "inactive", "pending"],
            "default": "active"},
        "verified": {"type": "boolean", "default": true}}})
}

fn enums() -> Value {
    let titled = |names: [&str; 3]| {
        let of = |i: usize| json!({"const": format!("value{}", i + 1), "title": names[i]});
        json!([of(0), of(1), of(2)])
    };
    let options = ["option1", "option2", "option3"];
    json!({"type": "object", "properties": {
        "untitledSingle": {"type": "string", "enum": options},
        "titledSingle": {"type": "string",
            "oneOf": titled(["First Option", "Second Option", "Third Option"])},
        "legacyEnum": {"type": "string", "enum": ["opt1", "opt2", "opt3"],
            "enumNames": ["Option One", "Option Two", "Option Three"]},
        "untitledMulti": {"type": "array", "items": {"type": "string", "enum": options}},
        "titledMulti": {"type": "array", "items": {
            "anyOf": titled(["First Choice", "Second Choice", "Third Choice"])}}}})
}

impl Catalog for Fixtures {
    fn info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::default())
            .with_server_info(Implementation::new("fixtures", "1"))
    }

    fn tools(&self) -> Vec<Tool> {
        let tool = |(name, schema)| Tool::new(name, "Of the suite", Arc::new(object(schema)));
        tools().into_iter().map(tool).collect()
    }

    async fn call(
        &self,
        request: CallToolRequestParams,
        turn: &Turn,
    ) -> Result<CallToolResult, ErrorData> {
        let arguments = request.arguments.unwrap_or_default();
        let given = |name: &str| arguments.get(name).and_then(Value::as_str).unwrap_or_default();
        let image = || ContentBlock::image(PNG, "image/png");
        Ok(match request.name.as_ref() {
            "test_simple_text" => text("This is a simple text response for testing."),
            "test_image_content" => CallToolResult::success(vec![image()]),
            "test_audio_content" => {
                CallToolResult::success(vec![ContentBlock::audio(WAV, "audio/wav")])
            }
            "test_embedded_resource" => CallToolResult::success(vec![embedded(
                "test://embedded-resource",
                "text/plain",
                "This is an embedded resource content.",
            )]),
            "test_multiple_content_types" => CallToolResult::success(vec![
                ContentBlock::text("Multiple content types test:"),
                image(),
                embedded(
                    "test://mixed-content-resource",
                    "application/json",
                    "{\"test\":\"data\",\"value\":123}",
                ),
            ]),
            "test_tool_with_logging" => {
                for (i, said) in ["started", "processing data", "completed"].iter().enumerate() {
                    if i > 0 {
                        tokio::time::sleep(STEP).await;
                    }
                    turn.log(LoggingLevel::Info, json!(format!("Tool execution {said}"))).await;
                }
                text("Told three times.")
            }
            "test_tool_with_progress" => {
                for done in [0.0, 50.0, 100.0] {
                    if done > 0.0 {
                        tokio::time::sleep(STEP).await;
                    }
                    turn.progress(done, 100.0, "on the way").await;
                }
                text("There.")
            }
            "test_error_handling" => CallToolResult::error(vec![ContentBlock::text(
                "This tool intentionally returns an error for testing",
            )]),
            // Longer than a stream is held here.
            "test_reconnection" => {
                tokio::time::sleep(STEP * 20).await;
                text("Answered on another stream.")
            }
            "test_sampling" => return sampled(given("prompt"), turn).await,
            "test_elicitation" => {
                return elicited("User response", given("message"), person(), turn).await;
            }
            "test_elicitation_sep1034_defaults" => {
                return elicited("Elicitation completed", "Defaults", defaults(), turn).await;
            }
            "test_elicitation_sep1330_enums" => {
                return elicited("Elicitation completed", "Choices", enums(), turn).await;
            }
            other => return Err(invalid(format!("there is no tool {other:?}"))),
        })
    }

    async fn resources(&self) -> Result<Vec<Resource>, ErrorData> {
        let all = [
            ("test://static-text", "text/plain"),
            ("test://static-binary", "image/png"),
            ("test://watched-resource", "text/plain"),
        ];
        let resource =
            |(uri, mime): (&str, &str)| Resource::new(uri, uri).with_mime_type(mime.to_owned());
        Ok(all.into_iter().map(resource).collect())
    }

    fn templates(&self) -> Vec<ResourceTemplate> {
        let template = ResourceTemplate::new("test://template/{id}/data", "data");
        vec![template.with_mime_type("application/json")]
    }

    async fn read(&self, uri: &str) -> Result<ReadResourceResult, ErrorData> {
        let found = match uri {
            "test://static-text" => {
                ResourceContents::text("This is the content of the static text resource.", uri)
            }
            "test://static-binary" => ResourceContents::blob(PNG, uri).with_mime_type("image/png"),
            "test://watched-resource" => ResourceContents::text("Watched.", uri),
            _ => {
                let id = uri.strip_prefix("test://template/").and_then(|r| r.strip_suffix("/data"));
                let Some(id) = id else {
                    return Err(ErrorData::resource_not_found(uri.to_owned(), None));
                };
                let data = format!("Data for ID: {id}");
                let data = json!({"id": id, "templateTest": true, "data": data});
                ResourceContents::text(data.to_string(), uri).with_mime_type("application/json")
            }
        };
        Ok(ReadResourceResult::new(vec![found]))
    }

    async fn state(&self, uri: &str) -> Result<String, ErrorData> {
        self.read(uri).await.map(|_| "as ever".to_owned())
    }

    fn prompts(&self) -> Vec<Prompt> {
        let of = |name: &str, arguments: &[&str]| {
            let all = arguments.iter().map(|a| PromptArgument::new(*a).with_required(true));
            Prompt::new(name, Some("Of the suite"), Some(all.collect()))
        };
        vec![
            of("test_simple_prompt", &[]),
            of("test_prompt_with_arguments", &["arg1", "arg2"]),
            of("test_prompt_with_embedded_resource", &["resourceUri"]),
            of("test_prompt_with_image", &[]),
        ]
    }

    fn prompt(
        &self,
        name: &str,
        arguments: Option<&JsonObject>,
    ) -> Result<GetPromptResult, ErrorData> {
        let given = |name: &str| {
            let value = arguments.and_then(|all| all.get(name)).and_then(Value::as_str);
            value.ok_or_else(|| invalid(format!("the prompt needs {name:?}")))
        };
        let says = |text: String| PromptMessage::new_text(Role::User, text);
        let shows = |content| PromptMessage::new(Role::User, content);
        let messages = match name {
            "test_simple_prompt" => vec![says("This is a simple prompt for testing.".to_owned())],
            "test_prompt_with_arguments" => {
                let (one, two) = (given("arg1")?, given("arg2")?);
                vec![says(format!("Prompt with arguments: arg1='{one}', arg2='{two}'"))]
            }
            "test_prompt_with_embedded_resource" => {
                let held = "Embedded resource content for testing.";
                vec![
                    shows(embedded(given("resourceUri")?, "text/plain", held)),
                    says("Please process the embedded resource above.".to_owned()),
                ]
            }
            "test_prompt_with_image" => vec![
                shows(ContentBlock::image(PNG, "image/png")),
                says("Please analyze the image above.".to_owned()),
            ],
            other => return Err(invalid(format!("there is no prompt {other:?}"))),
        };
        Ok(GetPromptResult::new(messages))
    }

    async fn complete(&self, request: &CompleteRequestParams) -> Result<Vec<String>, ErrorData> {
        let all = ["testValue1", "testValue2", "other"].into_iter();
        let fits = all.filter(|v| v.starts_with(&request.argument.value));
        Ok(fits.map(str::to_owned).collect())
    }

    async fn conditions(&self) -> Vec<Condition> {
        Vec::new()
    }
}
