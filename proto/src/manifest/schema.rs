//! The manifest's JSON Schema, for editors.

use serde_json::{Value, json};

/// JSON Schema (draft 2020-12) of an application manifest as a person may write it.
#[must_use]
pub fn json_schema() -> Value {
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Application",
        "description": "What should run on a lattice, where, and linked to what (OAM core.oam.dev/v1beta1).",
        "type": "object",
        "required": ["apiVersion", "kind", "metadata", "spec"],
        "additionalProperties": false,
        "properties": {
            "apiVersion": {"type": "string", "description": "core.oam.dev/v1beta1", "default": "core.oam.dev/v1beta1"},
            "kind": {"type": "string", "description": "Application", "default": "Application"},
            "metadata": metadata(),
            "spec": {
                "type": "object",
                "required": ["components"],
                "properties": {
                    "components": list(component(), "What runs."),
                    "policies": list(policy(), "Named policies, e.g. secrets backends.")
                }
            }
        },
        "$defs": {
            "texts": {"type": "object", "additionalProperties": {"type": "string"}},
            "config": config(),
            "secret": secret(),
            "scaler": scaler(),
            "linkEnd": link_end()
        }
    })
}

fn list(items: Value, description: &str) -> Value {
    json!({"type": "array", "description": description, "items": items})
}

fn reference(name: &str) -> Value {
    json!({"$ref": format!("#/$defs/{name}")})
}

fn metadata() -> Value {
    json!({
        "type": "object",
        "required": ["name"],
        "properties": {
            "name": {"type": "string", "pattern": "^[-A-Za-z0-9_]+$", "description": "The application's name."},
            "annotations": {
                "type": "object",
                "additionalProperties": {"type": "string"},
                "properties": {
                    "version": {"type": "string", "description": "Made up when absent; never `latest`."},
                    "description": {"type": "string"},
                    "experimental.wasmcloud.dev/shared": {
                        "enum": ["true", "false"],
                        "description": "Whether other applications may refer to this one's components."
                    }
                }
            },
            "labels": reference("texts")
        }
    })
}

fn policy() -> Value {
    json!({
        "type": "object",
        "required": ["name", "type", "properties"],
        "properties": {
            "name": {"type": "string"},
            "type": {"type": "string", "examples": [super::SECRET_POLICY_TYPE]},
            "properties": reference("texts")
        }
    })
}

fn component() -> Value {
    json!({
        "type": "object",
        "required": ["name", "type", "properties"],
        "properties": {
            "name": {"type": "string", "minLength": 1, "description": "Unique in the file."},
            "type": {
                "enum": ["component", "actor", "capability"],
                "description": "`component` for Wasm (`actor` in old files), `capability` for a provider."
            },
            "properties": {
                "type": "object",
                "additionalProperties": false,
                "oneOf": [{"required": ["image"]}, {"required": ["application"]}],
                "properties": {
                    "image": {
                        "type": "string",
                        "description": "OCI reference, file:// path, or wasmcloud+builtin:// name of a built-in provider."
                    },
                    "application": {
                        "type": "object",
                        "description": "Instead of an image: a component of another application.",
                        "required": ["name", "component"],
                        "additionalProperties": false,
                        "properties": {"name": {"type": "string"}, "component": {"type": "string"}}
                    },
                    "id": {
                        "type": "string",
                        "pattern": "^[-A-Za-z0-9_]+$",
                        "description": "The id on the lattice; made from the names when absent."
                    },
                    "config": list(reference("config"), "Configs, merged left to right."),
                    "secrets": list(reference("secret"), "Secrets, by policy and key.")
                }
            },
            "traits": list(component_trait(), "Scaling, links and more.")
        }
    })
}

fn component_trait() -> Value {
    let of = |kind: &str, properties: Value| {
        json!({
            "if": {"properties": {"type": {"const": kind}}},
            "then": {"properties": {"properties": properties}}
        })
    };
    json!({
        "type": "object",
        "required": ["type"],
        "additionalProperties": false,
        "properties": {
            "type": {
                "type": "string",
                "description": "What the trait is.",
                "examples": ["spreadscaler", "daemonscaler", "link", "limits", "rollout"]
            },
            "properties": {"type": "object"}
        },
        "allOf": [
            of("spreadscaler", reference("scaler")),
            of("daemonscaler", reference("scaler")),
            of("link", link()),
            of("limits", limits()),
            of("rollout", rollout())
        ]
    })
}

