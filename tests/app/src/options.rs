//! Options of the server under Node's names, as the tests write them.

use std::str::FromStr;
use std::time::Duration;

use http::request::Parts;
use http::{HeaderMap, HeaderValue};
use serde::Deserialize;
use synapse_socket::{
    Cookie, Cors, HttpCompression, Origins, SameSite, ServerBuilder, SessionId, TransportKind,
};

/// What Node's server takes, as far as the tests need it, and two things for hooks.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Options {
    path: Option<String>,
    add_trailing_slash: Option<bool>,
    transports: Option<Vec<String>>,
    allow_upgrades: Option<bool>,
    upgrade_timeout: Option<u64>,
    connect_timeout: Option<u64>,
    http_compression: Option<Compression>,
    cookie: Option<CookieOption>,
    cors: Option<CorsOptions>,
    test_headers: bool,
    id_prefix: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Compression {
    Switch(bool),
    From { threshold: usize },
}

#[derive(Deserialize)]
#[serde(untagged)]
enum CookieOption {
    Switch(bool),
    Attributes(CookieAttributes),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct CookieAttributes {
    name: Option<String>,
    path: Option<String>,
    http_only: Option<bool>,
    same_site: Option<String>,
    max_age: Option<u64>,
    domain: Option<String>,
    secure: Option<bool>,
    partitioned: Option<bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct CorsOptions {
    origin: Vec<String>,
    #[serde(default)]
    credentials: bool,
    methods: Option<Vec<String>>,
    allowed_headers: Option<Vec<String>>,
    #[serde(default)]
    exposed_headers: Vec<String>,
    max_age: Option<u64>,
}

type Failure = Box<dyn std::error::Error>;

impl FromStr for Options {
    type Err = serde_json::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        serde_json::from_str(text)
    }
}

impl Options {
    pub(crate) fn apply(self, mut builder: ServerBuilder) -> Result<ServerBuilder, Failure> {
        if let Some(path) = self.path {
            builder = builder.path(path);
        }
        if let Some(add) = self.add_trailing_slash {
            builder = builder.add_trailing_slash(add);
        }
        if let Some(names) = self.transports {
            let kinds = names.iter().map(|name| TransportKind::from_name(name));
            let kinds: Option<Vec<_>> = kinds.collect();
            builder = builder.transports(kinds.ok_or("OPTIONS: an unknown transport")?);
        }
        if let Some(allow) = self.allow_upgrades {
            builder = builder.allow_upgrades(allow);
        }
        if let Some(milliseconds) = self.upgrade_timeout {
            builder = builder.upgrade_timeout(Duration::from_millis(milliseconds));
        }
        if let Some(milliseconds) = self.connect_timeout {
            builder = builder.connect_timeout(Duration::from_millis(milliseconds));
        }
        if let Some(compression) = self.http_compression {
            builder = builder.http_compression(match compression {
                Compression::Switch(on) => on.then(HttpCompression::default),
                Compression::From { threshold } => Some(HttpCompression { threshold }),
            });
        }
        match self.cookie {
            Some(CookieOption::Switch(true)) => builder = builder.cookie(Cookie::default()),
            Some(CookieOption::Attributes(attributes)) => {
                builder = builder.cookie(attributes.cookie()?);
            }
            Some(CookieOption::Switch(false)) | None => (),
        }
        if let Some(cors) = self.cors {
            builder = builder.cors(cors.cors()?);
        }
        if self.test_headers {
            builder = builder
                .initial_headers(|request, headers| tell_method("x-initial", request, headers))
                .headers(|request, headers| tell_method("x-every", request, headers));
        }
        if let Some(prefix) = self.id_prefix {
            builder = builder.generate_id(move |_| id_with(&prefix));
        }
        Ok(builder)
    }
}

impl CookieAttributes {
    fn cookie(self) -> Result<Cookie, Failure> {
        let defaults = Cookie::default();
        Ok(Cookie {
            name: self.name.unwrap_or(defaults.name),
            path: self.path.or(defaults.path),
            http_only: self.http_only.unwrap_or(defaults.http_only),
            same_site: match self.same_site.as_deref() {
                Some("strict") => Some(SameSite::Strict),
                Some("none") => Some(SameSite::None),
                Some("lax") | None => Some(SameSite::Lax),
                Some(other) => return Err(format!("OPTIONS: sameSite {other}").into()),
            },
            max_age: self.max_age.map(Duration::from_secs),
            domain: self.domain,
            secure: self.secure.unwrap_or(false),
            partitioned: self.partitioned.unwrap_or(false),
        })
    }
}

impl CorsOptions {
    fn cors(self) -> Result<Cors, Failure> {
        let defaults = Cors::default();
        Ok(Cors {
            origins: Origins::List(self.origin),
            credentials: self.credentials,
            methods: match self.methods {
                Some(methods) => parse(&methods)?,
                None => defaults.methods,
            },
            allowed_headers: self
                .allowed_headers
                .map(|names| parse(&names))
                .transpose()?,
            exposed_headers: parse(&self.exposed_headers)?,
            max_age: self.max_age.map(Duration::from_secs),
        })
    }
}

fn parse<T: FromStr<Err: Into<Failure>>>(texts: &[String]) -> Result<Vec<T>, Failure> {
    texts
        .iter()
        .map(|text| text.parse().map_err(Into::into))
        .collect()
}

fn tell_method(name: &'static str, request: &Parts, headers: &mut HeaderMap) {
    let method = HeaderValue::from_str(request.method.as_str());
    headers.insert(name, method.expect("a method is a token"));
}

/// An id that begins as the test wants it to.
fn id_with(prefix: &str) -> SessionId {
    let mut random = [0; 15];
    getrandom::fill(&mut random).expect("the system has randomness");
    let text = SessionId::from_random(random).text();
    format!("{prefix}{}", &text[prefix.len()..])
        .parse()
        .expect("the prefix is base64url")
}
