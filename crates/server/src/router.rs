//! Where a request goes: to the server's own addresses, or to Socket.IO.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::HeaderMap;
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use tower_service::Service;

use crate::bundle::Bundle;
use crate::health::Health;
use crate::pages::Pages;
use crate::reply;

/// Answers the server's own addresses and hands what is below the Socket.IO path to `socket_io`.
#[derive(Clone)]
pub(crate) struct Router<S> {
    site: Arc<Site>,
    socket_io: S,
}

/// Everything that is answered without Socket.IO.
pub(crate) struct Site {
    /// Path of the Socket.IO requests, without a trailing slash.
    pub(crate) path: String,
    /// How the server is.
    pub(crate) health: Arc<Health>,
    /// The page at `/`.
    pub(crate) pages: Pages,
    /// The official client, below the Socket.IO path.
    pub(crate) bundle: Bundle,
}

impl<S> Router<S> {
    /// A router in front of Socket.IO.
    pub(crate) fn new(site: Arc<Site>, socket_io: S) -> Self {
        Self { site, socket_io }
    }
}

impl<S, B> Service<Request<B>> for Router<S>
where
    S: Service<Request<B>, Response = Response<Full<Bytes>>, Error = Infallible>,
    S::Future: Unpin,
{
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Answer<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.socket_io.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        match self
            .site
            .answer(request.method(), request.uri().path(), request.headers())
        {
            Some(response) => Answer::Now(Some(response.map(Full::new))),
            None => Answer::Later(self.socket_io.call(request)),
        }
    }
}

/// A response that is there, or the one that Socket.IO will give.
pub(crate) enum Answer<F> {
    /// There; taken by the first poll.
    Now(Option<Response<Full<Bytes>>>),
    /// Given by Socket.IO.
    Later(F),
}

impl<F> Future for Answer<F>
where
    F: Future<Output = Result<Response<Full<Bytes>>, Infallible>> + Unpin,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.get_mut() {
            Self::Now(response) => Poll::Ready(Ok(response
                .take()
                .expect("a future is not polled after its end"))),
            Self::Later(answer) => Pin::new(answer).poll(cx),
        }
    }
}

impl Site {
    /// The answer to a request, or nothing when it is for Socket.IO.
    fn answer(&self, method: &Method, path: &str, headers: &HeaderMap) -> Option<Response<Bytes>> {
        let reads = method == Method::GET || method == Method::HEAD;
        if let Some(below) = path
            .strip_prefix(&self.path)
            .and_then(|rest| rest.strip_prefix('/'))
        {
            return if reads {
                self.bundle.answer(below, headers)
            } else {
                None
            };
        }
        let answer = match path {
            "/health" => reply::fresh(StatusCode::OK, reply::JSON, self.health.json()),
            "/live" => reply::fresh(StatusCode::OK, reply::TEXT, "ok\n"),
            "/ready" => match self.health.ready() {
                Ok(()) => reply::fresh(StatusCode::OK, reply::TEXT, "ok\n"),
                Err(reason) => reply::fresh(
                    StatusCode::SERVICE_UNAVAILABLE,
                    reply::TEXT,
                    format!("{reason}\n"),
                ),
            },
            _ => match self.pages.answer(path, headers) {
                Some(answer) => answer,
                None => {
                    let text = format!(
                        "Nothing is here. There are / and /health, and Socket.IO at {}/\n",
                        self.path
                    );
                    return Some(reply::not_found(text));
                }
            },
        };
        Some(if reads { answer } else { reply::read_only() })
    }
}

#[cfg(test)]
mod tests {
    use std::future::{Ready, ready};

