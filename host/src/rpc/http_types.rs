//! The types of `wrpc:http@0.1.0`.

use bytes::Bytes;
use http::header::{HeaderName, HeaderValue};
use http::uri::Scheme;
use http::{HeaderMap, Method, StatusCode};
use wasmtime_wasi_http::Error as HttpError;

use super::codec::{CodecError, Reader, Wire};

/// The interface components serve HTTP under.
pub(super) const INCOMING: &str = "wrpc:http/incoming-handler@0.1.0";
/// The interface HTTP clients are served under.
pub(super) const OUTGOING: &str = "wrpc:http/outgoing-handler@0.1.0";
/// The one function of both.
pub(super) const HANDLE: &str = "handle";

/// `request`, with what its body and trailers carry right away.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) body: Now<Bytes>,
    pub(super) trailers: Now<Option<Fields>>,
    pub(super) method: Method,
    pub(super) path: Option<String>,
    pub(super) scheme: Option<Scheme>,
    pub(super) authority: Option<String>,
    pub(super) headers: Fields,
}

/// `response`, with what its body and trailers carry right away.
#[derive(Debug)]
pub(super) struct Response {
    pub(super) body: Now<Bytes>,
    pub(super) trailers: Now<Option<Fields>>,
    pub(super) status: StatusCode,
    pub(super) headers: Fields,
}

/// A stream or future inside a value: ready, or to come on its index path.
#[derive(Debug)]
pub(super) enum Now<T> {
    Pending,
    Ready(T),
}

/// `stream<u8>`.
impl Wire for Now<Bytes> {
    fn put(&self, out: &mut Vec<u8>) {
        match self {
            Self::Pending => out.push(0),
            Self::Ready(bytes) => bytes.put(out),
        }
    }
    fn take(from: &mut Reader<'_>) -> Result<Self, CodecError> {
        let bytes = Bytes::take(from)?;
        Ok(if bytes.is_empty() {
            Self::Pending
        } else {
            Self::Ready(bytes)
        })
    }
}

/// `future<option<fields>>`.
impl Wire for Now<Option<Fields>> {
    fn put(&self, out: &mut Vec<u8>) {
        match self {
            Self::Pending => out.push(0),
            Self::Ready(fields) => {
                out.push(1);
                fields.put(out);
            }
        }
    }
    fn take(from: &mut Reader<'_>) -> Result<Self, CodecError> {
        Ok(if from.tag("future")? {
            Self::Ready(Wire::take(from)?)
        } else {
            Self::Pending
        })
    }
}

impl Wire for Request {
    fn put(&self, out: &mut Vec<u8>) {
        self.body.put(out);
        self.trailers.put(out);
        put_method(&self.method, out);
        self.path.put(out);
        match &self.scheme {
            None => out.push(0),
            Some(scheme) => {
                out.push(1);
                put_scheme(scheme, out);
            }
        }
        self.authority.put(out);
        self.headers.put(out);
    }
    fn take(from: &mut Reader<'_>) -> Result<Self, CodecError> {
        Ok(Self {
            body: Now::take(from)?,
            trailers: Now::take(from)?,
            method: take_method(from)?,
            path: Wire::take(from)?,
            scheme: from.tag("option")?.then(|| take_scheme(from)).transpose()?,
            authority: Wire::take(from)?,
            headers: Fields::take(from)?,
        })
    }
}

impl Wire for Response {
    fn put(&self, out: &mut Vec<u8>) {
        self.body.put(out);
        self.trailers.put(out);
        self.status.as_u16().put(out);
        self.headers.put(out);
    }
    fn take(from: &mut Reader<'_>) -> Result<Self, CodecError> {
        Ok(Self {
            body: Now::take(from)?,
            trailers: Now::take(from)?,
            status: StatusCode::from_u16(u16::take(from)?)
                .map_err(|_| CodecError::IntegerOverflow { bits: 16 })?,
            headers: Fields::take(from)?,
        })
    }
}

const METHODS: [Method; 9] = [
    Method::GET,
    Method::HEAD,
    Method::POST,
    Method::PUT,
    Method::DELETE,
    Method::CONNECT,
    Method::OPTIONS,
    Method::TRACE,
    Method::PATCH,
];

fn put_method(method: &Method, out: &mut Vec<u8>) {
    match METHODS.iter().position(|m| m == method) {
        Some(index) => out.push(index as u8),
        None => {
            out.push(METHODS.len() as u8);
            method.as_str().to_owned().put(out);
        }
    }
}

fn take_method(from: &mut Reader<'_>) -> Result<Method, CodecError> {
    let index = from.case(METHODS.len() as u32 + 1)? as usize;
    match METHODS.get(index) {
        Some(method) => Ok(method.clone()),
        None => {
            let name = String::take(from)?;
            Method::from_bytes(name.as_bytes()).map_err(|_| CodecError::NoSuchName { name })
        }
    }
}

