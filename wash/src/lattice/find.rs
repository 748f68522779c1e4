//! From what a person types to what the lattice knows.

use std::path::Path;

use proto::HostId;
use proto::ctl::Host;

use super::{Lattice, LatticeError, LatticeOps};

/// Whether a text is a whole host id, not a search term.
pub fn is_host_id(text: &str) -> bool {
    text.len() == 56 && text.starts_with('N')
}

/// The host a person means: by id, by the start of the id, or by part of its name.
pub async fn find_host<L: Lattice + ?Sized>(
    lattice: &L,
    term: &str,
) -> Result<HostId, LatticeError> {
    if is_host_id(term) {
        return Ok(HostId::new(term)?);
    }
    let hosts = lattice.ping_hosts(lattice.timeout()).await?;
    choose(&hosts, term)
}

fn label(host: &Host) -> String {
    format!("{} ({})", host.id, host.friendly_name)
}

fn choose(hosts: &[Host], term: &str) -> Result<HostId, LatticeError> {
    let wanted = term.to_lowercase();
    let found: Vec<&Host> = hosts
        .iter()
        .filter(|host| {
            !wanted.is_empty()
                && (host.id.as_ref().to_lowercase().starts_with(&wanted)
                    || host.friendly_name.to_lowercase().contains(&wanted))
        })
        .collect();
    match found.as_slice() {
        [] => Err(LatticeError::NoMatch {
            term: term.to_owned(),
            known: hosts
                .iter()
                .map(|host| host.friendly_name.clone())
                .collect(),
        }),
        [host] => Ok(host.id.clone()),
        several => Err(LatticeError::Ambiguous {
            matches: several.iter().map(|host| label(host)).collect(),
        }),
    }
}

/// A path that exists (or is absolute) becomes a `file://` reference, anything else stays.
pub fn image_reference(text: &str) -> String {
    let path = Path::new(text);
    if text.contains("://") || !(path.is_absolute() || path.is_file()) {
        return text.to_owned();
    }
    let absolute = std::fs::canonicalize(path).or_else(|_| std::path::absolute(path));
    match absolute {
        Ok(absolute) => format!("file://{}", absolute.display()),
        Err(_) => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(id: &str, name: &str) -> Host {
        let host = serde_json::json!({"id": id, "friendly_name": name, "lattice": "default", "labels": {}});
        serde_json::from_value(host).unwrap()
    }

    #[test]
    fn a_host_is_found_by_the_start_of_its_id_or_part_of_its_name() {
        let hosts = [
            host("NABC", "black-ladybug-2424"),
            host("NABD", "red-fox-1"),
        ];
        for (term, expected) in [
            ("nabc", Some("NABC")),
            ("ladybug", Some("NABC")),
            ("RED", Some("NABD")),
            ("NAB", None),
            ("owl", None),
            ("", None),
        ] {
            assert_eq!(
                choose(&hosts, term)
                    .ok()
                    .map(|id| id.to_string())
                    .as_deref(),
                expected,
                "{term}"
            );
        }
        let text = choose(&hosts, "NAB").unwrap_err().to_string();
        assert_eq!(
            text,
            "Multiple matches found with the provided search term: \
             [NABC (black-ladybug-2424), NABD (red-fox-1)]"
        );
    }

    #[test]
    fn a_path_becomes_a_reference() {
        assert_eq!(image_reference("ghcr.io/acme/web:1"), "ghcr.io/acme/web:1");
        assert_eq!(image_reference("file:///x.wasm"), "file:///x.wasm");
        assert_eq!(image_reference("/no/such/x.wasm"), "file:///no/such/x.wasm");
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.wasm");
        std::fs::write(&path, b"").unwrap();
        let real = path.canonicalize().unwrap();
        assert_eq!(
            image_reference(path.to_str().unwrap()),
            format!("file://{}", real.display())
        );
    }
}