    use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE};
    use http_body_util::BodyExt as _;

    use super::*;
    use crate::health::tests::{configured, health};
    use crate::health::{RedisHealth, RedisState};
    use crate::pages::Facts;

    /// Stands for Socket.IO and says so.
    #[derive(Clone)]
    struct SocketIo;

    impl Service<Request<()>> for SocketIo {
        type Response = Response<Full<Bytes>>;
        type Error = Infallible;
        type Future = Ready<Result<Response<Full<Bytes>>, Infallible>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, _: Request<()>) -> Self::Future {
            ready(Ok(Response::new(Full::from("socket.io"))))
        }
    }

    fn router(redis: RedisHealth, ready_needs_redis: bool) -> (Router<SocketIo>, Arc<Health>) {
        let health = health(redis, ready_needs_redis);
        let pages = Pages::new(&Facts {
            server_id: "alpha",
            port: 3000,
            sibling: None,
            relay: "off",
            path: "/socket.io",
        });
        let site = Site {
            path: "/socket.io".to_owned(),
            health: Arc::clone(&health),
            pages,
            bundle: Bundle::default(),
        };
        (Router::new(Arc::new(site), SocketIo), health)
    }

    fn call(router: &mut Router<SocketIo>, method: &str, path: &str) -> Response<String> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .body(())
            .unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        runtime.block_on(async {
            let (parts, body) = router.call(request).await.unwrap().into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            Response::from_parts(parts, String::from_utf8(body.to_vec()).unwrap())
        })
    }

    #[test]
    fn each_address_has_its_answer() {
        let (mut router, _) = router(RedisHealth::Disabled { joined: false }, false);
        for (method, path, status, kind, begins) in [
            (
                "GET",
                "/",
                200,
                "text/html; charset=utf-8",
                "<!doctype html>",
            ),
            (
                "GET",
                "/?room=a",
                200,
                "text/html; charset=utf-8",
                "<!doctype html>",
            ),
            (
                "GET",
                "/assets/client.js",
                200,
                "text/javascript; charset=utf-8",
                "// A small",
            ),
            (
                "GET",
                "/health",
                200,
                reply::JSON,
                "{\n  \"status\": \"ok\"",
            ),
            ("HEAD", "/health", 200, reply::JSON, "{"),
            ("GET", "/live", 200, reply::TEXT, "ok"),
            ("GET", "/ready", 200, reply::TEXT, "ok"),
            (
                "GET",
                "/socket.io/socket.io.js",
                404,
                reply::TEXT,
                "The client bundle is not served here",
            ),
            ("GET", "/socket.io", 404, reply::TEXT, "Nothing is here."),
            ("GET", "/socket.iox/", 404, reply::TEXT, "Nothing is here."),
            ("GET", "/health/", 404, reply::TEXT, "Nothing is here."),
            (
                "GET",
                "/%2e%2e/etc/passwd",
                404,
                reply::TEXT,
                "Nothing is here.",
            ),
            ("POST", "/health", 405, reply::TEXT, "only GET and HEAD"),
            ("POST", "/", 405, reply::TEXT, "only GET and HEAD"),
            ("POST", "/nowhere", 404, reply::TEXT, "Nothing is here."),
        ] {
            let response = call(&mut router, method, path);
            assert_eq!(response.status(), status, "{method} {path}");
            assert_eq!(response.headers()[CONTENT_TYPE], kind, "{method} {path}");
            assert!(
                response.body().starts_with(begins),
                "{method} {path}: {}",
                response.body()
            );
            assert_eq!(
                response.headers().contains_key(ALLOW),
                status == 405,
                "{method} {path}"
            );
            assert!(
                response.headers().contains_key(CACHE_CONTROL),
                "{method} {path}"
            );
        }
    }

    #[test]
    fn what_is_below_the_path_is_for_socket_io() {
        let (mut router, _) = router(RedisHealth::Disabled { joined: false }, false);
        for (method, path) in [
            ("GET", "/socket.io/?EIO=4&transport=polling"),
            ("POST", "/socket.io/?EIO=4&transport=polling&sid=x"),
            ("OPTIONS", "/socket.io/"),
            ("POST", "/socket.io/socket.io.js"),
            ("GET", "/socket.io/other.js"),
        ] {
            assert_eq!(
                call(&mut router, method, path).body(),
                "socket.io",
                "{method} {path}"
            );
        }
    }

    #[test]
    fn readiness_follows_the_stop_and_redis_only_when_asked() {
        let (mut asked, _) = router(configured(RedisState::Disconnected), true);
        let response = call(&mut asked, "GET", "/ready");
        assert_eq!(response.status(), 503);
        assert!(response.body().contains("SYNAPSE_READY_NEEDS_REDIS"));
        assert_eq!(call(&mut asked, "GET", "/live").status(), 200);
        assert_eq!(call(&mut asked, "GET", "/health").status(), 200);

        let (mut unasked, health) = router(configured(RedisState::Disconnected), false);
        assert_eq!(call(&mut unasked, "GET", "/ready").status(), 200);
        health.stop();
        let response = call(&mut unasked, "GET", "/ready");
        assert_eq!(
            (response.status().as_u16(), response.body().as_str()),
            (503, "stopping\n")
        );
    }
}
