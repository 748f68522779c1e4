//! From a tree to a manifest.

use super::error::{Level, Problem, ProblemKind};
use super::fields::{Object, Reader, Unknown, child, name_of, suggestion};
use super::interfaces;
use super::model::*;
use super::node::{Node, Value};

impl Reader {
    pub(super) fn manifest(&mut self, node: &Node) -> Option<Manifest> {
        if matches!(node.value, Value::Null) {
            self.push(Problem::field("", node.at, "the manifest is empty"));
            return None;
        }
        let object = self.object(
            node,
            "",
            &["apiVersion", "kind", "metadata", "spec"],
            Unknown::Refuse,
        )?;
        let api_version = self.required_text(&object, "apiVersion");
        let kind = self.required_text(&object, "kind");
        let metadata = self
            .required(&object, "metadata")
            .and_then(|node| self.metadata(node));
        let spec = self
            .required(&object, "spec")
            .and_then(|node| self.specification(node));
        Some(Manifest {
            api_version,
            kind,
            metadata: metadata?,
            spec: spec?,
        })
    }

    fn metadata(&mut self, node: &Node) -> Option<Metadata> {
        let object = self.object(
            node,
            "metadata",
            &["name", "annotations", "labels"],
            Unknown::Tolerate,
        )?;
        Some(Metadata {
            name: self.required_text(&object, "name"),
            annotations: self.text_map(&object, "annotations").unwrap_or_default(),
            labels: self.text_map(&object, "labels").unwrap_or_default(),
        })
    }

    fn specification(&mut self, node: &Node) -> Option<Specification> {
        let object = self.object(node, "spec", &["components", "policies"], Unknown::Tolerate)?;
        if object.get(&["components"]).is_none() {
            self.missing(&object, "components");
        }
        Some(Specification {
            components: self.each(&object, "components", Self::component),
            policies: self.each(&object, "policies", Self::policy),
        })
    }

    fn policy(&mut self, node: &Node, path: &str) -> Option<Policy> {
        let object = self.object(
            node,
            path,
            &["name", "type", "properties"],
            Unknown::Tolerate,
        )?;
        if object.get(&["properties"]).is_none() {
            self.missing(&object, "properties");
        }
        Some(Policy {
            name: self.required_text(&object, "name"),
            policy_type: self.required_text(&object, "type"),
            properties: self.text_map(&object, "properties").unwrap_or_default(),
        })
    }

    fn component(&mut self, node: &Node, path: &str) -> Option<Component> {
        let object = self.object(
            node,
            path,
            &["name", "type", "properties", "traits"],
            Unknown::Tolerate,
        )?;
        let name = self.required_text(&object, "name");
        let kind = self.component_kind(&object);
        let properties = match self.required(&object, "properties") {
            Some(node) => self
                .properties(node, &object.child("properties"))
                .unwrap_or_default(),
            None => Properties::default(),
        };
        let source = kind.unwrap_or(ComponentKind::Component);
        let traits = self.each(&object, "traits", |reader, node, path| {
            reader.component_trait(node, path, source)
        });
        Some(Component {
            name,
            kind: kind?,
            properties,
            traits,
        })
    }

    fn component_kind(&mut self, object: &Object<'_>) -> Option<ComponentKind> {
        const KINDS: &[&str] = &["component", "actor", "capability"];
        let node = self.required(object, "type")?;
        let path = object.child("type");
        let text = self.text(node, &path)?;
        match text.as_str() {
            "component" | "actor" => Some(ComponentKind::Component),
            "capability" => Some(ComponentKind::Capability),
            other => {
                let problem = Problem::field(
                    &path,
                    node.at,
                    format!("there is no component type `{other}`"),
                );
                self.push(match suggestion(other, KINDS) {
                    Some(close) => problem.hint(format!("did you mean `{close}`?")),
                    None => problem.hint("write `component` for Wasm, `capability` for a provider"),
                });
                None
            }
        }
    }

    fn properties(&mut self, node: &Node, path: &str) -> Option<Properties> {
        let known = &["image", "application", "id", "config", "secrets"];
        let object = self.object(node, path, known, Unknown::Refuse)?;
        let application = object.get(&["application"]).and_then(|(_, node)| {
            let path = object.child("application");
            let object = self.object(node, &path, &["name", "component"], Unknown::Refuse)?;
            Some(SharedReference {
                name: self.required_text(&object, "name"),
                component: self.required_text(&object, "component"),
            })
        });
        Some(Properties {
            image: self.optional_text(&object, "image"),
            application,
            id: self.optional_text(&object, "id"),
            config: self.each(&object, "config", Self::config),
            secrets: self.each(&object, "secrets", Self::secret),
        })
    }

    fn config(&mut self, node: &Node, path: &str) -> Option<ConfigProperty> {
        let object = self.object(node, path, &["name", "properties"], Unknown::Refuse)?;
        Some(ConfigProperty {
            name: self.required_text(&object, "name"),
            properties: self.text_map(&object, "properties"),
        })
    }

