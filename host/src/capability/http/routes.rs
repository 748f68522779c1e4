//! Which component a request is for: a pure table, built whole from a list of routes.

use std::collections::HashMap;
use std::sync::Arc;

use http::header::{self, HeaderMap, HeaderName};
use proto::id::{ComponentId, LinkName};
use proto::link::LinkKey;

use super::policy::Policy;

/// One route of one link.
#[derive(Clone, Debug)]
pub(super) struct Route {
    /// The link that asked for it.
    pub(super) key: LinkKey,
    pub(super) matcher: Matcher,
    pub(super) entry: Arc<Entry>,
}

/// Where the requests of a route go.
#[derive(Debug)]
pub(super) struct Entry {
    /// The provider that owns the route.
    pub(super) source: ComponentId,
    pub(super) target: ComponentId,
    pub(super) link_name: LinkName,
    pub(super) policy: Policy,
}

/// Which requests a route takes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Matcher {
    /// All.
    Any,
    /// This path.
    Path(String),
    /// This path and all below it.
    PathPrefix(String),
    /// Those whose header has this value.
    Host { header: HeaderName, host: String },
}

impl Matcher {
    /// A path as a link names it; a trailing `/*` takes all below it, too.
    pub(super) fn path(path: &str) -> Self {
        match path.strip_suffix("/*") {
            Some(prefix) => Self::prefix(prefix),
            None => Self::Path(path.to_owned()),
        }
    }

    /// A path and all below it.
    pub(super) fn prefix(path: &str) -> Self {
        Self::PathPrefix(path.trim_end_matches('/').to_owned())
    }

    /// For messages.
    pub(super) fn describe(&self) -> String {
        match self {
            Self::Any => "every path".to_owned(),
            Self::Path(path) => format!("path `{path}`"),
            Self::PathPrefix(path) => format!("path `{path}/*`"),
            Self::Host { header, host } => format!("header `{header}: {host}`"),
        }
    }
}

/// Why no route takes a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unmatched {
    /// There are no routes here.
    NoRoutes,
    Path,
    Host,
    MissingHost,
}

/// The routes of one listener.
#[derive(Debug, Default)]
pub(super) struct RouteTable {
    any: Option<Arc<Entry>>,
    paths: HashMap<String, Arc<Entry>>,
    /// Longest first.
    prefixes: Vec<(String, Arc<Entry>)>,
    hosts: Vec<(HeaderName, HashMap<String, Arc<Entry>>)>,
}

impl RouteTable {
    pub(super) fn new(routes: &[Route]) -> Self {
        let mut table = Self::default();
        for Route { matcher, entry, .. } in routes {
            let entry = Arc::clone(entry);
            match matcher {
                Matcher::Any => table.any = Some(entry),
                Matcher::Path(path) => {
                    table.paths.insert(path.clone(), entry);
                }
                Matcher::PathPrefix(path) => table.prefixes.push((path.clone(), entry)),
                Matcher::Host { header, host } => table.insert_host(header, host, entry),
            }
        }
        table
            .prefixes
            .sort_by_key(|(path, _)| std::cmp::Reverse(path.len()));
        table
    }

    fn insert_host(&mut self, header: &HeaderName, host: &str, entry: Arc<Entry>) {
        let hosts = match self.hosts.iter().position(|(name, _)| name == header) {
            Some(at) => &mut self.hosts[at].1,
            None => {
                self.hosts.push((header.clone(), HashMap::new()));
                let last = self.hosts.len() - 1;
                &mut self.hosts[last].1
            }
        };
        hosts.insert(host.to_ascii_lowercase(), entry);
    }