fn put_scheme(scheme: &Scheme, out: &mut Vec<u8>) {
    if *scheme == Scheme::HTTP {
        out.push(0);
    } else if *scheme == Scheme::HTTPS {
        out.push(1);
    } else {
        out.push(2);
        scheme.as_str().to_owned().put(out);
    }
}

fn take_scheme(from: &mut Reader<'_>) -> Result<Scheme, CodecError> {
    Ok(match from.case(3)? {
        0 => Scheme::HTTP,
        1 => Scheme::HTTPS,
        _ => {
            let name = String::take(from)?;
            name.parse().map_err(|_| CodecError::NoSuchName { name })?
        }
    })
}

/// `fields`: every name once, with all its values.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Fields(pub(super) HeaderMap);

impl Wire for Fields {
    fn put(&self, out: &mut Vec<u8>) {
        super::codec::put_len(out, self.0.keys_len());
        for name in self.0.keys() {
            name.as_str().to_owned().put(out);
            let values: Vec<Bytes> = self
                .0
                .get_all(name)
                .iter()
                .map(|value| Bytes::copy_from_slice(value.as_bytes()))
                .collect();
            values.put(out);
        }
    }
    fn take(from: &mut Reader<'_>) -> Result<Self, CodecError> {
        let mut map = HeaderMap::new();
        for (name, values) in Vec::<(String, Vec<Bytes>)>::take(from)? {
            let bad = || CodecError::NoSuchName { name: name.clone() };
            let key = HeaderName::from_bytes(name.as_bytes()).map_err(|_| bad())?;
            if map.contains_key(&key) {
                return Err(bad());
            }
            for value in values {
                let value = HeaderValue::from_maybe_shared(value).map_err(|_| bad())?;
                map.try_append(key.clone(), value).map_err(|_| bad())?;
            }
        }
        Ok(Self(map))
    }
}

/// `error-code`: its cases in order, which is what they are numbered by.
#[derive(Debug)]
pub(super) struct ErrorCode(pub(super) HttpError);

type FieldSize = (Option<String>, Option<u32>);

/// The cases without a payload.
fn plain_case(index: u32) -> Option<HttpError> {
    Some(match index {
        0 => HttpError::DnsTimeout,
        2 => HttpError::DestinationNotFound,
        3 => HttpError::DestinationUnavailable,
        4 => HttpError::DestinationIpProhibited,
        5 => HttpError::DestinationIpUnroutable,
        6 => HttpError::ConnectionRefused,
        7 => HttpError::ConnectionTerminated,
        8 => HttpError::ConnectionTimeout,
        9 => HttpError::ConnectionReadTimeout,
        10 => HttpError::ConnectionWriteTimeout,
        11 => HttpError::ConnectionLimitReached,
        12 => HttpError::TlsProtocolError,
        13 => HttpError::TlsCertificateError,
        15 => HttpError::HttpRequestDenied,
        16 => HttpError::HttpRequestLengthRequired,
        18 => HttpError::HttpRequestMethodInvalid,
        19 => HttpError::HttpRequestUriInvalid,
        20 => HttpError::HttpRequestUriTooLong,
        25 => HttpError::HttpResponseIncomplete,
        33 => HttpError::HttpResponseTimeout,
        34 => HttpError::HttpUpgradeFailed,
        35 => HttpError::HttpProtocolError,
        36 => HttpError::LoopDetected,
        37 => HttpError::ConfigurationError,
        _ => return None,
    })
}

/// How many cases `error-code` has.
const ERROR_CODES: u32 = 39;
/// The case that takes what the others do not name.
const INTERNAL_ERROR: u32 = 38;

impl Wire for ErrorCode {
    fn put(&self, out: &mut Vec<u8>) {
        use HttpError as E;
        let case = super::codec::put_case;
        let plain = (0..ERROR_CODES).find(|i| {
            plain_case(*i)
                .is_some_and(|e| std::mem::discriminant(&e) == std::mem::discriminant(&self.0))
        });
        if let Some(index) = plain {
            return case(out, index);
        }
        let mut with = |index: u32, payload: &dyn Fn(&mut Vec<u8>)| {
            case(out, index);
            payload(out);
        };
        match &self.0 {
            E::DnsError { rcode, info_code } => with(1, &|o| {
                rcode.put(o);
                info_code.put(o);
            }),
            E::TlsAlertReceived {
                alert_id,
                alert_message,
            } => with(14, &|o| {
                alert_id.put(o);
                alert_message.put(o);
            }),
            E::HttpRequestBodySize(size) => with(17, &|o| size.put(o)),
            E::HttpRequestHeaderSectionSize(size) => with(21, &|o| size.put(o)),
            E::HttpRequestHeaderSize {
                field_name,
                field_size,
            } => with(22, &|o| {
                Some((field_name.clone(), *field_size)).put(o);
            }),
            E::HttpRequestTrailerSectionSize(size) => with(23, &|o| size.put(o)),
            E::HttpRequestTrailerSize {
                field_name,
                field_size,
            } => {
                with(24, &|o| (field_name.clone(), *field_size).put(o));
            }
            E::HttpResponseHeaderSectionSize(size) => with(26, &|o| size.put(o)),
            E::HttpResponseHeaderSize {
                field_name,
                field_size,
            } => {
                with(27, &|o| (field_name.clone(), *field_size).put(o));
            }
            E::HttpResponseBodySize(size) => with(28, &|o| size.put(o)),
            E::HttpResponseTrailerSectionSize(size) => with(29, &|o| size.put(o)),
            E::HttpResponseTrailerSize {
                field_name,
                field_size,
            } => {
                with(30, &|o| (field_name.clone(), *field_size).put(o));
            }
            E::HttpResponseTransferCoding(coding) => with(31, &|o| coding.put(o)),
            E::HttpResponseContentCoding(coding) => with(32, &|o| coding.put(o)),
            E::InternalError(text) => with(INTERNAL_ERROR, &|o| text.put(o)),
            other => with(INTERNAL_ERROR, &|o| Some(other.to_string()).put(o)),
        }
    }

