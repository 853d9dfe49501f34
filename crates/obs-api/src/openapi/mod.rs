//! The OpenAPI document of the `/obs` routes, made from tables; a test holds it against the router.

mod alerts;
mod ledger;
mod prometheus;
mod server;
mod slos;
mod storage;
mod telemetry;

use axum::Json;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

/// A parameter: name, where (`q` query, `p` path), type, description.
type Parameter = (&'static str, char, &'static str, &'static str);
/// A member of a JSON object: name and type.
type Field = (&'static str, &'static str);

struct Route {
    method: &'static str,
    /// A second method that asks for the same.
    also: Option<&'static str>,
    path: &'static str,
    id: &'static str,
    summary: &'static str,
    /// In groups, so that several routes share one.
    parameters: &'static [&'static [Parameter]],
    /// Members of the JSON body.
    body: &'static [Field],
    /// Top-level members of the answer; empty for a document of another kind.
    answer: &'static [Field],
}

impl Route {
    const fn new(
        method: &'static str,
        path: &'static str,
        id: &'static str,
        summary: &'static str,
    ) -> Self {
        Self { method, also: None, path, id, summary, parameters: &[], body: &[], answer: &[] }
    }

    const fn parameters(mut self, parameters: &'static [&'static [Parameter]]) -> Self {
        self.parameters = parameters;
        self
    }

    /// Also by POST, with the parameters as a form.
    const fn form(mut self) -> Self {
        self.also = Some("post");
        self
    }

    const fn put(mut self) -> Self {
        self.also = Some("put");
        self
    }

    const fn body(mut self, body: &'static [Field]) -> Self {
        self.body = body;
        self
    }

    const fn answer(mut self, answer: &'static [Field]) -> Self {
        self.answer = answer;
        self
    }
}

const fn get(path: &'static str, id: &'static str, summary: &'static str) -> Route {
    Route::new("get", path, id, summary)
}

const fn post(path: &'static str, id: &'static str, summary: &'static str) -> Route {
    Route::new("post", path, id, summary)
}

const fn delete(path: &'static str, id: &'static str, summary: &'static str) -> Route {
    Route::new("delete", path, id, summary)
}

const WINDOW: [Parameter; 3] = [
    ("last", 'q', "string", "how far back from now, e.g. 15m, 24h, 7d"),
    ("from", 'q', "string", "start: RFC 3339, YYYY-MM-DD or Unix seconds"),
    ("to", 'q', "string", "end, by default now"),
];
const NODE: Parameter = ("node", 'q', "string", "node name, with or without did:vm:node:");
const LIMIT: Parameter = ("limit", 'q', "integer", "most items of the answer");
const ID: Parameter = ("id", 'p', "string", "identifier");

const GROUPS: [&[Route]; 6] = [
    telemetry::ROUTES,
    alerts::ROUTES,
    slos::ROUTES,
    ledger::ROUTES,
    server::ROUTES,
    storage::ROUTES,
];

fn routes() -> impl Iterator<Item = &'static Route> {
    GROUPS.into_iter().flatten()
}

fn fields(all: &[(&str, &str)]) -> Value {
    let properties: Map<String, Value> =
        all.iter().map(|(n, t)| ((*n).to_owned(), json!({"type": t}))).collect();
    json!({"type": "object", "properties": properties})
}

fn operation(route: &Route) -> Value {
    let parameters: Vec<Value> = route
        .parameters
        .iter()
        .copied()
        .flatten()
        .map(|(name, place, kind, text)| {
            let path = *place == 'p';
            json!({
                "name": name, "in": if path { "path" } else { "query" }, "required": path,
                "schema": {"type": kind}, "description": text,
            })
        })
        .collect();
    let content = if route.answer.is_empty() {
        json!({"text/plain": {"schema": {"type": "string"}}})
    } else {
        json!({"application/json": {"schema": fields(route.answer)}})
    };
    let error = json!({"$ref": "#/components/responses/Error"});
    let mut operation = json!({
        "operationId": route.id,
        "summary": route.summary,
        "parameters": parameters,
        "responses": {
            "200": {"description": "the answer", "content": content},
            "400": error, "404": error, "422": error, "503": error,
        },
    });
    if !route.body.is_empty()
        && let Some(map) = operation.as_object_mut()
    {
        let schema = fields(route.body);
        map.insert(
            "requestBody".to_owned(),
            json!({"content": {"application/json": {"schema": schema}}}),
        );
    }
    operation
}

