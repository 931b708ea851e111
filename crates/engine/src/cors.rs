//! Which foreign pages may connect, and what browsers are told about it.

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_REQUEST_HEADERS, HOST, HeaderMap, HeaderValue,
    ORIGIN, VARY,
};

/// Origins that may connect, and whether they may send cookies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cors {
    /// The origins.
    pub origins: Origins,
    /// Whether a browser may send credentials along. Never together with [`Origins::Any`], which browsers refuse.
    pub credentials: bool,
}

/// A set of origins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origins {
    /// Every page of the web.
    Any,
    /// These, as browsers write them: `https://app.example.com`, a port only when it is not the default one.
    List(Vec<String>),
}

const METHODS: HeaderValue = HeaderValue::from_static("GET,HEAD,PUT,PATCH,POST,DELETE");

impl Cors {
    /// Whether a handshake with these headers may go on. Requests without an origin do not come from a page. With a list, a page of a
    /// foreign origin is refused on every transport: browsers do not apply CORS to WebSocket, so the server has to.
    pub fn allows(&self, headers: &HeaderMap) -> bool {
        let Some(origin) = headers.get(ORIGIN) else {
            return true;
        };
        match &self.origins {
            Origins::Any => true,
            Origins::List(list) => {
                is_listed(list, origin) || is_same_origin(origin, headers.get(HOST))
            }
        }
    }

    /// Adds what a browser has to be told to a response.
    pub fn apply(&self, request: &HeaderMap, response: &mut HeaderMap) {
        match &self.origins {
            Origins::Any => {
                response.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
            }
            Origins::List(list) => {
                response.append(VARY, HeaderValue::from_static("Origin"));
                if let Some(origin) = request.get(ORIGIN).filter(|origin| is_listed(list, origin)) {
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
    }

    /// Adds what a browser asks for before it sends the request itself.
    pub fn apply_preflight(&self, request: &HeaderMap, response: &mut HeaderMap) {
        self.apply(request, response);
        response.insert(ACCESS_CONTROL_ALLOW_METHODS, METHODS);
        if let Some(headers) = request.get(ACCESS_CONTROL_REQUEST_HEADERS) {
            response.append(
                VARY,
                HeaderValue::from_static("Access-Control-Request-Headers"),
            );
            response.insert(ACCESS_CONTROL_ALLOW_HEADERS, headers.clone());
        }
    }
}

fn is_listed(list: &[String], origin: &HeaderValue) -> bool {
    list.iter()
        .any(|allowed| allowed.as_bytes() == origin.as_bytes())
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

    fn list() -> Cors {
        Cors {
            origins: Origins::List(vec!["https://example.com".to_owned()]),
            credentials: true,
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
            assert_eq!(list().allows(&headers(origin)), allowed, "{origin:?}");
        }
    }

    #[test]
    fn only_a_listed_origin_is_named_to_the_browser() {
        let mut response = HeaderMap::new();
        list().apply(&headers(Some("https://evil-example.com")), &mut response);
        assert_eq!(response.get(ACCESS_CONTROL_ALLOW_ORIGIN), None);
        list().apply(&headers(Some("https://example.com")), &mut response);
        assert_eq!(
            response.get(ACCESS_CONTROL_ALLOW_ORIGIN).unwrap(),
            "https://example.com"
        );
        assert_eq!(
            response.get(ACCESS_CONTROL_ALLOW_CREDENTIALS).unwrap(),
            "true"
        );
    }
}
