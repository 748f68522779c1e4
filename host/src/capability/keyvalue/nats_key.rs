//! Keys of a NATS bucket: which fit as they are, and how the others are spelled.
//!
//! A bucket takes `-/_=.`, letters and digits, no empty part between dots. Such a key is stored as
//! it is, so that upstream's provider and ours read each other's data. Any other key gets the
//! prefix [`ESCAPED`] and `=XX` (hexadecimal) for every byte that does not fit.

/// What an escaped key starts with. A plain key that starts so is escaped as well.
const ESCAPED: &str = "=e=";

/// The name under which a bucket keeps `key`.
pub(super) fn encode(key: &str) -> String {
    if fits(key) && !key.starts_with(ESCAPED) {
        return key.to_owned();
    }
    let mut name = String::with_capacity(ESCAPED.len() + key.len() * 3);
    name.push_str(ESCAPED);
    for byte in key.bytes() {
        match byte {
            b'-' | b'/' | b'_' | b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => name.push(byte.into()),
            _ => name.push_str(&format!("={byte:02X}")),
        }
    }
    name
}

/// The key that is kept under `name`; a name that [`encode`] cannot have made stands for itself.
pub(super) fn decode(name: &str) -> String {
    name.strip_prefix(ESCAPED)
        .and_then(unescape)
        .unwrap_or_else(|| name.to_owned())
}

fn fits(key: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-/_=.".contains(&b);
    !key.is_empty() && key.bytes().all(allowed) && key.split('.').all(|part| !part.is_empty())
}

fn unescape(escaped: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(escaped.len());
    let mut rest = escaped.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'=' {
            bytes.push(byte);
            continue;
        }
        let pair = [rest.next()?, rest.next()?];
        let pair = str::from_utf8(&pair).ok()?;
        bytes.push(u8::from_str_radix(pair, 16).ok()?);
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn plain_keys_stay_plain() {
        for (key, name) in [
            ("users/42_a-b.c=d", "users/42_a-b.c=d"),
            ("user:42", "=e=user=3A42"),
            ("", "=e="),
            (".a", "=e==2Ea"),
            ("a..b", "=e=a=2E=2Eb"),
            ("=e=x", "=e==3De=3Dx"),
            ("*.>", "=e==2A=2E=3E"),
        ] {
            assert_eq!(encode(key), name, "{key}");
            assert_eq!(decode(name), key, "{name}");
        }
    }

    #[test]
    fn foreign_names_stand_for_themselves() {
        for name in ["=e=x=", "=e==zz", "=e==FF"] {
            assert_eq!(decode(name), name);
        }
    }

    proptest! {
        #[test]
        fn every_key_comes_back(key in ".{0,40}") {
            prop_assert!(fits(&encode(&key)));
            prop_assert_eq!(decode(&encode(&key)), key);
        }
    }
}