fn paths<'a>(routes: impl Iterator<Item = &'a Route>) -> Map<String, Value> {
    let mut paths: Map<String, Value> = Map::new();
    for route in routes {
        let entry = paths.entry(route.path.to_owned()).or_insert_with(|| json!({}));
        let Some(entry) = entry.as_object_mut() else { continue };
        entry.insert(route.method.to_owned(), operation(route));
        if let Some(also) = route.also {
            let mut operation = operation(route);
            // Ids are unique in a document.
            if let Some(id) = operation.get_mut("operationId") {
                *id = json!(format!("{}-{also}", route.id));
            }
            entry.insert(also.to_owned(), operation);
        }
    }
    paths
}

/// OpenAPI 3.1 of every `/obs` route.
pub(crate) fn build() -> Value {
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "vm-obs", "version": env!("CARGO_PKG_VERSION"),
            "description": "Native routes of the VaultMesh Observability Engine. The Prometheus, Loki and Tempo dialects are described by their own projects.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths(routes()),
        "components": {"responses": {"Error": {
            "description": "why it was refused",
            "content": {"application/json": {"schema": {
                "type": "object",
                "properties": {"error": {"type": "object", "properties": {"kind": {"type": "string"}, "message": {"type": "string"}}}},
            }}},
        }}},
    })
}

pub(crate) async fn document() -> Json<Value> {
    Json(build())
}

/// OpenAPI 3.1 of Prometheus' dialect. JSON is YAML too.
pub(crate) async fn prometheus_document() -> Response {
    let text = json!({
        "openapi": "3.1.0",
        "info": {"title": "Prometheus API of vm-obs", "version": env!("CARGO_PKG_VERSION")},
        "servers": [{"url": "/api/v1"}],
        "paths": paths(prometheus::ROUTES.iter()),
        "components": {"responses": {"Error": {
            "description": "why it was refused",
            "content": {"application/json": {"schema": {
                "type": "object",
                "properties": {
                    "status": {"type": "string"}, "errorType": {"type": "string"},
                    "error": {"type": "string"},
                },
            }}},
        }}},
    });
    let kind = HeaderValue::from_static("application/yaml");
    ([(header::CONTENT_TYPE, kind)], format!("{text:#}\n")).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every `.route("…")` of a router has an entry, and no entry is without one.
    #[test]
    fn the_documents_and_the_routers_agree() {
        let served = |source: &str, prefix: &str| {
            let mut served: Vec<String> = source
                .match_indices(".route(")
                .filter_map(|(at, m)| {
                    let rest = source.get(at + m.len()..)?.trim_start().strip_prefix('"')?;
                    Some(format!("{prefix}{}", rest.split('"').next()?.replace("{fault}", "{id}")))
                })
                .collect();
            served.sort();
            served
        };
        let mut described: Vec<String> = routes().map(|r| r.path.to_owned()).collect();
        described.sort();
        described.dedup();
        let mut all = served(include_str!("../obs/mod.rs"), "/obs");
        all.extend(served(include_str!("../../../vm-obs/src/serve/storage_routes.rs"), ""));
        all.sort();
        assert_eq!(all, described);

        // The receivers are routes of another crate.
        let received = ["/write", "/otlp/v1/metrics"];
        let mut described: Vec<&str> =
            prometheus::ROUTES.iter().map(|r| r.path).filter(|p| !received.contains(p)).collect();
        described.sort_unstable();
        assert_eq!(served(include_str!("../prometheus/mod.rs"), ""), described);
    }

    #[test]
    fn operation_ids_are_unique() {
        for mut ids in [
            routes().map(|r| r.id).collect::<Vec<&str>>(),
            prometheus::ROUTES.iter().map(|r| r.id).collect(),
        ] {
            let count = ids.len();
            ids.sort_unstable();
            ids.dedup();
            assert_eq!(ids.len(), count);
        }
    }
}