    /// The route of a request: by host, then by path, then the one that takes all.
    pub(super) fn find(
        &self,
        path: &str,
        authority: Option<&str>,
        headers: &HeaderMap,
    ) -> Result<&Arc<Entry>, Unmatched> {
        let mut missing_host = false;
        for (name, hosts) in &self.hosts {
            let value = match (headers.get(name), authority) {
                (Some(value), _) => value.to_str().unwrap_or_default(),
                (None, Some(authority)) if *name == header::HOST => authority,
                (None, _) => {
                    missing_host = true;
                    continue;
                }
            };
            if let Some(entry) = find_host(hosts, value) {
                return Ok(entry);
            }
        }
        if let Some(entry) = self.paths.get(path) {
            return Ok(entry);
        }
        let below = |prefix: &str| {
            path.strip_prefix(prefix)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        if let Some((_, entry)) = self.prefixes.iter().find(|(prefix, _)| below(prefix)) {
            return Ok(entry);
        }
        if let Some(entry) = &self.any {
            return Ok(entry);
        }
        Err(
            match (
                self.paths.is_empty() && self.prefixes.is_empty(),
                self.hosts.is_empty(),
            ) {
                (true, true) => Unmatched::NoRoutes,
                (false, _) => Unmatched::Path,
                (true, false) if missing_host => Unmatched::MissingHost,
                (true, false) => Unmatched::Host,
            },
        )
    }
}

/// With or without the port: a link may name either.
fn find_host<'a>(hosts: &'a HashMap<String, Arc<Entry>>, value: &str) -> Option<&'a Arc<Entry>> {
    let value = value.to_ascii_lowercase();
    hosts.get(&value).or_else(|| {
        let (name, port) = value.rsplit_once(':')?;
        port.bytes()
            .all(|b| b.is_ascii_digit())
            .then(|| hosts.get(name))?
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn table(matchers: &[(Matcher, &str)]) -> RouteTable {
        let route = |(matcher, target): &(Matcher, &str)| {
            let target = ComponentId::new(*target).unwrap();
            let source = ComponentId::new("server").unwrap();
            let link_name = LinkName::default();
            let key = LinkKey {
                source: source.clone(),
                name: LinkName::new(target.as_str()).unwrap(),
                namespace: "wasi".into(),
                package: "http".into(),
            };
            let entry = Arc::new(Entry {
                source,
                target,
                link_name,
                policy: Policy::default(),
            });
            Route {
                key,
                matcher: matcher.clone(),
                entry,
            }
        };
        RouteTable::new(&matchers.iter().map(route).collect::<Vec<_>>())
    }

    fn host(name: &str) -> Matcher {
        Matcher::Host {
            header: header::HOST,
            host: name.into(),
        }
    }

    #[test]
    fn the_closest_route_takes_the_request() {
        let table = table(&[
            (Matcher::path("/api"), "api"),
            (Matcher::path("/files/*"), "files"),
            (Matcher::prefix("/files/private"), "private"),
            (host("Shop.example"), "shop"),
        ]);
        for (case, path, authority, expected) in [
            ("a path, exactly", "/api", "x", Ok("api")),
            ("not below it", "/api/v1", "x", Err(Unmatched::Path)),
            ("below a prefix", "/files/a/b", "x", Ok("files")),
            ("the prefix itself", "/files", "x", Ok("files")),
            ("no half words", "/filesystem", "x", Err(Unmatched::Path)),
            ("the longest prefix", "/files/private/k", "x", Ok("private")),
            (
                "a host, whatever the path",
                "/api",
                "shop.example",
                Ok("shop"),
            ),
            ("a host with a port", "/", "shop.example:8080", Ok("shop")),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, HeaderValue::from_str(authority).unwrap());
            let found = table
                .find(path, None, &headers)
                .map(|entry| entry.target.as_str());
            assert_eq!(found, expected, "{case}");
        }
    }

    #[test]
    fn what_does_not_match_says_why() {
        let none = HeaderMap::new();
        let find = |table: &RouteTable| table.find("/", None, &none).err();
        assert_eq!(find(&table(&[])), Some(Unmatched::NoRoutes));
        assert_eq!(
            find(&table(&[(Matcher::path("/a"), "a")])),
            Some(Unmatched::Path)
        );
        assert_eq!(
            find(&table(&[(host("a"), "a")])),
            Some(Unmatched::MissingHost)
        );
        assert_eq!(find(&table(&[(Matcher::Any, "a")])), None);
    }
}