    fn secret(&mut self, node: &Node, path: &str) -> Option<SecretProperty> {
        let object = self.object(node, path, &["name", "properties"], Unknown::Tolerate)?;
        let name = self.required_text(&object, "name");
        let inner = self.required(&object, "properties")?;
        let path = object.child("properties");
        let known = &["policy", "key", "field", "version"];
        let object = self.object(inner, &path, known, Unknown::Tolerate)?;
        Some(SecretProperty {
            name,
            properties: SecretSource {
                policy: self.required_text(&object, "policy"),
                key: self.required_text(&object, "key"),
                field: self.optional_text(&object, "field"),
                version: self.optional_text(&object, "version"),
            },
        })
    }

    fn component_trait(&mut self, node: &Node, path: &str, source: ComponentKind) -> Option<Trait> {
        const TYPES: &[&str] = &["link", "spreadscaler", "daemonscaler", "limits", "rollout"];
        let object = self.object(node, path, &["type", "properties"], Unknown::Refuse)?;
        let kind_node = self.required(&object, "type")?;
        let kind = self.text(kind_node, &object.child("type"))?;
        let empty = Node {
            at: node.at,
            value: Value::Map(Vec::new()),
        };
        let properties = object.get(&["properties"]).map_or(&empty, |(_, node)| node);
        let path = object.child("properties");
        match kind.as_str() {
            "spreadscaler" => self
                .as_upstream("Scaler", |it| it.scaler(properties, &path))
                .map(Trait::Spread),
            "daemonscaler" => self
                .as_upstream("Scaler", |it| it.scaler(properties, &path))
                .map(Trait::Daemon),
            "link" => self
                .as_upstream("Link", |it| it.link(properties, &path, source))
                .map(Trait::Link),
            "limits" => self.limits(properties, &path).map(Trait::Limits),
            "rollout" => self.rollout(properties, &path).map(Trait::Rollout),
            other => {
                if !self.stored {
                    let path = object.child("type");
                    let problem =
                        Problem::field(&path, kind_node.at, format!("there is no trait `{other}`"));
                    self.push(match suggestion(other, TYPES) {
                        Some(close) => problem.hint(format!("did you mean `{close}`?")),
                        None => problem
                            .hint(format!(
                                "it has no effect; the traits are {}",
                                TYPES.join(", ")
                            ))
                            .warning(),
                    });
                }
                Some(Trait::Other {
                    kind,
                    properties: properties.to_value(),
                })
            }
        }
    }

    /// Upstream takes a broken trait for a custom one and says so when it checks the rules; its
    /// sentence stays at the beginning of ours.
    fn as_upstream<T>(
        &mut self,
        what: &str,
        read: impl FnOnce(&mut Self) -> Option<T>,
    ) -> Option<T> {
        let before = self.problems.len();
        let read = read(self);
        for problem in self.problems[before..]
            .iter_mut()
            .filter(|problem| problem.level == Level::Error)
        {
            problem.kind = ProblemKind::Rule;
            if !problem.message.starts_with("custom link") {
                problem.message = format!(
                    "{what} trait deserialized as custom trait, ensure fields are correct: {}",
                    problem.message
                );
            }
        }
        read
    }

    fn scaler(&mut self, node: &Node, path: &str) -> Option<Scaler> {
        let object = self.object(
            node,
            path,
            &["instances", "replicas", "spread"],
            Unknown::Refuse,
        )?;
        let instances = self.small(&object, &["instances", "replicas"]).unwrap_or(1);
        let list = self.list(&object, &["spread"]).unwrap_or_default();
        let path = object.child("spread");
        let single = list.len() == 1;
        let mut spread = Vec::new();
        for (index, node) in list.iter().enumerate() {
            let unnamed = if single {
                DEFAULT_SPREAD_NAME.to_owned()
            } else {
                format!("{DEFAULT_SPREAD_NAME}-{}", index + 1)
            };
            spread.extend(self.spread(node, &format!("{path}[{index}]"), unnamed));
        }
        Some(Scaler { instances, spread })
    }

    fn spread(&mut self, node: &Node, path: &str, unnamed: String) -> Option<Spread> {
        let object = self.object(
            node,
            path,
            &["name", "requirements", "weight"],
            Unknown::Refuse,
        )?;
        Some(Spread {
            name: self.optional_text(&object, "name").unwrap_or(unnamed),
            requirements: self.text_map(&object, "requirements").unwrap_or_default(),
            weight: self.small(&object, &["weight"]),
        })
    }

    fn link(&mut self, node: &Node, path: &str, from: ComponentKind) -> Option<LinkTrait> {
        let known = &[
            "namespace",
            "package",
            "interfaces",
            "target",
            "source",
            "name",
            "source_config",
            "target_config",
        ];
        let object = self.object(node, path, known, Unknown::Refuse)?;
        let namespace = self.required_text(&object, "namespace");
        let package = self.required_text(&object, "package");
        let interfaces = self.link_interfaces(&object, &namespace, &package, from);
        let old_source = self.each(&object, "source_config", Self::config);
        let old_target = self.each(&object, "target_config", Self::config);
        let source = match object.get(&["source"]) {
            Some((_, node)) => self.link_end(node, &object.child("source")),
            None if old_source.is_empty() => None,
            None => Some(LinkEnd {
                config: old_source,
                secrets: Vec::new(),
            }),
        };
        let target = self.link_target(&object, old_target)?;
        let name = self.optional_text(&object, "name");
        Some(LinkTrait {
            namespace,
            package,
            interfaces,
            source,
            target,
            name,
        })
    }

