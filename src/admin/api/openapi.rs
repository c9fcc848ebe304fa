//! The OpenAPI document, made of the list of endpoints.

use serde_json::{Map, Value, json};

use super::endpoint::{Endpoint, all, parameters};
use super::fields::{Field, object_schema, value_schema};
use super::schemas;

/// OpenAPI 3.1.
pub fn openapi() -> Value {
    let mut paths: Map<String, Value> = Map::new();
    for endpoint in all() {
        let path = paths.entry(endpoint.path).or_insert_with(|| json!({}));
        if let Some(path) = path.as_object_mut() {
            path.insert(endpoint.method.as_str().to_ascii_lowercase(), operation(endpoint));
        }
    }
    let mut schemas: Map<String, Value> = schemas::all().map(|one| (one.name.to_owned(), one.to_json())).collect();
    schemas.sort_keys();
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Portcullis admin API",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Principals, API keys, address lists, sessions, signing keys, the audit trail, and what the \
                configuration says. \
                Times are RFC 3339 with milliseconds; what is not there is null. In a query, `+` is a blank.",
        },
        "security": [{ "bearer": [] }],
        "paths": paths,
        "components": {
            "securitySchemes": {
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "An admin token, `pca_…`. The first one is made on the machine: \
                        `portcullis admin-token create`.",
                },
            },
            "parameters": {
                "idempotency_key": {
                    "name": "Idempotency-Key",
                    "in": "header",
                    "required": false,
                    "description": "Makes it safe to ask again: for a day, the same request is answered as it was; \
                        409 `already_created` with the id where that answer held a secret.",
                    "schema": { "type": "string", "minLength": 1, "maxLength": 255 },
                },
                "if_match": {
                    "name": "If-Match",
                    "in": "header",
                    "required": false,
                    "description": "Value of `ETag`: 412 where somebody else has changed it since.",
                    "schema": { "type": "string" },
                },
            },
            "responses": { "problem": problem() },
            "schemas": schemas,
        },
    })
}

fn operation(endpoint: &Endpoint) -> Value {
    let scope = match endpoint.scope {
        Some(scope) => format!("Needs the scope `{scope}`."),
        None => "No token will do: only the command line on the machine may do this.".to_owned(),
    };
    let mut parameters: Vec<Value> = parameters(endpoint.path).map(path_parameter).collect();
    parameters.extend(endpoint.query.iter().map(query_parameter));
    if endpoint.creates {
        parameters.push(json!({ "$ref": "#/components/parameters/idempotency_key" }));
    }
    if takes_version(endpoint) {
        parameters.push(json!({ "$ref": "#/components/parameters/if_match" }));
    }
    let mut operation = json!({
        "operationId": endpoint.name,
        "summary": endpoint.about,
        "description": scope,
        "x-required-scope": endpoint.scope,
        "parameters": parameters,
        "responses": responses(endpoint),
    });
    if let (Some(fields), Some(operation)) = (endpoint.body, operation.as_object_mut()) {
        let body = json!({
            "required": fields.iter().any(|field| field.required),
            "content": { "application/json": { "schema": object_schema(fields) } },
        });
        operation.insert("requestBody".to_owned(), body);
    }
    operation
}

/// Whether it changes one thing that is there, and has a version.
fn takes_version(endpoint: &Endpoint) -> bool {
    let changes = endpoint.method != http::Method::GET && endpoint.path.contains("{id}");
    changes && matches!(endpoint.answers, "client" | "key" | "removed")
}

fn path_parameter(name: &str) -> Value {
    json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } })
}

fn query_parameter(field: &Field) -> Value {
    let schema = value_schema(field.kind);
    let mut parameter = json!({
        "name": field.name,
        "in": "query",
        "required": field.required,
        "description": field.about,
        "schema": schema,
    });
    if let (Some("array"), Some(parameter)) = (schema["type"].as_str(), parameter.as_object_mut()) {
        parameter.insert("style".to_owned(), "form".into());
        parameter.insert("explode".to_owned(), false.into());
    }
    parameter
}

