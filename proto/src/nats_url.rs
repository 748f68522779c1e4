//! Who connects, as the address of a NATS server can say it: `nats://USER:PASSWORD@HOST:PORT`, or
//! `nats://TOKEN@HOST:PORT`. Percent signs stand for characters that an address cannot hold.

use std::ops::Range;

/// What an address says of who connects.
#[derive(Clone, PartialEq, Eq)]
pub enum Login {
    /// A user and a password.
    User {
        /// The user.
        user: String,
        /// The password.
        password: String,
    },
    /// A token.
    Token(String),
}

/// Where user and password stand: after the scheme, before the last `@`.
fn place(url: &str) -> Option<Range<usize>> {
    let start = url.find("://").map_or(0, |at| at + "://".len());
    let end = start + url[start..].rfind('@')?;
    Some(start..end)
}

/// Who connects; `None` where the address does not say.
#[must_use]
pub fn login(url: &str) -> Option<Login> {
    let text = &url[place(url)?];
    match text.split_once(':') {
        Some((user, password)) => Some(Login::User {
            user: decoded(user),
            password: decoded(password),
        }),
        None if text.is_empty() => None,
        None => Some(Login::Token(decoded(text))),
    }
}

/// The address alone, as it may be shown.
#[must_use]
pub fn without_login(url: &str) -> String {
    match place(url) {
        Some(place) => format!("{}{}", &url[..place.start], &url[place.end + 1..]),
        None => url.to_owned(),
    }
}

/// The address with this user and password in it, in place of any others.
#[must_use]
pub fn with_user(url: &str, user: &str, password: &str) -> String {
    let url = without_login(url);
    let start = url.find("://").map_or(0, |at| at + "://".len());
    let (scheme, rest) = url.split_at(start);
    format!("{scheme}{}:{}@{rest}", encoded(user), encoded(password))
}

fn encoded(text: &str) -> String {
    let mut all = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            all.push(char::from(byte));
        } else {
            all.push_str(&format!("%{byte:02X}"));
        }
    }
    all
}

/// Reads `%40` as `@`; what is no such code stays as it is.
fn decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let code = |at: usize| {
        let digits = text.get(at + 1..at + 3)?;
        let hex = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        u8::from_str_radix(digits, 16).ok().filter(|_| hex)
    };
    let mut all = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        match code(at).filter(|_| byte == b'%') {
            Some(code) => {
                all.push(code);
                at += 3;
            }
            None => {
                all.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&all).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(login: Option<Login>) -> String {
        match login {
            Some(Login::User { user, password }) => format!("{user} {password}"),
            Some(Login::Token(token)) => token,
            None => String::new(),
        }
    }

    #[test]
    fn an_address_may_say_who_connects() {
        for (url, expected, shown_as) in [
            ("nats://u:p@a:4222", "u p", "nats://a:4222"),
            ("u:p%40ss+w%26rd@a", "u p@ss+w&rd", "a"),
            ("u:p@ss@a", "u p@ss", "a"),
            ("tls://t0ken@a", "t0ken", "tls://a"),
            ("nats://a:4222", "", "nats://a:4222"),
            ("u:100%@a", "u 100%", "a"),
            ("u:%+1@a", "u %+1", "a"),
            ("u:%é@a", "u %é", "a"),
            ("", "", ""),
        ] {
            assert_eq!(shown(login(url)), expected, "{url}");
            assert_eq!(without_login(url), shown_as, "{url}");
        }
    }

    #[test]
    fn whatever_is_written_is_read_back() {
        for password in ["plain", "p@ss:w/rd", "100%", "ünï cödé", ""] {
            for url in ["nats://h:1", "nats://old:login@h:1", "h:1"] {
                let with = with_user(url, "u:ser", password);
                assert_eq!(shown(login(&with)), format!("u:ser {password}"), "{with}");
                assert_eq!(without_login(&with), without_login(url));
            }
        }
    }
}