    fn take(from: &mut Reader<'_>) -> Result<Self, CodecError> {
        use HttpError as E;
        let index = from.case(ERROR_CODES)?;
        if let Some(error) = plain_case(index) {
            return Ok(Self(error));
        }
        Ok(Self(match index {
            1 => {
                let (rcode, info_code) = Wire::take(from)?;
                E::DnsError { rcode, info_code }
            }
            14 => {
                let (alert_id, alert_message) = Wire::take(from)?;
                E::TlsAlertReceived {
                    alert_id,
                    alert_message,
                }
            }
            17 => E::HttpRequestBodySize(Wire::take(from)?),
            21 => E::HttpRequestHeaderSectionSize(Wire::take(from)?),
            22 => {
                let (field_name, field_size) =
                    <Option<FieldSize> as Wire>::take(from)?.unwrap_or_default();
                E::HttpRequestHeaderSize {
                    field_name,
                    field_size,
                }
            }
            23 => E::HttpRequestTrailerSectionSize(Wire::take(from)?),
            24 => {
                let (field_name, field_size) = FieldSize::take(from)?;
                E::HttpRequestTrailerSize {
                    field_name,
                    field_size,
                }
            }
            26 => E::HttpResponseHeaderSectionSize(Wire::take(from)?),
            27 => {
                let (field_name, field_size) = FieldSize::take(from)?;
                E::HttpResponseHeaderSize {
                    field_name,
                    field_size,
                }
            }
            28 => E::HttpResponseBodySize(Wire::take(from)?),
            29 => E::HttpResponseTrailerSectionSize(Wire::take(from)?),
            30 => {
                let (field_name, field_size) = FieldSize::take(from)?;
                E::HttpResponseTrailerSize {
                    field_name,
                    field_size,
                }
            }
            31 => E::HttpResponseTransferCoding(Wire::take(from)?),
            32 => E::HttpResponseContentCoding(Wire::take(from)?),
            _ => E::InternalError(Wire::take(from)?),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::super::codec::{decode_from, encode_to_vec};
    use super::*;

    #[test]
    fn the_observed_request_reads_and_writes() {
        let mut bytes = b"\0\0\x02\x01\x0e/some/path?x=1\x01\0\x01\x0f127.0.0.1:18000".to_vec();
        bytes.extend_from_slice(b"\x01\x04host\x01\x0f127.0.0.1:18000");
        let (request, used) = decode_from::<Request>(&bytes).unwrap().unwrap();
        assert_eq!(used, bytes.len());
        assert_eq!(request.method, Method::POST);
        assert_eq!(request.path.as_deref(), Some("/some/path?x=1"));
        assert_eq!(request.scheme, Some(Scheme::HTTP));
        assert_eq!(request.headers.0["host"], "127.0.0.1:18000");
        assert_eq!(encode_to_vec(&request), bytes);
    }

    #[test]
    fn the_observed_response_reads_and_writes() {
        let bytes = b"\0\0\xc8\x01\0";
        let (response, _) = decode_from::<Response>(bytes).unwrap().unwrap();
        assert_eq!(response.status, StatusCode::OK);
        assert_eq!(encode_to_vec(&response), bytes);
    }

    #[test]
    fn every_error_code_reads_back() {
        for index in 0..ERROR_CODES {
            // Absent payloads: enough zeros for any of them.
            let bytes = [index as u8, 0, 0, 0, 0];
            let (code, used) = decode_from::<ErrorCode>(&bytes).unwrap().unwrap();
            let written = encode_to_vec(&code);
            if index == 22 {
                assert_eq!(written, [22, 1, 0, 0]);
            } else {
                assert_eq!(written, &bytes[..used], "{code:?}");
            }
        }
        assert!(decode_from::<ErrorCode>(&[39]).is_err());
    }

    #[test]
    fn a_repeated_header_name_is_refused() {
        assert!(decode_from::<Fields>(b"\x02\x01a\x01\x01x\x01A\x01\x01y").is_err());
    }
}
