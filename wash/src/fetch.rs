//! Small things over HTTP: manifests, and the NATS server.

use http_body_util::{BodyExt, Empty};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;

const REDIRECTS_MAX: usize = 5;

/// Fetches at most `max` bytes.
pub async fn get(url: &str, max: u64) -> Result<Vec<u8>, String> {
    get_with(url, max, |_, _| {}).await
}

/// As [`get`], telling of each piece: the total if it is known, and the piece's length.
pub async fn get_with(
    url: &str,
    max: u64,
    mut moved: impl FnMut(Option<u64>, u64),
) -> Result<Vec<u8>, String> {
    let connector = hyper_rustls::HttpsConnectorBuilder::new()
        .with_native_roots()
        .map_err(|error| error.to_string())?
        .https_or_http()
        .enable_http1()
        .build();
    let client: Client<_, Empty<bytes::Bytes>> =
        Client::builder(TokioExecutor::new()).build(connector);
    let mut next = url::Url::parse(url).map_err(|error| error.to_string())?;
    let secure = next.scheme() == "https";
    for _ in 0..=REDIRECTS_MAX {
        let uri: http::Uri = next
            .as_str()
            .parse()
            .map_err(|error: http::uri::InvalidUri| error.to_string())?;
        let response = client.get(uri).await.map_err(|error| chain(&error))?;
        if response.status().is_redirection() {
            let location = response
                .headers()
                .get(http::header::LOCATION)
                .and_then(|value| value.to_str().ok());
            let location = location.ok_or("a redirect without a location")?;
            next = next.join(location).map_err(|error| error.to_string())?;
            if secure && next.scheme() != "https" {
                return Err("a redirect leads away from HTTPS".into());
            }
            continue;
        }
        if !response.status().is_success() {
            return Err(format!("the server says {}", response.status()));
        }
        return receive(response.into_body(), max, &mut moved).await;
    }
    Err("too many redirects".into())
}

async fn receive(
    mut body: hyper::body::Incoming,
    max: u64,
    moved: &mut impl FnMut(Option<u64>, u64),
) -> Result<Vec<u8>, String> {
    use hyper::body::Body;
    let total = body.size_hint().exact();
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|error| chain(&error))?.into_data() else {
            continue;
        };
        moved(total, data.len() as u64);
        bytes.extend_from_slice(&data);
        if bytes.len() as u64 > max {
            return Err(format!("it is larger than {max} bytes"));
        }
    }
    Ok(bytes)
}

/// An error and its causes on one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(&format!(": {cause}"));
        next = cause.source();
    }
    text
}
