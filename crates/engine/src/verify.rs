//! Which session, transport and kind of request is meant: the checks of a request, in the reference server's order.

use std::sync::Arc;

use http::header::ORIGIN;
use http::request::Parts;
use http::{HeaderMap, Method};
use synapse_protocol::engine::v3::BinaryForm;
use synapse_protocol::engine::{Jsonp, Version};
use synapse_protocol::query_pairs;

use crate::config::EngineConfig;
use crate::connection::{Connection, TransportKind};
use crate::dialect::Dialect;
use crate::refusal::Refused;
use crate::table::SessionTable;

/// What a request is for, as far as it could be told without opening anything.
pub(crate) enum Verified {
    /// A request of an open session.
    Session {
        connection: Arc<Connection>,
        transport: TransportKind,
        dialect: Dialect,
    },
    /// A handshake.
    Handshake(Dialect),
}

/// The query's parameters that the protocol knows. A repeated one is nobody's valid value.
#[derive(Debug, Default, PartialEq, Eq)]
struct Query {
    transport: Option<String>,
    sid: Option<String>,
    version: Option<String>,
    b64: Option<String>,
    j: Option<String>,
}

impl Query {
    fn parse(query: &str) -> Self {
        let mut found = Self::default();
        for (name, value) in query_pairs(query) {
            let parameter = match name.as_str() {
                "transport" => &mut found.transport,
                "sid" => &mut found.sid,
                "EIO" => &mut found.version,
                "b64" => &mut found.b64,
                "j" => &mut found.j,
                _ => continue,
            };
            *parameter = Some(match parameter.take() {
                Some(first) => format!("{first},{value}"),
                None => value,
            });
        }
        found
    }

    /// None for a version that is not served. Node takes every one but 4 for 3; a version that nobody speaks is refused here.
    fn dialect(&self, config: &EngineConfig) -> Option<Dialect> {
        let version = match self.version.as_deref() {
            Some("4") => Version::V4,
            Some("3") | None if config.allow_eio3 => Version::V3,
            Some(_) | None => return None,
        };
        let is_base64 = self.b64.as_ref().is_some_and(|value| !value.is_empty());
        Some(Dialect {
            version,
            binary: if is_base64 {
                BinaryForm::Base64
            } else {
                BinaryForm::Bytes
            },
            jsonp: self
                .j
                .as_deref()
                .filter(|_| config.allow_eio3)
                .map(Jsonp::new),
        })
    }
}

pub(crate) fn verify(
    parts: &Parts,
    is_upgrade: bool,
    config: &EngineConfig,
    sessions: &SessionTable,
) -> Result<Verified, Refused> {
    let query = Query::parse(parts.uri.query().unwrap_or_default());
    let transport = query
        .transport
        .as_deref()
        .and_then(TransportKind::from_name)
        // WebTransport has requests of its own, which do not come here.
        .filter(|transport| *transport != TransportKind::WebTransport)
        .filter(|transport| config.transports.contains(*transport))
        .ok_or(Refused::UnknownTransport)?;
    if has_odd_origin(&parts.headers) {
        return Err(Refused::BadRequest);
    }
    let dialect = query.dialect(config);
    if let Some(sid) = query.sid.filter(|sid| !sid.is_empty()) {
        let connection = sid
            .parse()
            .ok()
            .and_then(|id| sessions.find(id))
            .ok_or(Refused::UnknownSession)?;
        if !is_upgrade && connection.transport() != transport {
            return Err(Refused::BadRequest);
        }
        let dialect = dialect
            .filter(|dialect| dialect.version == connection.version())
            .ok_or(Refused::BadRequest)?;
        return Ok(Verified::Session {
            connection,
            transport,
            dialect,
        });
    }
    if parts.method != Method::GET {
        return Err(Refused::BadHandshakeMethod);
    }
    if (transport == TransportKind::WebSocket) != is_upgrade {
        return Err(Refused::BadRequest);
    }
    if let Some(cors) = &config.cors
        && !cors.allows(&parts.headers)
    {
        return Err(Refused::Forbidden("Forbidden".to_owned()));
    }
    let dialect = dialect.ok_or(Refused::UnsupportedProtocolVersion)?;
    // A script tells no origin.
    if dialect.jsonp.is_some()
        && let Some(cors) = &config.cors
        && !cors.allows_script(&parts.headers)
    {
        return Err(Refused::Forbidden("Forbidden".to_owned()));
    }
    Ok(Verified::Handshake(dialect))
}

