//! What an HTTP link says about its requests: methods, time, caching, and other origins.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine as _;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Response, StatusCode};

use crate::link::LinkError;

/// Settings of one link, by lower-case key.
pub(super) struct Settings(BTreeMap<String, String>);

impl Settings {
    /// Reads a link's settings: `config_json` or `config_b64` replaces all others.
    pub(super) fn read(config: &BTreeMap<String, String>) -> Result<Self, LinkError> {
        let lower = |(key, value): (&String, &String)| (key.to_ascii_lowercase(), value.clone());
        let plain: BTreeMap<_, _> = config.iter().map(lower).collect();
        let json = match (plain.get("config_json"), plain.get("config_b64")) {
            (Some(json), _) => Some(("config_json", json.clone())),
            (None, Some(text)) => Some(("config_b64", decode(text)?)),
            (None, None) => None,
        };
        match json {
            None => Ok(Self(plain)),
            Some((key, json)) => Self::from_json(key, &json),
        }
    }

    fn from_json(key: &'static str, json: &str) -> Result<Self, LinkError> {
        let object: serde_json::Map<String, serde_json::Value> = serde_json::from_str(json)
            .map_err(|error| LinkError::BadSetting {
                key: key.to_owned(),
                value: json.to_owned(),
                reason: format!("it must hold a JSON object: {error}"),
            })?;
        let text = |value: serde_json::Value| match value {
            serde_json::Value::String(text) => text,
            other => other.to_string(),
        };
        Ok(Self(
            object
                .into_iter()
                .map(|(k, v)| (k.to_ascii_lowercase(), text(v)))
                .collect(),
        ))
    }

    pub(super) fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    /// A value that has to read as `T`.
    pub(super) fn parse<T: std::str::FromStr>(
        &self,
        key: &'static str,
        reason: &str,
    ) -> Result<Option<T>, LinkError> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        value
            .trim()
            .parse()
            .map(Some)
            .map_err(|_| bad(key, value, reason))
    }

    fn list(&self, key: &'static str) -> Result<Option<Vec<String>>, LinkError> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        serde_json::from_str(value)
            .map(Some)
            .map_err(|_| bad(key, value, "it must be a JSON array of strings"))
    }

    fn joined(&self, key: &'static str, or: &'static str) -> Result<HeaderValue, LinkError> {
        let Some(list) = self.list(key)? else {
            return Ok(HeaderValue::from_static(or));
        };
        let text = list.join(", ");
        HeaderValue::from_str(&text).map_err(|_| bad(key, &text, "it must fit in a header"))
    }
}

fn decode(text: &str) -> Result<String, LinkError> {
    let bytes = base64::engine::general_purpose::STANDARD_NO_PAD.decode(text.trim_end_matches('='));
    bytes
        .ok()
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .ok_or_else(|| bad("config_b64", text, "it must be base64 of a JSON object"))
}

pub(super) fn bad(key: &str, value: &str, reason: &str) -> LinkError {
    LinkError::BadSetting {
        key: key.to_owned(),
        value: value.to_owned(),
        reason: reason.to_owned(),
    }
}

/// What holds for all requests of one route.
#[derive(Debug, Default)]
pub(super) struct Policy {
    pub(super) readonly: bool,
    pub(super) timeout: Option<Duration>,
    cache_control: Option<HeaderValue>,
    cors: Option<Cors>,
}

/// What browsers on other sites may do.
#[derive(Debug)]
struct Cors {
    /// `None`: any.
    origins: Option<Vec<String>>,
    headers: HeaderValue,
    methods: HeaderValue,
    exposed: Option<HeaderValue>,
    max_age: HeaderValue,
}

impl Policy {
    pub(super) fn read(settings: &Settings) -> Result<Self, LinkError> {
        let cache_control = match settings.get("cache_control") {
            None => None,
            Some(text) => Some(
                HeaderValue::from_str(text)
                    .map_err(|_| bad("cache_control", text, "it must fit in a header"))?,
            ),
        };
        let timeout: Option<u64> = settings.parse("timeout_ms", "it must be milliseconds")?;
        Ok(Self {
            readonly: settings.parse("readonly_mode", "it must be `true` or `false`")?
                == Some(true),
            timeout: timeout.map(Duration::from_millis),
            cache_control,
            cors: Some(Cors::read(settings)?),
        })
    }

    /// The answer that needs no component: to a preflight request, or to a method not allowed.
    pub(super) fn answer(&self, method: &Method, headers: &HeaderMap) -> Option<StatusCode> {
        let preflight = *method == Method::OPTIONS
            && headers.contains_key(header::ORIGIN)
            && headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
        if preflight && self.cors.is_some() {
            return Some(StatusCode::OK);
        }
        let reads = *method == Method::GET || *method == Method::HEAD;
        (self.readonly && !reads).then_some(StatusCode::METHOD_NOT_ALLOWED)
    }

    /// Adds the headers that the settings ask for.
    pub(super) fn finish<B>(&self, origin: Option<&HeaderValue>, response: &mut Response<B>) {
        let headers = response.headers_mut();
        if let Some(value) = &self.cache_control
            && !headers.contains_key(header::CACHE_CONTROL)
        {
            headers.insert(header::CACHE_CONTROL, value.clone());
        }
        if let (Some(cors), Some(origin)) = (&self.cors, origin) {
            cors.allow(origin, headers);
        }
    }

    /// Adds what only a preflight answer carries.
    pub(super) fn finish_preflight<B>(&self, response: &mut Response<B>) {
        let Some(cors) = &self.cors else { return };
        let headers = response.headers_mut();
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, cors.methods.clone());
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, cors.headers.clone());
        headers.insert(header::ACCESS_CONTROL_MAX_AGE, cors.max_age.clone());
    }
}

impl Cors {
    fn read(settings: &Settings) -> Result<Self, LinkError> {
        let age: u64 = settings
            .parse("cors_max_age_secs", "it must be seconds")?
            .unwrap_or(300);
        Ok(Self {
            origins: settings.list("cors_allowed_origins")?,
            headers: settings.joined(
                "cors_allowed_headers",
                "accept, accept-language, content-type, content-language",
            )?,
            methods: settings.joined(
                "cors_allowed_methods",
                "GET, POST, PUT, DELETE, HEAD, OPTIONS",
            )?,
            exposed: match settings.get("cors_exposed_headers") {
                None => None,
                Some(_) => Some(settings.joined("cors_exposed_headers", "")?),
            },
            max_age: HeaderValue::from(age),
        })
    }

    fn allow(&self, origin: &HeaderValue, headers: &mut HeaderMap) {
        const VARY_ORIGIN: HeaderValue = HeaderValue::from_static("origin");
        let allowed = match &self.origins {
            None => HeaderValue::from_static("*"),
            Some(list)
                if list
                    .iter()
                    .any(|allowed| allowed.as_bytes() == origin.as_bytes()) =>
            {
                headers.append(header::VARY, VARY_ORIGIN);
                origin.clone()
            }
            Some(_) => return,
        };
        set_if_absent(headers, header::ACCESS_CONTROL_ALLOW_ORIGIN, allowed);
        if let Some(exposed) = &self.exposed {
            set_if_absent(
                headers,
                header::ACCESS_CONTROL_EXPOSE_HEADERS,
                exposed.clone(),
            );
        }
    }
}

fn set_if_absent(headers: &mut HeaderMap, name: HeaderName, value: HeaderValue) {
    headers.entry(name).or_insert(value);
}
