//! The cookie that tells a client's session to the balancer in front of its server.

use std::time::Duration;

use http::HeaderValue;
use synapse_protocol::SessionId;

/// A cookie with the session's id, set by the response to a polling handshake and by no other. As with Node servers, a session that begins by
/// WebSocket gets none: its connection stays where it is, so that no balancer has to know.
///
/// The id in it is the secret of the session; [`http_only`](Self::http_only) keeps scripts of the page from reading it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cookie {
    /// Its name, a token of RFC 6265. Default: `io`.
    pub name: String,
    /// The path below which browsers send it back; none leaves the attribute out. Default: `/`.
    pub path: Option<String>,
    /// Whether scripts of the page are kept from reading it. Default: yes.
    pub http_only: bool,
    /// Whether it goes along with requests from pages of other sites; none leaves the attribute out. Default: [`SameSite::Lax`].
    pub same_site: Option<SameSite>,
    /// How long browsers keep it, in whole seconds. Default: none, until the browser ends.
    pub max_age: Option<Duration>,
    /// The domain whose hosts get it. Default: none, the host alone that set it.
    pub domain: Option<String>,
    /// Whether it goes over TLS only. Default: no. [`SameSite::None`] needs it.
    pub secure: bool,
    /// Whether each top-level site gets a jar of its own for it. Default: no. Needs `secure`.
    pub partitioned: bool,
}

/// With which requests from pages of other sites a cookie goes along.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SameSite {
    /// With none.
    Strict,
    /// With links that are followed.
    Lax,
    /// With all; browsers want [`Cookie::secure`] then.
    None,
}

impl Default for Cookie {
    fn default() -> Self {
        Self {
            name: "io".to_owned(),
            path: Some("/".to_owned()),
            http_only: true,
            same_site: Some(SameSite::Lax),
            max_age: None,
            domain: None,
            secure: false,
            partitioned: false,
        }
    }
}

impl Cookie {
    /// Whether name, path and domain can stand in a cookie. One that cannot is never set.
    pub fn is_valid(&self) -> bool {
        let is_token =
            |byte: u8| byte.is_ascii_graphic() && !b"()<>@,;:\\\"/[]?={}".contains(&byte);
        let is_attribute = |text: &Option<String>| {
            text.as_deref().is_none_or(|text| {
                text.bytes()
                    .all(|byte| matches!(byte, b' '..=b'~') && byte != b';')
            })
        };
        !self.name.is_empty()
            && self.name.bytes().all(is_token)
            && is_attribute(&self.path)
            && is_attribute(&self.domain)
    }

    /// The value of `Set-Cookie`; none when the cookie is not valid.
    pub(crate) fn header(&self, id: SessionId) -> Option<HeaderValue> {
        if !self.is_valid() {
            return None;
        }
        let mut text = format!("{}={}", self.name, id.text().as_str());
        if let Some(age) = self.max_age {
            text.push_str(&format!("; Max-Age={}", age.as_secs()));
        }
        if let Some(domain) = &self.domain {
            text.push_str(&format!("; Domain={domain}"));
        }
        if let Some(path) = &self.path {
            text.push_str(&format!("; Path={path}"));
        }
        for (is_set, attribute) in [
            (self.http_only, "; HttpOnly"),
            (self.secure, "; Secure"),
            (self.partitioned, "; Partitioned"),
        ] {
            if is_set {
                text.push_str(attribute);
            }
        }
        text.push_str(match self.same_site {
            Some(SameSite::Strict) => "; SameSite=Strict",
            Some(SameSite::Lax) => "; SameSite=Lax",
            Some(SameSite::None) => "; SameSite=None",
            None => "",
        });
        HeaderValue::try_from(text).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(cookie: &Cookie, expected: Option<&str>) {
        let header = cookie.header(SessionId::from_random([0; 15]));
        let text = header.as_ref().map(|header| header.to_str().unwrap());
        assert_eq!(text, expected, "{cookie:?}");
    }

    #[test]
    fn attributes_stand_as_node_writes_them() {
        check(
            &Cookie::default(),
            Some("io=AAAAAAAAAAAAAAAAAAAA; Path=/; HttpOnly; SameSite=Lax"),
        );
        check(
            &Cookie {
                name: "lb".to_owned(),
                path: Some("/chat".to_owned()),
                http_only: false,
                same_site: Some(SameSite::None),
                max_age: Some(Duration::from_secs(86_400)),
                domain: Some("example.com".to_owned()),
                secure: true,
                partitioned: true,
            },
            Some(
                "lb=AAAAAAAAAAAAAAAAAAAA; Max-Age=86400; Domain=example.com; Path=/chat; Secure; Partitioned; SameSite=None",
            ),
        );
        check(
            &Cookie {
                path: None,
                http_only: false,
                same_site: None,
                ..Cookie::default()
            },
            Some("io=AAAAAAAAAAAAAAAAAAAA"),
        );
    }

    #[test]
    fn what_would_end_an_attribute_early_is_never_set() {
        for name in ["", "a b", "a;b", "a=b", "ü", "a\r\nx"] {
            let name = name.to_owned();
            check(
                &Cookie {
                    name,
                    ..Cookie::default()
                },
                None,
            );
        }
        for text in ["/;Domain=evil.org", "/\r\nX: y", "/ü"] {
            let text = Some(text.to_owned());
            check(
                &Cookie {
                    path: text.clone(),
                    ..Cookie::default()
                },
                None,
            );
            check(
                &Cookie {
                    domain: text,
                    ..Cookie::default()
                },
                None,
            );
        }
    }
}
