//! Which foreign pages may connect, and what browsers are told about it.

use std::time::Duration;

use http::Method;
use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
    ACCESS_CONTROL_REQUEST_HEADERS, HOST, HeaderMap, HeaderName, HeaderValue, ORIGIN, REFERER,
    VARY,
};

use crate::origins::Origins;

/// Origins that may connect, and what their pages may do. Every response tells it, refusals too, and so does the 204 that answers a preflight.
///
/// An application that wants to answer preflights itself (Node's `preflightContinue`) puts a tower layer in front of the service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cors {
    /// The origins. Default: [`Origins::Any`].
    pub origins: Origins,
    /// Whether a browser may send credentials along. Default: no. Never together with [`Origins::Any`], which browsers refuse.
    pub credentials: bool,
    /// The methods that a preflight is told. Default: GET, HEAD, PUT, PATCH, POST, DELETE.
    pub methods: Vec<Method>,
    /// The headers that a page may send; none stands for whichever it asks for. Default: none.
    pub allowed_headers: Option<Vec<HeaderName>>,
    /// The headers of a response that a page may read besides the harmless ones. Default: no more.
    pub exposed_headers: Vec<HeaderName>,
    /// How long browsers may remember the answer to a preflight, in whole seconds. Default: none, which is 5 s for most of them. Longer saves a
    /// request for each post of a page with headers of its own.
    pub max_age: Option<Duration>,
}

impl Default for Cors {
    fn default() -> Self {
        Self {
            origins: Origins::Any,
            credentials: false,
            methods: vec![
                Method::GET,
                Method::HEAD,
                Method::PUT,
                Method::PATCH,
                Method::POST,
                Method::DELETE,
            ],
            allowed_headers: None,
            exposed_headers: Vec::new(),
            max_age: None,
        }
    }
}

impl Cors {
    /// Whether a handshake with these headers may go on. Requests without an origin do not come from a page. Unless any origin is welcome, a page
    /// of a foreign one is refused on every transport: browsers do not apply CORS to WebSocket, so the server has to.
    pub fn allows(&self, headers: &HeaderMap) -> bool {
        let Some(origin) = headers.get(ORIGIN) else {
            return true;
        };
        self.contains(origin) || is_same_origin(origin, headers.get(HOST))
    }

    fn contains(&self, origin: &HeaderValue) -> bool {
        // Of an origin that is not text, nothing but "any" can be said.
        match origin.to_str() {
            Ok(origin) => self.origins.contains(origin),
            Err(_) => self.origins == Origins::Any,
        }
    }

    /// Whether a handshake by JSONP may go on. Any page can load a script, and browsers send no origin for it; unless every page may connect,
    /// this one has to be told by the `Referer`.
    pub(crate) fn allows_script(&self, headers: &HeaderMap) -> bool {
        let referer = headers
            .get(REFERER)
            .and_then(|referer| referer.to_str().ok());
        let origin = referer.and_then(origin_of);
        self.origins == Origins::Any
            || origin.is_some_and(|origin| {
                self.contains(&origin) || is_same_origin(&origin, headers.get(HOST))
            })
    }

    /// Adds what a browser has to be told to a response.
    pub fn apply(&self, request: &HeaderMap, response: &mut HeaderMap) {
        match &self.origins {
            Origins::Any => {
                response.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
            }
            Origins::List(_) | Origins::Matching(_) => {
                response.append(VARY, HeaderValue::from_static("Origin"));
                if let Some(origin) = request.get(ORIGIN).filter(|origin| self.contains(origin)) {
                    response.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
                }
            }
        }
        if self.credentials {
            response.insert(
                ACCESS_CONTROL_ALLOW_CREDENTIALS,
                HeaderValue::from_static("true"),
            );
        }
        if !self.exposed_headers.is_empty() {
            response.insert(
                ACCESS_CONTROL_EXPOSE_HEADERS,
                list(self.exposed_headers.iter().map(HeaderName::as_str)),
            );
        }
    }

    /// Adds what a browser asks for before it sends the request itself.
    pub fn apply_preflight(&self, request: &HeaderMap, response: &mut HeaderMap) {
        self.apply(request, response);
        response.insert(
            ACCESS_CONTROL_ALLOW_METHODS,
            list(self.methods.iter().map(Method::as_str)),
        );
        match &self.allowed_headers {
            Some(names) => {
                response.insert(
                    ACCESS_CONTROL_ALLOW_HEADERS,
                    list(names.iter().map(HeaderName::as_str)),
                );
            }
            None => {
                response.append(
                    VARY,
                    HeaderValue::from_static("Access-Control-Request-Headers"),
                );
                if let Some(names) = request.get(ACCESS_CONTROL_REQUEST_HEADERS) {
                    response.insert(ACCESS_CONTROL_ALLOW_HEADERS, names.clone());
                }
            }
        }
        if let Some(age) = self.max_age {
            response.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from(age.as_secs()));
        }
    }
}

/// The origin of a page: its URL up to the path.
fn origin_of(url: &str) -> Option<HeaderValue> {
    let (scheme, behind) = url.split_once("://")?;
    let host = behind.split(['/', '?', '#']).next().unwrap_or_default();
    HeaderValue::from_str(&format!("{scheme}://{host}")).ok()
}

