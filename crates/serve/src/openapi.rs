//! What is there to be asked, once: for the index, the OpenAPI description and the test that holds both to it.

use crate::{history, http};
use linger_model::report::Reports;
use schemars::generate::SchemaSettings;
use schemars::{Schema, SchemaGenerator};
use serde_json::{Value, json};

/// A path.
pub struct Endpoint {
    /// It.
    pub path: &'static str,
    /// What it answers, for a person.
    pub summary: &'static str,
    /// What may stand behind the question mark, and what it means.
    pub parameters: &'static [(&'static str, &'static str)],
    /// The answer's type.
    pub media: &'static str,
    /// The answer's schema, if it is JSON.
    pub schema: Option<fn(&mut SchemaGenerator) -> Schema>,
    /// When it answers 503 instead.
    pub unavailable: Option<&'static str>,
}

impl Endpoint {
    const fn text(path: &'static str, summary: &'static str) -> Endpoint {
        Endpoint { path, summary, parameters: &[], media: "text/plain", schema: None, unavailable: None }
    }

    const fn json(
        path: &'static str,
        summary: &'static str,
        schema: fn(&mut SchemaGenerator) -> Schema,
    ) -> Endpoint {
        Endpoint { media: "application/json", schema: Some(schema), ..Endpoint::text(path, summary) }
    }
}

/// What the history can be asked.
const HISTORY: &[(&str, &str)] = &[
    ("since", "From when: 2h, 03:12, or RFC 3339; an hour ago if it is left out"),
    ("until", "Up to when; now if it is left out"),
    ("netns", "Only this network namespace, by its label in the metrics; may stand several times"),
    ("state", "Only these states, like time_wait,close_wait"),
    ("points", "Points of a series at the most, 1 to 400"),
];

/// All of them but the index.
pub const ENDPOINTS: &[Endpoint] = &[
    Endpoint::text("/metrics", "Metrics for Prometheus: OpenMetrics, or its older text, by Accept"),
    Endpoint {
        unavailable: Some("The sampling thread gives no sign of life"),
        ..Endpoint::text("/healthz", "Whether it samples")
    },
    Endpoint {
        unavailable: Some("The last walk over the sockets is too old, or there was none yet"),
        ..Endpoint::text("/readyz", "Whether its figures are fresh")
    },
    Endpoint::json("/api/v1/snapshot", "The last sample of each network namespace, bounded", |schemas| {
        schemas.subschema_for::<http::Snapshot>()
    }),
    Endpoint::json("/api/v1/report", "What `linger check` says of it", |schemas| {
        schemas.subschema_for::<Reports>()
    }),
    Endpoint {
        parameters: HISTORY,
        unavailable: Some("No history is kept, or too many ask for it at a time"),
        ..Endpoint::json("/api/v1/history", "What was: series over time, and findings", |schemas| {
            schemas.subschema_for::<history::Answer>()
        })
    },
    Endpoint {
        parameters: &[HISTORY[0], HISTORY[1], HISTORY[2]],
        unavailable: Some("No history is kept, or too many ask for it at a time"),
        ..Endpoint::json("/api/v1/findings", "What was wrong, from when to when", |schemas| {
            schemas.subschema_for::<history::Findings>()
        })
    },
    Endpoint::json(
        "/api/v1/openapi.json",
        "This description",
        |_| schemars::json_schema!({"type": "object"}),
    ),
];

/// The OpenAPI description of [`ENDPOINTS`].
pub fn document() -> Value {
    let mut schemas = SchemaSettings::draft2020_12()
        .with(|settings| {
            settings.definitions_path = "/components/schemas".into();
            settings.meta_schema = None;
        })
        .for_serialize()
        .into_generator();
    let mut paths = serde_json::Map::new();
    for endpoint in ENDPOINTS {
        let schema = endpoint
            .schema
            .map_or_else(|| json!({"type": "string"}), |schema| schema(&mut schemas).to_value());
        let said = json!({"text/plain": {"schema": {"type": "string"}}});
        let mut responses = json!({
            "200": {"description": "The answer", "content": {endpoint.media: {"schema": schema}}},
            "401": {"description": "Who asks is no user of the web configuration", "content": said},
            "403": {"description": "The Host header names something else", "content": said},
        });
        if let Some(when) = endpoint.unavailable {
            responses["503"] = json!({"description": when, "content": said});
        }
        if !endpoint.parameters.is_empty() {
            responses["400"] = json!({"description": "A parameter is wrong", "content": said});
        }
        let parameters: Vec<Value> = endpoint
            .parameters
            .iter()
            .map(|(name, means)| {
                json!({"name": name, "in": "query", "description": means, "schema": {"type": "string"}})
            })
            .collect();
        let get = json!({"summary": endpoint.summary, "parameters": parameters, "responses": responses});
        paths.insert(endpoint.path.to_owned(), json!({"get": get}));
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "linger serve",
            "description": "A host's TCP connection states, what is wrong with them, and since when.",
            "version": env!("CARGO_PKG_VERSION"),
            "license": {"name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0"},
        },
        "paths": paths,
        "components": {"schemas": schemas.take_definitions(true)},
    })
}

/// The index as text.
pub fn index_text() -> String {
    let width = ENDPOINTS.iter().map(|endpoint| endpoint.path.len()).max().unwrap_or(0);
    let rows = ENDPOINTS.iter().map(|endpoint| format!("{:width$}  {}\n", endpoint.path, endpoint.summary));
    format!("linger {}: TCP connection states of this host\n\n", env!("CARGO_PKG_VERSION"))
        + &rows.collect::<String>()
}

/// The index as a page, which runs nothing and loads nothing.
pub fn index_page() -> String {
    let rows = ENDPOINTS.iter().map(|Endpoint { path, summary, .. }| {
        format!("<dt><a href=\"{path}\">{path}</a></dt><dd>{summary}</dd>\n")
    });
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><meta charset=\"utf-8\"><title>linger</title>\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n\
         <h1>linger {}</h1>\n<p>TCP connection states of this host</p>\n<dl>\n{}</dl></html>\n",
        env!("CARGO_PKG_VERSION"),
        rows.collect::<String>()
    )
}