/// Whether the origin has characters that no header may have.
fn has_odd_origin(headers: &HeaderMap) -> bool {
    headers
        .get(ORIGIN)
        .is_some_and(|origin| origin.to_str().is_err())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Limits;
    use crate::cors::Cors;
    use crate::origins::Origins;

    fn check(method: Method, query: &str, is_upgrade: bool) -> Option<Refused> {
        let uri = format!("/socket.io/?{query}");
        let request = http::Request::builder()
            .method(method)
            .uri(uri)
            .body(())
            .unwrap();
        let parts = request.into_parts().0;
        verify(
            &parts,
            is_upgrade,
            &EngineConfig::default(),
            &SessionTable::new(&Limits::default()),
        )
        .err()
    }

    /// What a handshake by polling is taken for where version 3 is served.
    fn dialect(query: &str) -> Result<Dialect, Refused> {
        let request = http::Request::builder()
            .uri(format!("/socket.io/?transport=polling&{query}"))
            .body(())
            .unwrap();
        let config = EngineConfig {
            allow_eio3: true,
            ..EngineConfig::default()
        };
        let parts = request.into_parts().0;
        match verify(
            &parts,
            false,
            &config,
            &SessionTable::new(&Limits::default()),
        )? {
            Verified::Handshake(dialect) => Ok(dialect),
            Verified::Session { .. } => panic!("there is no session"),
        }
    }

    #[test]
    fn version_3_is_what_says_nothing_else_where_it_is_served() {
        for (query, version) in [
            ("", Ok(Version::V3)),
            ("EIO=3", Ok(Version::V3)),
            ("EIO=4", Ok(Version::V4)),
            ("EIO=", Err(Refused::UnsupportedProtocolVersion)),
            ("EIO=2", Err(Refused::UnsupportedProtocolVersion)),
            ("EIO=5", Err(Refused::UnsupportedProtocolVersion)),
            ("EIO=3&EIO=3", Err(Refused::UnsupportedProtocolVersion)),
        ] {
            assert_eq!(
                dialect(query).map(|dialect| dialect.version),
                version,
                "{query}"
            );
        }
    }

    /// A script has no origin, so a page that is not listed could load one with its user's cookies.
    #[test]
    fn a_script_for_a_page_that_is_not_listed_is_refused() {
        let config = EngineConfig {
            allow_eio3: true,
            cors: Some(Cors {
                origins: Origins::List(vec!["https://example.com".to_owned()]),
                credentials: true,
                ..Cors::default()
            }),
            ..EngineConfig::default()
        };
        let refused = |query: &str, referer: &str| {
            let request = http::Request::builder()
                .uri(format!("/socket.io/?transport=polling&{query}"))
                .header("referer", referer)
                .body(())
                .unwrap();
            let parts = request.into_parts().0;
            verify(
                &parts,
                false,
                &config,
                &SessionTable::new(&Limits::default()),
            )
            .err()
        };
        let forbidden = Some(Refused::Forbidden("Forbidden".to_owned()));
        for query in ["EIO=3&j=0", "EIO=4&j=0"] {
            assert_eq!(refused(query, "https://evil.org/"), forbidden, "{query}");
            assert_eq!(refused(query, "https://example.com/"), None, "{query}");
        }
        assert_eq!(refused("EIO=4", "https://evil.org/"), None);
    }

    #[test]
    fn base64_and_jsonp_are_asked_for_by_the_query() {
        let jsonp = |j: &str| Some(Jsonp::new(j));
        for (query, binary, script) in [
            ("EIO=3", BinaryForm::Bytes, None),
            ("EIO=3&b64=", BinaryForm::Bytes, None),
            ("EIO=3&b64=1", BinaryForm::Base64, None),
            ("EIO=3&b64=1&j=7", BinaryForm::Base64, jsonp("7")),
            ("EIO=4&j=0", BinaryForm::Bytes, jsonp("0")),
            ("EIO=3&j", BinaryForm::Bytes, jsonp("")),
        ] {
            let dialect = dialect(query).unwrap();
            assert_eq!((dialect.binary, dialect.jsonp), (binary, script), "{query}");
        }
    }

    #[test]
    fn transports_ids_and_versions_of_any_form_are_refused_by_the_table_cve_2023_31125() {
        for (query, expected) in [
            ("", Refused::UnknownTransport),
            ("EIO=4", Refused::UnknownTransport),
            ("EIO=4&transport=", Refused::UnknownTransport),
            ("EIO=4&transport=tobi", Refused::UnknownTransport),
            ("EIO=4&transport=__proto__", Refused::UnknownTransport),
            ("EIO=4&transport=constructor", Refused::UnknownTransport),
            ("EIO=4&transport=webtransport", Refused::UnknownTransport),
            (
                "EIO=4&transport=polling&transport=polling",
                Refused::UnknownTransport,
            ),
            ("EIO=4&transport[]=polling", Refused::UnknownTransport),
            (
                "EIO=4&transport=polling&sid=nobody",
                Refused::UnknownSession,
            ),
            (
                "EIO=4&transport=polling&sid=AAAAAAAAAAAAAAAAAAAA",
                Refused::UnknownSession,
            ),
            (
                "EIO=4&transport=polling&sid=AAAAAAAAAAAAAAAAAAAA&sid=b",
                Refused::UnknownSession,
            ),
            (
                "EIO=4&transport=polling&sid=__proto__",
                Refused::UnknownSession,
            ),
            ("EIO=4&transport=websocket", Refused::BadRequest),
            ("transport=polling", Refused::UnsupportedProtocolVersion),
            (
                "EIO=0&transport=polling",
                Refused::UnsupportedProtocolVersion,
            ),
            (
                "EIO=3&transport=polling",
                Refused::UnsupportedProtocolVersion,
            ),
            (
                "EIO=99&transport=polling",
                Refused::UnsupportedProtocolVersion,
            ),
            (
                "EIO=abc&transport=polling",
                Refused::UnsupportedProtocolVersion,
            ),
            (
                "EIO=4&EIO=4&transport=polling",
                Refused::UnsupportedProtocolVersion,
            ),
        ] {
            assert_eq!(check(Method::GET, query, false), Some(expected), "{query}");
        }
        assert_eq!(check(Method::GET, "EIO=4&transport=polling", false), None);
        assert_eq!(check(Method::GET, "EIO=4&transport=websocket", true), None);
        assert_eq!(
            check(Method::POST, "EIO=4&transport=polling", false),
            Some(Refused::BadHandshakeMethod)
        );
        assert_eq!(
            check(Method::GET, "EIO=4&transport=polling", true),
            Some(Refused::BadRequest)
        );
    }
}