/// Methods or names of headers as the value of one.
fn list<'a>(tokens: impl Iterator<Item = &'a str>) -> HeaderValue {
    let text = tokens.collect::<Vec<_>>().join(",");
    HeaderValue::try_from(text).expect("methods and names of headers are tokens")
}

/// Whether the page came from the very host that it connects to. The scheme is left out: a proxy may have taken TLS off.
fn is_same_origin(origin: &HeaderValue, host: Option<&HeaderValue>) -> bool {
    let Some((host, origin)) = host.zip(origin.to_str().ok()) else {
        return false;
    };
    let origin_host = origin
        .strip_prefix("https://")
        .or_else(|| origin.strip_prefix("http://"));
    origin_host.is_some_and(|origin_host| origin_host.as_bytes() == host.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(origin: Option<&str>) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(HOST, HeaderValue::from_static("chat.example.com"));
        if let Some(origin) = origin {
            headers.insert(ORIGIN, HeaderValue::from_str(origin).unwrap());
        }
        headers
    }

    fn listed() -> Cors {
        Cors {
            origins: Origins::List(vec!["https://example.com".to_owned()]),
            credentials: true,
            ..Cors::default()
        }
    }

    #[test]
    fn a_foreign_page_is_refused_cswsh_cve_2019_13611() {
        for (origin, allowed) in [
            (None, true),
            (Some("https://example.com"), true),
            (Some("https://chat.example.com"), true),
            (Some("http://chat.example.com"), true),
            (Some("https://evil-example.com"), false),
            (Some("https://example.com.evil.org"), false),
            (Some("https://example.com:8443"), false),
            (Some("https://example.com."), false),
            (Some("https://EXAMPLE.com"), false),
            (Some("http://example.com"), false),
            (Some("null"), false),
            (Some(""), false),
            (Some("https://xn--exmple-cua.com"), false),
        ] {
            assert_eq!(listed().allows(&headers(origin)), allowed, "{origin:?}");
        }
    }

    #[test]
    fn a_script_is_loaded_by_a_listed_page_or_one_of_our_own() {
        for (referer, allowed) in [
            (None, false),
            (Some(""), false),
            (Some("example.com"), false),
            (Some("https://example.com"), true),
            (Some("https://example.com/"), true),
            (Some("https://example.com/page?x#y"), true),
            (Some("https://chat.example.com/page"), true),
            (Some("https://example.com:8443/"), false),
            (Some("https://example.com.evil.org/"), false),
            (Some("https://example.com@evil.org/"), false),
            (Some("https://evil.org/https://example.com/"), false),
            (Some("https://evil.org?https://example.com/"), false),
        ] {
            let mut headers = headers(None);
            if let Some(referer) = referer {
                headers.insert(REFERER, HeaderValue::from_str(referer).unwrap());
            }
            assert_eq!(listed().allows_script(&headers), allowed, "{referer:?}");
            let any = Cors {
                origins: Origins::Any,
                ..Cors::default()
            };
            assert!(any.allows_script(&headers));
        }
    }

    #[test]
    fn only_a_listed_origin_is_named_to_the_browser() {
        let mut response = HeaderMap::new();
        listed().apply(&headers(Some("https://evil-example.com")), &mut response);
        assert_eq!(response.get(ACCESS_CONTROL_ALLOW_ORIGIN), None);
        listed().apply(&headers(Some("https://example.com")), &mut response);
        assert_eq!(
            response.get(ACCESS_CONTROL_ALLOW_ORIGIN).unwrap(),
            "https://example.com"
        );
        assert_eq!(
            response.get(ACCESS_CONTROL_ALLOW_CREDENTIALS).unwrap(),
            "true"
        );
    }

    #[test]
    fn a_preflight_is_told_what_a_page_may_do() {
        let cors = Cors {
            methods: vec![Method::GET, Method::POST],
            allowed_headers: Some(vec![http::header::AUTHORIZATION]),
            exposed_headers: vec![http::header::ETAG, http::header::DATE],
            max_age: Some(Duration::from_secs(600)),
            ..listed()
        };
        let mut request = headers(Some("https://example.com"));
        request.insert(
            ACCESS_CONTROL_REQUEST_HEADERS,
            HeaderValue::from_static("x-secret"),
        );
        let mut response = HeaderMap::new();
        cors.apply_preflight(&request, &mut response);
        for (name, expected) in [
            ("access-control-allow-origin", "https://example.com"),
            ("access-control-allow-credentials", "true"),
            ("access-control-allow-methods", "GET,POST"),
            ("access-control-allow-headers", "authorization"),
            ("access-control-expose-headers", "etag,date"),
            ("access-control-max-age", "600"),
            ("vary", "Origin"),
        ] {
            assert_eq!(response.get(name).unwrap(), expected, "{name}");
        }
        let mut open = HeaderMap::new();
        Cors::default().apply_preflight(&request, &mut open);
        for (name, expected) in [
            ("access-control-allow-origin", Some("*")),
            ("access-control-allow-headers", Some("x-secret")),
            (
                "access-control-allow-methods",
                Some("GET,HEAD,PUT,PATCH,POST,DELETE"),
            ),
            ("access-control-allow-credentials", None),
            ("access-control-expose-headers", None),
            ("access-control-max-age", None),
            ("vary", Some("Access-Control-Request-Headers")),
        ] {
            let value = open.get(name).map(|value| value.to_str().unwrap());
            assert_eq!(value, expected, "{name}");
        }
    }
}