fn responses(endpoint: &Endpoint) -> Value {
    let mut responses = Map::new();
    let mut good = json!({ "description": "Done." });
    if let (true, Some(good)) = (endpoint.status != 204, good.as_object_mut()) {
        let content = if endpoint.name == super::audit::STREAM {
            json!({ "text/event-stream": { "schema": { "type": "string" } } })
        } else {
            json!({ "application/json": { "schema": good_schema(endpoint) } })
        };
        good.insert("content".to_owned(), content);
    }
    responses.insert(endpoint.status.to_string(), good);
    let writes = endpoint.method != http::Method::GET;
    let statuses = [
        ("400", !endpoint.query.is_empty() || endpoint.body.is_some()),
        ("401", true),
        ("403", true),
        ("404", endpoint.path.contains('{')),
        ("409", writes),
        ("412", takes_version(endpoint)),
        ("413", endpoint.body.is_some()),
        ("415", endpoint.body.is_some()),
        ("422", endpoint.creates),
        ("503", true),
        ("507", writes),
    ];
    for (status, _) in statuses.iter().filter(|(_, given)| *given) {
        responses.insert((*status).to_owned(), json!({ "$ref": "#/components/responses/problem" }));
    }
    Value::Object(responses)
}

fn good_schema(endpoint: &Endpoint) -> Value {
    let one = json!({ "$ref": format!("#/components/schemas/{}", endpoint.answers) });
    if !endpoint.list {
        return one;
    }
    json!({
        "type": "object",
        "required": ["data", "next_cursor"],
        "properties": {
            "data": { "type": "array", "items": one },
            "next_cursor": {
                "type": ["string", "null"],
                "description": "The value of `cursor` for the next part; null = there is none.",
            },
        },
    })
}

fn problem() -> Value {
    json!({
        "description": "Refused. Nothing was changed.",
        "headers": {
            "WWW-Authenticate": { "description": "With 401 and 403.", "schema": { "type": "string" } },
            "Retry-After": { "description": "With 503: seconds.", "schema": { "type": "integer" } },
        },
        "content": { "application/problem+json": { "schema": { "$ref": "#/components/schemas/problem" } } },
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::admin::api::schemas::Schema;

    #[test]
    fn the_document_has_exactly_the_endpoints() {
        let document = openapi();
        let mut documented = BTreeSet::new();
        for (path, methods) in document["paths"].as_object().unwrap() {
            documented.extend(methods.as_object().unwrap().keys().map(|m| (path.clone(), m.to_uppercase())));
        }
        let served: BTreeSet<_> = all().map(|one| (one.path.to_owned(), one.method.to_string())).collect();
        assert_eq!(documented, served);
        assert_eq!(served.len(), all().count());
    }

    #[test]
    fn every_endpoint_is_documented_and_has_a_name_of_its_own() {
        let mut names = BTreeSet::new();
        for endpoint in all() {
            assert!(names.insert(endpoint.name), "{endpoint:?}: the name is taken");
            assert!(endpoint.about.ends_with('.') && endpoint.about.len() > 10, "{endpoint:?}: says nothing");
            assert!(Schema::by_name(endpoint.answers).is_some(), "{endpoint:?}: no schema {:?}", endpoint.answers);
            for field in endpoint.query.iter().chain(endpoint.body.into_iter().flatten()) {
                assert!(field.about.ends_with('.'), "{endpoint:?}: {} says nothing", field.name);
            }
        }
    }

    #[test]
    fn every_reference_points_at_something() {
        fn references<'v>(value: &'v Value, found: &mut Vec<&'v str>) {
            match value {
                Value::Object(members) => {
                    for (name, value) in members {
                        match value {
                            Value::String(text) if name == "$ref" => found.push(text),
                            _ => references(value, found),
                        }
                    }
                }
                Value::Array(items) => items.iter().for_each(|item| references(item, found)),
                _ => {}
            }
        }
        let document = openapi();
        let mut found = Vec::new();
        references(&document, &mut found);
        assert!(found.len() > 10);
        for reference in found {
            let pointer = reference.strip_prefix('#').unwrap();
            assert!(document.pointer(pointer).is_some(), "{reference} points nowhere");
        }
    }

    #[test]
    fn the_document_is_what_its_own_schema_says() {
        assert_eq!(super::super::conforms("openapi", &openapi()), Ok(()));
    }
}
