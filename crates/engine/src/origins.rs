//! Sets of origins.

use std::fmt;
use std::sync::Arc;

/// A set of origins. An origin is compared as browsers write it: scheme and host in lower case, international names in their `xn--` form, a port
/// only when it is not the default one, no dot and no slash at the end. Whatever is written otherwise does not come from a browser.
#[derive(Clone)]
pub enum Origins {
    /// Every page of the web.
    Any,
    /// These: `https://app.example.com`, or `https://*.example.com` for every host below `example.com` but not `example.com` itself. The pages
    /// without an origin of their own (sandboxed frames, local files) all have the origin `null`: to name it is to let any page in.
    List(Vec<String>),
    /// Those the application says yes to. It is asked on every request of a page, so it must not wait for anything.
    Matching(Arc<dyn Fn(&str) -> bool + Send + Sync>),
}

impl Origins {
    /// Those the application says yes to.
    pub fn matching(decide: impl Fn(&str) -> bool + Send + Sync + 'static) -> Self {
        Self::Matching(Arc::new(decide))
    }

    /// Whether an origin, as it stands in the header, is in the set.
    pub fn contains(&self, origin: &str) -> bool {
        match self {
            Self::Any => true,
            Self::List(list) => list.iter().any(|allowed| matches(allowed, origin)),
            Self::Matching(decide) => decide(origin),
        }
    }
}

impl fmt::Debug for Origins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("Any"),
            Self::List(list) => f.debug_tuple("List").field(list).finish(),
            Self::Matching(_) => f.write_str("Matching(..)"),
        }
    }
}

impl PartialEq for Origins {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Any, Self::Any) => true,
            (Self::List(list), Self::List(other)) => list == other,
            (Self::Matching(decide), Self::Matching(other)) => Arc::ptr_eq(decide, other),
            (Self::Any | Self::List(_) | Self::Matching(_), _) => false,
        }
    }
}

impl Eq for Origins {}

fn matches(allowed: &str, origin: &str) -> bool {
    let Some((scheme, domain)) = allowed.split_once("://*.") else {
        return allowed == origin;
    };
    let labels = origin
        .strip_prefix(scheme)
        .and_then(|rest| rest.strip_prefix("://"))
        .and_then(|host| host.strip_suffix(domain))
        .and_then(|rest| rest.strip_suffix('.'));
    // Whole labels, so that `*` stands for no scheme, user, port or path.
    !domain.is_empty() && labels.is_some_and(|labels| labels.split('.').all(is_label))
}

fn is_label(label: &str) -> bool {
    !label.is_empty()
        && label
            .bytes()
            .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wildcard_stands_for_hosts_below_a_domain_and_nothing_else() {
        let origins = Origins::List(vec!["https://*.example.com".to_owned()]);
        for (origin, expected) in [
            ("https://app.example.com", true),
            ("https://a.b.example.com", true),
            ("https://xn--exmple-cua.example.com", true),
            ("https://example.com", false),
            ("https://.example.com", false),
            ("https://a..example.com", false),
            ("https://*.example.com", false),
            ("https://evil-example.com", false),
            ("https://evilexample.com", false),
            ("https://app.example.com.evil.org", false),
            ("https://app.example.com.", false),
            ("https://app.example.com:8443", false),
            ("https://app.example.com/", false),
            ("https://evil.org/.example.com", false),
            ("https://evil.org#.example.com", false),
            ("https://evil.org:1.example.com", false),
            ("https://user@app.example.com", false),
            ("https://APP.example.com", false),
            ("https://app.EXAMPLE.com", false),
            ("HTTPS://app.example.com", false),
            ("http://app.example.com", false),
            ("xhttps://app.example.com", false),
            ("https://äpp.example.com", false),
            ("https://evil.org, https://app.example.com", false),
            ("null", false),
            ("", false),
        ] {
            assert_eq!(origins.contains(origin), expected, "{origin}");
        }
    }

    #[test]
    fn a_port_of_a_wildcard_is_exact() {
        let origins = Origins::List(vec!["http://*.localhost:3000".to_owned()]);
        for (origin, expected) in [
            ("http://a.localhost:3000", true),
            ("http://a.localhost", false),
            ("http://a.localhost:30000", false),
            ("http://a.localhost:3001", false),
        ] {
            assert_eq!(origins.contains(origin), expected, "{origin}");
        }
    }

    #[test]
    fn a_star_elsewhere_is_no_wildcard() {
        for pattern in [
            "https://*",
            "https://app.*.com",
            "*",
            "https://*.",
            "*://a.b",
        ] {
            let origins = Origins::List(vec![pattern.to_owned()]);
            for origin in ["https://app.example.com", "https://a.b", "https://a."] {
                assert!(!origins.contains(origin), "{pattern} {origin}");
            }
        }
    }

    #[test]
    fn the_application_may_decide() {
        let origins = Origins::matching(|origin| origin.ends_with(".test"));
        assert!(origins.contains("https://a.test"));
        assert!(!origins.contains("null"));
        assert_eq!(format!("{origins:?}"), "Matching(..)");
        assert_eq!(origins, origins.clone());
        assert_ne!(origins, Origins::Any);
    }
}
