//! The page at `/`: what a person sees first. Everything it needs comes from this server, and its policy lets nothing else in.

use bytes::Bytes;
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, HeaderMap, HeaderName, HeaderValue, REFERRER_POLICY,
};
use http::{Response, StatusCode};

use crate::reply::{self, File};

/// The page and its parts.
pub(crate) struct Pages {
    index: Bytes,
    files: [(&'static str, File); 4],
}

/// What the page tells about its server.
pub(crate) struct Facts<'a> {
    /// Name of the server.
    pub(crate) server_id: &'a str,
    /// Port it listens on.
    pub(crate) port: u16,
    /// Port of the other server of a demo.
    pub(crate) sibling: Option<u16>,
    /// The rules of its relay, as they are written.
    pub(crate) relay: &'a str,
    /// Path that the page's client connects to.
    pub(crate) path: &'a str,
}

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
const CROSS_ORIGIN_OPENER_POLICY: HeaderName =
    HeaderName::from_static("cross-origin-opener-policy");

impl Pages {
    /// The page of one server.
    pub(crate) fn new(facts: &Facts<'_>) -> Self {
        let index = include_str!("pages/index.html")
            .replace("{{server_id}}", &escape(facts.server_id))
            .replace("{{port}}", &facts.port.to_string())
            .replace("{{path}}", &escape(facts.path))
            .replace(
                "{{sibling}}",
                &facts
                    .sibling
                    .map(|port| port.to_string())
                    .unwrap_or_default(),
            )
            .replace("{{relay}}", &escape(facts.relay))
            .replace("{{version}}", env!("CARGO_PKG_VERSION"));
        let script = "text/javascript; charset=utf-8";
        Self {
            index: index.into(),
            files: [
                (
                    "/assets/page.css",
                    File::new("text/css; charset=utf-8", include_str!("pages/page.css")),
                ),
                (
                    "/assets/page.js",
                    File::new(script, include_str!("pages/page.js")),
                ),
                (
                    "/assets/client.js",
                    File::new(script, include_str!("pages/client.js")),
                ),
                (
                    "/assets/icon.svg",
                    File::new("image/svg+xml", include_str!("pages/icon.svg")),
                ),
            ],
        }
    }

    /// The answer for a path, or nothing when the page has no such part.
    pub(crate) fn answer(&self, path: &str, request: &HeaderMap) -> Option<Response<Bytes>> {
        if path == "/" {
            return Some(self.index());
        }
        self.files
            .iter()
            .find(|(name, _)| *name == path)
            .map(|(_, file)| file.answer(request))
    }

    fn index(&self) -> Response<Bytes> {
        let mut response = reply::fresh(
            StatusCode::OK,
            "text/html; charset=utf-8",
            self.index.clone(),
        );
        let headers = response.headers_mut();
        headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
        headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
        headers.insert(
            CROSS_ORIGIN_OPENER_POLICY,
            HeaderValue::from_static("same-origin"),
        );
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        response
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
        .replace('\'', "&#39;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pages() -> Pages {
        Pages::new(&Facts {
            server_id: "<alpha>",
            port: 3001,
            sibling: Some(3000),
            relay: "off",
            path: "/rt",
        })
    }

    fn text(response: &Response<Bytes>) -> &str {
        std::str::from_utf8(response.body()).unwrap()
    }

    #[test]
    fn the_page_knows_its_server() {
        let page = pages().answer("/", &HeaderMap::new()).unwrap();
        assert!(
            text(&page).contains("&lt;alpha&gt;")
                && text(&page).contains("3001")
                && text(&page).contains("\"/rt\"")
        );
        assert!(!text(&page).contains("<alpha>") && !text(&page).contains("{{"));
        for id in [
            "id=\"emit\"",
            "id=\"event\"",
            "id=\"data\"",
            "id=\"send\"",
            "id=\"received\"",
        ] {
            assert!(text(&page).contains(id), "{id}");
        }
    }

    #[test]
    fn every_part_that_the_page_names_is_there_and_nothing_comes_from_elsewhere() {
        let pages = pages();
        let page = pages.answer("/", &HeaderMap::new()).unwrap();
        let parts: Vec<&str> = text(&page)
            .split(['"', '\''])
            .filter(|part| part.starts_with("/assets/") || part.starts_with("http"))
            .collect();
        assert!(parts.len() >= 3);
        for part in parts {
            assert_eq!(
                pages
                    .answer(part, &HeaderMap::new())
                    .map(|answer| answer.status()),
                Some(StatusCode::OK),
                "{part}"
            );
        }
        // The policy has no 'unsafe-inline', so what stands inline in the page would not work.
        assert!(
            !text(&page).contains("<style")
                && !text(&page).contains("style=")
                && !text(&page).contains("<script>")
        );
        let policy = page.headers()[CONTENT_SECURITY_POLICY].to_str().unwrap();
        assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"));
        for name in ["/assets/page.css", "/assets/page.js", "/assets/client.js"] {
            let part = pages.answer(name, &HeaderMap::new()).unwrap();
            assert!(
                !text(&part).contains("//cdn") && !text(&part).contains("@import"),
                "{name}"
            );
        }
    }

    #[test]
    fn other_paths_are_not_its_own() {
        for path in [
            "",
            "/index.html",
            "/assets/",
            "/assets/../main.rs",
            "/assets/page.css/",
        ] {
            assert!(pages().answer(path, &HeaderMap::new()).is_none(), "{path}");
        }
    }
}
