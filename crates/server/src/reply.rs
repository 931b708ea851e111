//! The few kinds of answers that the server's own addresses give.

use bytes::Bytes;
use http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_TYPE, ETAG, HeaderMap, HeaderName, HeaderValue, IF_NONE_MATCH,
};
use http::{Response, StatusCode};

/// A text for people.
pub(crate) const TEXT: &str = "text/plain; charset=utf-8";
/// JSON.
pub(crate) const JSON: &str = "application/json; charset=utf-8";

const X_CONTENT_TYPE_OPTIONS: HeaderName = HeaderName::from_static("x-content-type-options");

/// An answer that holds at this moment only.
pub(crate) fn fresh(
    status: StatusCode,
    content_type: &'static str,
    body: impl Into<Bytes>,
) -> Response<Bytes> {
    let mut response = with_type(status, content_type, body.into());
    response
        .headers_mut()
        .insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// There is nothing here.
pub(crate) fn not_found(text: impl Into<Bytes>) -> Response<Bytes> {
    fresh(StatusCode::NOT_FOUND, TEXT, text)
}

/// Only reading is possible here.
pub(crate) fn read_only() -> Response<Bytes> {
    let mut response = fresh(
        StatusCode::METHOD_NOT_ALLOWED,
        TEXT,
        "only GET and HEAD are answered here\n",
    );
    response
        .headers_mut()
        .insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
    response
}

/// A file that does not change while the server runs.
#[derive(Clone, Debug)]
pub(crate) struct File {
    content_type: &'static str,
    body: Bytes,
    etag: HeaderValue,
}

impl File {
    /// A file with its content.
    pub(crate) fn new(content_type: &'static str, body: impl Into<Bytes>) -> Self {
        let body = body.into();
        let etag = format!("\"{:x}-{:016x}\"", body.len(), fnv1a(&body));
        let etag =
            HeaderValue::try_from(etag).expect("hexadecimal digits in quotes are a header value");
        Self {
            content_type,
            body,
            etag,
        }
    }

    /// The file, or the word that the copy of whoever asks is current. Caches ask each time, so a new version is seen at once.
    pub(crate) fn answer(&self, request: &HeaderMap) -> Response<Bytes> {
        let mut response = if self.is_known(request) {
            let mut response = Response::new(Bytes::new());
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            response
        } else {
            with_type(StatusCode::OK, self.content_type, self.body.clone())
        };
        response.headers_mut().insert(ETAG, self.etag.clone());
        response
            .headers_mut()
            .insert(CACHE_CONTROL, HeaderValue::from_static("public, max-age=0"));
        response
    }

    fn is_known(&self, request: &HeaderMap) -> bool {
        let etags = request
            .get_all(IF_NONE_MATCH)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','));
        etags
            .map(|etag| etag.trim().trim_start_matches("W/"))
            .any(|etag| etag == "*" || etag.as_bytes() == self.etag.as_bytes())
    }
}

fn with_type(status: StatusCode, content_type: &'static str, body: Bytes) -> Response<Bytes> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
        .headers_mut()
        .insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// Tells contents apart; the same in every build, so that all servers behind a balancer agree on a file's tag.
fn fnv1a(data: &[u8]) -> u64 {
    data.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_known_file_is_not_sent_again() {
        let file = File::new(TEXT, "hello");
        let answer = file.answer(&HeaderMap::new());
        assert_eq!(
            (answer.status(), answer.body().as_ref()),
            (StatusCode::OK, &b"hello"[..])
        );
        let etag = answer.headers()[ETAG].to_str().unwrap().to_owned();
        for (known, status) in [
            (etag.clone(), StatusCode::NOT_MODIFIED),
            (format!("W/{etag}"), StatusCode::NOT_MODIFIED),
            (format!("\"x\", {etag}"), StatusCode::NOT_MODIFIED),
            ("*".to_owned(), StatusCode::NOT_MODIFIED),
            ("\"x\"".to_owned(), StatusCode::OK),
        ] {
            let mut request = HeaderMap::new();
            request.insert(IF_NONE_MATCH, known.parse().unwrap());
            assert_eq!(file.answer(&request).status(), status, "{known}");
        }
        assert_ne!(File::new(TEXT, "hellp").etag, file.etag);
    }
}