    /// The interfaces as written, or all that a package is known to have.
    fn link_interfaces(
        &mut self,
        object: &Object<'_>,
        namespace: &str,
        package: &str,
        from: ComponentKind,
    ) -> Vec<String> {
        if object.get(&["interfaces"]).is_some() {
            return self.each(object, "interfaces", Self::text);
        }
        if let Some(known) = interfaces::interfaces_of(from, namespace, package) {
            return known.iter().map(|&name| name.to_owned()).collect();
        }
        let message = format!("field `interfaces` is missing in {}", name_of(&object.path));
        let hint = format!(
            "list the interfaces of {namespace}:{package} to link, e.g. `interfaces: [handler]`"
        );
        self.push(Problem::field(&object.path, object.at, message).hint(hint));
        Vec::new()
    }

    fn link_end(&mut self, node: &Node, path: &str) -> Option<LinkEnd> {
        let object = self.object(node, path, &["config", "secrets"], Unknown::Refuse)?;
        Some(LinkEnd {
            config: self.each(&object, "config", Self::config),
            secrets: self.each(&object, "secrets", Self::secret),
        })
    }

    fn link_target(
        &mut self,
        object: &Object<'_>,
        old_config: Vec<ConfigProperty>,
    ) -> Option<LinkTarget> {
        let path = object.child("target");
        let Some((_, node)) = object.get(&["target"]) else {
            let problem = Problem::field(
                &object.path,
                object.at,
                "custom link is missing 'target' name property",
            );
            self.push(
                problem.hint("name the component or provider that serves the link: `target: NAME`"),
            );
            return None;
        };
        if matches!(node.value, Value::Map(_)) {
            if !old_config.is_empty() {
                let old = child(&object.path, "target_config");
                let problem = Problem::field(
                    &old,
                    object.at,
                    "`target_config` cannot stand beside a `target` with fields",
                );
                self.push(problem.hint("move it to `config` under `target`"));
            }
            let object =
                self.object(node, &path, &["name", "config", "secrets"], Unknown::Refuse)?;
            return Some(LinkTarget {
                name: self.required_text(&object, "name"),
                config: self.each(&object, "config", Self::config),
                secrets: self.each(&object, "secrets", Self::secret),
            });
        }
        Some(LinkTarget {
            name: self.text(node, &path)?,
            config: old_config,
            secrets: Vec::new(),
        })
    }

    fn limits(&mut self, node: &Node, path: &str) -> Option<Limits> {
        let object = self.object(
            node,
            path,
            &["memory", "memoryBytes", "executionSeconds"],
            Unknown::Refuse,
        )?;
        let memory = match object.get(&["memory"]) {
            Some((_, node)) => self.bytes(node, &object.child("memory")),
            None => self.unsigned(&object, &["memoryBytes"]),
        };
        Some(Limits {
            memory_bytes: memory,
            execution_seconds: self.unsigned(&object, &["executionSeconds"]),
        })
    }

    /// Bytes as a number, or as a text such as `64MiB`.
    fn bytes(&mut self, node: &Node, path: &str) -> Option<u64> {
        if let Value::Unsigned(bytes) = node.value {
            return Some(bytes);
        }
        let text = self.text(node, path)?;
        let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let factor: Option<u64> = match text[digits.len()..].trim() {
            "" | "B" => Some(1),
            "KiB" | "Ki" | "K" | "KB" => Some(1 << 10),
            "MiB" | "Mi" | "M" | "MB" => Some(1 << 20),
            "GiB" | "Gi" | "G" | "GB" => Some(1 << 30),
            _ => None,
        };
        let bytes = digits
            .trim()
            .parse::<u64>()
            .ok()
            .zip(factor)
            .and_then(|(number, factor)| number.checked_mul(factor));
        if bytes.is_none() {
            let problem = Problem::field(
                path,
                node.at,
                format!("`{text}` is not an amount of memory"),
            );
            self.push(problem.hint("write for example `64MiB`"));
        }
        bytes
    }

    fn rollout(&mut self, node: &Node, path: &str) -> Option<Rollout> {
        let object = self.object(
            node,
            path,
            &["maxUnavailable", "healthySeconds", "rollback"],
            Unknown::Refuse,
        )?;
        let plain = Rollout::default();
        Some(Rollout {
            max_unavailable: self
                .small(&object, &["maxUnavailable"])
                .unwrap_or(plain.max_unavailable)
                .max(1),
            healthy_seconds: self
                .unsigned(&object, &["healthySeconds"])
                .unwrap_or(plain.healthy_seconds),
            rollback: self.flag(&object, "rollback").unwrap_or(plain.rollback),
        })
    }
}