fn config() -> Value {
    json!({
        "type": "object",
        "required": ["name"],
        "additionalProperties": false,
        "properties": {
            "name": {"type": "string"},
            "properties": {
                "$ref": "#/$defs/texts",
                "description": "Its content. Without it, a config of that very name must exist."
            }
        }
    })
}

fn secret() -> Value {
    json!({
        "type": "object",
        "required": ["name", "properties"],
        "properties": {
            "name": {"type": "string", "description": "What the component asks for."},
            "properties": {
                "type": "object",
                "required": ["policy", "key"],
                "properties": {
                    "policy": {"type": "string", "description": "The policy that names the backend."},
                    "key": {"type": "string"},
                    "field": {"type": "string"},
                    "version": {"type": "string"}
                }
            }
        }
    })
}

fn scaler() -> Value {
    json!({
        "type": "object",
        "additionalProperties": false,
        "properties": {
            "instances": {"type": "integer", "minimum": 0, "default": 1, "description": "In all; per host for a daemonscaler."},
            "replicas": {"type": "integer", "minimum": 0, "deprecated": true},
            "spread": list(json!({
                "type": "object",
                "additionalProperties": false,
                "properties": {
                    "name": {"type": "string", "description": "Unique in the scaler."},
                    "requirements": {"$ref": "#/$defs/texts", "description": "Labels a host must have."},
                    "weight": {"type": "integer", "minimum": 0, "default": super::DEFAULT_WEIGHT}
                }
            }), "Groups of hosts; leave it out for any host.")
        }
    })
}

fn link_end() -> Value {
    json!({
        "type": "object",
        "additionalProperties": false,
        "properties": {
            "config": list(reference("config"), "Configs, merged left to right."),
            "secrets": list(reference("secret"), "Secrets.")
        }
    })
}

fn link() -> Value {
    json!({
        "type": "object",
        "required": ["namespace", "package", "target"],
        "additionalProperties": false,
        "properties": {
            "namespace": {"type": "string", "examples": ["wasi", "wasmcloud"]},
            "package": {"type": "string", "examples": ["http", "keyvalue", "blobstore", "messaging"]},
            "interfaces": list(json!({"type": "string"}), "May be left out for well-known packages: then all of them."),
            "name": {"type": "string", "default": super::DEFAULT_LINK_NAME},
            "target": {
                "oneOf": [
                    {"type": "string"},
                    {
                        "type": "object",
                        "required": ["name"],
                        "additionalProperties": false,
                        "properties": {
                            "name": {"type": "string"},
                            "config": list(reference("config"), "Configs, merged left to right."),
                            "secrets": list(reference("secret"), "Secrets.")
                        }
                    }
                ]
            },
            "source": reference("linkEnd"),
            "source_config": {"type": "array", "items": reference("config"), "deprecated": true},
            "target_config": {"type": "array", "items": reference("config"), "deprecated": true}
        }
    })
}

fn limits() -> Value {
    json!({
        "type": "object",
        "additionalProperties": false,
        "properties": {
            "memory": {"type": ["string", "integer"], "description": "Most memory of one instance, e.g. 64MiB."},
            "memoryBytes": {"type": "integer", "minimum": 0},
            "executionSeconds": {"type": "integer", "minimum": 0, "description": "Longest execution of one call."}
        }
    })
}

fn rollout() -> Value {
    let plain = super::Rollout::default();
    json!({
        "type": "object",
        "additionalProperties": false,
        "properties": {
            "maxUnavailable": {
                "type": "integer", "minimum": 1, "default": plain.max_unavailable,
                "description": "Hosts that may change at the same time."
            },
            "healthySeconds": {
                "type": "integer", "minimum": 0, "default": plain.healthy_seconds,
                "description": "How long a changed host must stay well before the next one changes."
            },
            "rollback": {
                "type": "boolean", "default": plain.rollback,
                "description": "Whether a rollout that fails goes back to the image before."
            }
        }
    })
}
