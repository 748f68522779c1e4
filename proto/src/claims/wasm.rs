//! The token's custom section in a component.

use sha2::{Digest, Sha256};

use super::ClaimsError;

/// The section a token is written to.
const SECTION: &str = "wasmcloud_jwt";
/// The section older tools wrote it to.
const OLD_SECTION: &str = "jwt";
/// Magic number, version and layer: what every module or component starts with.
const PREAMBLE: usize = 8;
/// How a module's second four bytes read; everything else with the magic is a component.
const MODULE: [u8; 4] = [1, 0, 0, 0];
/// How deep components may nest in each other before their sections are taken as they are.
const DEPTH_MAX: usize = 64;

/// One section.
struct Section<'a> {
    id: u8,
    content: &'a [u8],
}

/// Ids of sections that hold a whole module or component.
const NESTED: [u8; 2] = [1, 4];

struct Sections<'a> {
    rest: &'a [u8],
}

impl<'a> Sections<'a> {
    fn of(wasm: &'a [u8]) -> Result<Self, ClaimsError> {
        if wasm.len() < PREAMBLE || !wasm.starts_with(b"\0asm") {
            return Err(ClaimsError::Wasm(
                "it does not start like a module or component",
            ));
        }
        Ok(Self {
            rest: &wasm[PREAMBLE..],
        })
    }
}

impl<'a> Iterator for Sections<'a> {
    type Item = Result<Section<'a>, ClaimsError>;

    fn next(&mut self) -> Option<Self::Item> {
        let (&id, after) = self.rest.split_first()?;
        let section = read_length(after)
            .and_then(|(length, content)| content.split_at_checked(length))
            .map(|(content, rest)| {
                self.rest = rest;
                Section { id, content }
            });
        if section.is_none() {
            self.rest = &[];
        }
        Some(section.ok_or(ClaimsError::Wasm("a section is cut short")))
    }
}

/// An unsigned LEB128 number of at most 32 bits, and what follows it.
fn read_length(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let mut value = 0u64;
    for (at, byte) in bytes.iter().take(5).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            let value = u32::try_from(value).ok()?;
            return Some((usize::try_from(value).ok()?, &bytes[at + 1..]));
        }
    }
    None
}

fn write_length(mut value: usize, to: &mut Vec<u8>) {
    loop {
        let low = u8::try_from(value & 0x7f).unwrap_or_default();
        value >>= 7;
        if value == 0 {
            to.push(low);
            return;
        }
        to.push(low | 0x80);
    }
}

fn write_section(id: u8, content: &[u8], to: &mut Vec<u8>) {
    to.push(id);
    write_length(content.len(), to);
    to.extend_from_slice(content);
}

impl<'a> Section<'a> {
    /// The token in it, if it is a token's section.
    fn token(&self) -> Option<&'a [u8]> {
        if self.id != 0 {
            return None;
        }
        let (length, rest) = read_length(self.content)?;
        let (name, token) = rest.split_at_checked(length)?;
        [SECTION, OLD_SECTION]
            .iter()
            .any(|known| name == known.as_bytes())
            .then_some(token)
    }
}

fn is_component(wasm: &[u8]) -> bool {
    wasm.len() >= PREAMBLE && wasm[4..PREAMBLE] != MODULE
}

/// The token of a module or component, if it is signed.
///
/// # Errors
/// [`ClaimsError`] when the bytes are no WebAssembly or the token is no text.
pub fn extract(wasm: &[u8]) -> Result<Option<String>, ClaimsError> {
    for section in Sections::of(wasm)? {
        if let Some(token) = section?.token() {
            let text = std::str::from_utf8(token).map_err(|_| ClaimsError::Malformed)?;
            return Ok(Some(text.to_owned()));
        }
    }
    Ok(None)
}

/// The bytes without any token, inner modules and components included.
///
/// Lengths are written in their shortest form, as upstream's tools do before they hash.
///
/// # Errors
/// [`ClaimsError::Wasm`] when the bytes are no WebAssembly.
pub fn strip(wasm: &[u8]) -> Result<Vec<u8>, ClaimsError> {
    strip_nested(wasm, 0)
}

fn strip_nested(wasm: &[u8], depth: usize) -> Result<Vec<u8>, ClaimsError> {
    let mut stripped = Vec::with_capacity(wasm.len());
    let nests = is_component(wasm) && depth < DEPTH_MAX;
    let sections = Sections::of(wasm)?;
    stripped.extend_from_slice(&wasm[..PREAMBLE]);
    for section in sections {
        let section = section?;
        if section.token().is_some() {
            continue;
        }
        if nests && NESTED.contains(&section.id) {
            let inner = strip_nested(section.content, depth + 1)?;
            write_section(section.id, &inner, &mut stripped);
        } else {
            write_section(section.id, section.content, &mut stripped);
        }
    }
    Ok(stripped)
}

/// The hash a token holds of its component: upper-case hex SHA-256 without the token.
///
/// # Errors
/// [`ClaimsError::Wasm`] when the bytes are no WebAssembly.
pub fn hash(wasm: &[u8]) -> Result<String, ClaimsError> {
    Ok(hex::encode_upper(Sha256::digest(strip(wasm)?)))
}

/// The bytes with `token` as their only one.
///
/// # Errors
/// [`ClaimsError::Wasm`] when the bytes are no WebAssembly.
pub fn embed(wasm: &[u8], token: &str) -> Result<Vec<u8>, ClaimsError> {
    let mut signed = strip(wasm)?;
    let mut content = Vec::with_capacity(SECTION.len() + token.len() + 1);
    write_length(SECTION.len(), &mut content);
    content.extend_from_slice(SECTION.as_bytes());
    content.extend_from_slice(token.as_bytes());
    write_section(0, &content, &mut signed);
    Ok(signed)
}
