//! Who the client is when a proxy stands in front of the server.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use http::header::{FORWARDED, HeaderMap, HeaderName};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// Proxies whose word about the client is taken.
///
/// Anyone can write these headers, so only those of a trusted peer are read, from the last entry (which that peer wrote) backwards, until the
/// first address that is not trusted: that is the client. The price is a walk through one header for each handshake.
///
/// ```
/// use synapse_engine::{ForwardedHeader, InvalidNetwork, TrustedProxies};
///
/// # fn main() -> Result<(), InvalidNetwork> {
/// let proxies = TrustedProxies {
///     networks: vec!["10.0.0.0/8".parse()?],
///     header: ForwardedHeader::XForwardedFor,
/// };
/// # drop(proxies);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustedProxies {
    /// Where the proxies are. Name no network that clients can connect from.
    pub networks: Vec<Network>,
    /// The header that the proxies write. Default in Node's world: [`ForwardedHeader::XForwardedFor`]. The other one is never read, because a
    /// proxy that does not know it passes on what the client wrote.
    pub header: ForwardedHeader,
}

/// How a proxy tells who its client is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ForwardedHeader {
    /// `X-Forwarded-For`, and `X-Forwarded-Proto` for TLS.
    #[default]
    XForwardedFor,
    /// `Forwarded` of RFC 7239, with its `for` and `proto`.
    Forwarded,
}

/// A network: an address, and how many of its leading bits count. Written `10.0.0.0/8`, `fd00::/8`, or an address alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

/// The text is not a network such as `10.0.0.0/8`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a network is an address such as 10.0.0.1, or the first of many and its bits such as 10.0.0.0/8"
)]
pub struct InvalidNetwork;

impl FromStr for Network {
    type Err = InvalidNetwork;

    fn from_str(text: &str) -> Result<Self, InvalidNetwork> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| InvalidNetwork)?;
        let bits_max = if address.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            Some(bits) => bits.parse().map_err(|_| InvalidNetwork)?,
            None => bits_max,
        };
        if bits > bits_max {
            return Err(InvalidNetwork);
        }
        Ok(Self { address, bits })
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

impl Network {
    /// Whether an address is in this network. IPv4 inside of IPv6 counts as the IPv4 it is.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                let differs = network.to_bits() ^ address.to_bits();
                differs.leading_zeros() >= u32::from(self.bits)
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                let differs = network.to_bits() ^ address.to_bits();
                differs.leading_zeros() >= u32::from(self.bits)
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

/// Who has sent a request, as far as it is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sender {
    /// The address; its port is 0 when a proxy did not tell it.
    pub(crate) address: Option<SocketAddr>,
    /// Whether a trusted proxy was spoken to by TLS.
    pub(crate) is_secure: bool,
}

impl Sender {
    pub(crate) fn find(
        peer: Option<SocketAddr>,
        headers: &HeaderMap,
        trusted: Option<&TrustedProxies>,
    ) -> Self {
        let direct = Self {
            address: peer,
            is_secure: false,
        };
        match (trusted, peer) {
            (Some(trusted), Some(peer)) if trusted.contains(peer.ip()) => match trusted.header {
                ForwardedHeader::XForwardedFor => trusted.x_forwarded(peer, headers),
                ForwardedHeader::Forwarded => trusted.forwarded(peer, headers),
            },
            (Some(_) | None, _) => direct,
        }
    }
}

impl TrustedProxies {
    fn contains(&self, address: IpAddr) -> bool {
        self.networks
            .iter()
            .any(|network| network.contains(address))
    }

    fn x_forwarded(&self, peer: SocketAddr, headers: &HeaderMap) -> Sender {
        let mut sender = peer;
        for entry in entries(headers, &X_FORWARDED_FOR) {
            // What cannot be read was not written by a proxy that is to be trusted; the last one that could be is the best that is known.
            let Some(address) = parse_node(entry) else {
                break;
            };
            sender = address;
            if !self.contains(address.ip()) {
                break;
            }
        }
        let protocol = entries(headers, &X_FORWARDED_PROTO).next();
        Sender {
            address: Some(sender),
            is_secure: protocol.is_some_and(is_secure),
        }
    }

    fn forwarded(&self, peer: SocketAddr, headers: &HeaderMap) -> Sender {
        let mut sender = Sender {
            address: Some(peer),
            is_secure: false,
        };
        for entry in entries(headers, &FORWARDED) {
            let Some(address) = parameter(entry, "for").and_then(parse_node) else {
                break;
            };
            sender = Sender {
                address: Some(address),
                is_secure: parameter(entry, "proto").is_some_and(is_secure),
            };
            if !self.contains(address.ip()) {
                break;
            }
        }
        sender
    }
}

/// The entries of a header that may stand on several lines, the last one first.
fn entries<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    let lines: Vec<&str> = headers
        .get_all(name)
        .iter()
        .map(|line| line.to_str().unwrap_or_default())
        .collect();
    lines
        .into_iter()
        .rev()
        .flat_map(|line| line.rsplit(',').map(str::trim))
}

/// The value of one of the pairs of an element of `Forwarded`.
fn parameter<'a>(element: &'a str, name: &str) -> Option<&'a str> {
    element.split(';').find_map(|pair| {
        let (found, value) = pair.split_once('=')?;
        found.trim().eq_ignore_ascii_case(name).then(|| {
            let value = value.trim();
            value
                .strip_prefix('"')
                .and_then(|value| value.strip_suffix('"'))
                .unwrap_or(value)
        })
    })
}

/// An address, in brackets or not, with a port or not.
fn parse_node(text: &str) -> Option<SocketAddr> {
    let without_port = || {
        let bare = text
            .strip_prefix('[')
            .and_then(|text| text.strip_suffix(']'))
            .unwrap_or(text);
        bare.parse().ok().map(|address: IpAddr| (address, 0).into())
    };
    text.parse().ok().or_else(without_port)
}

fn is_secure(protocol: &str) -> bool {
    protocol.eq_ignore_ascii_case("https") || protocol.eq_ignore_ascii_case("wss")
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn trusted(header: ForwardedHeader) -> TrustedProxies {
        TrustedProxies {
            networks: ["10.0.0.0/8", "fd00::/8", "192.0.2.7"]
                .map(|text| text.parse().unwrap())
                .to_vec(),
            header,
        }
    }

    fn find(header: ForwardedHeader, peer: &str, lines: &[(&'static str, &str)]) -> (String, bool) {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_str(value).unwrap());
        }
        let sender = Sender::find(
            Some(format!("{peer}:9").parse().unwrap()),
            &headers,
            Some(&trusted(header)),
        );
        let address = sender.address.unwrap().ip().to_string();
        (address, sender.is_secure)
    }

    #[test]
    fn the_client_is_the_last_address_that_is_not_a_proxy() {
        for (peer, line, expected) in [
            ("10.0.0.1", "203.0.113.5", "203.0.113.5"),
            ("[::ffff:10.0.0.1]", "203.0.113.5", "203.0.113.5"),
            ("10.0.0.1", "203.0.113.5:4711", "203.0.113.5"),
            ("10.0.0.1", "2001:db8::1", "2001:db8::1"),
            ("10.0.0.1", "[2001:db8::1]:4711", "2001:db8::1"),
            ("10.0.0.1", "[2001:db8::1]", "2001:db8::1"),
            // What the client itself wrote stands before what the proxy added.
            ("10.0.0.1", "1.1.1.1, 203.0.113.5", "203.0.113.5"),
            ("10.0.0.1", "10.9.9.9, 203.0.113.5", "203.0.113.5"),
            ("10.0.0.1", "1.1.1.1, 203.0.113.5, 10.0.0.2", "203.0.113.5"),
            ("10.0.0.1", "203.0.113.5, 192.0.2.7", "203.0.113.5"),
            // Nobody else's word is taken.
            ("203.0.113.9", "1.1.1.1", "203.0.113.9"),
            ("192.0.2.8", "1.1.1.1", "192.0.2.8"),
            // What is not an address ends the walk.
            ("10.0.0.1", "", "10.0.0.1"),
            ("10.0.0.1", "unknown", "10.0.0.1"),
            ("10.0.0.1", "1.1.1.1, unknown", "10.0.0.1"),
            ("10.0.0.1", "1.1.1.1, evil, 10.0.0.2", "10.0.0.2"),
            ("10.0.0.1", "10.0.0.3, 10.0.0.2", "10.0.0.3"),
        ] {
            let got = find(
                ForwardedHeader::XForwardedFor,
                peer,
                &[("x-forwarded-for", line)],
            );
            assert_eq!(got.0, expected, "{peer}: {line}");
        }
    }

    #[test]
    fn the_other_header_is_a_client_s_own_words() {
        let both = [
            ("forwarded", "for=1.1.1.1;proto=https"),
            ("x-forwarded-for", "203.0.113.5"),
        ];
        assert_eq!(
            find(ForwardedHeader::XForwardedFor, "10.0.0.1", &both),
            ("203.0.113.5".to_owned(), false)
        );
        assert_eq!(
            find(ForwardedHeader::Forwarded, "10.0.0.1", &both),
            ("1.1.1.1".to_owned(), true)
        );
    }

    #[test]
    fn forwarded_is_read_as_rfc_7239_writes_it() {
        for (line, expected) in [
            ("for=192.0.2.43", ("192.0.2.43", false)),
            (
                r#"For="[2001:db8:cafe::17]:4711";Proto=HTTPS"#,
                ("2001:db8:cafe::17", true),
            ),
            (
                "for=1.1.1.1;proto=https, for=203.0.113.5;proto=http;by=10.0.0.9",
                ("203.0.113.5", false),
            ),
            (
                "for=203.0.113.5;proto=https, for=10.0.0.2;proto=http",
                ("203.0.113.5", true),
            ),
            ("for=unknown;proto=https", ("10.0.0.1", false)),
            ("for=_hidden", ("10.0.0.1", false)),
            ("proto=https", ("10.0.0.1", false)),
        ] {
            let got = find(
                ForwardedHeader::Forwarded,
                "10.0.0.1",
                &[("forwarded", line)],
            );
            assert_eq!((got.0.as_str(), got.1), expected, "{line}");
        }
    }

    #[test]
    fn tls_counts_when_a_trusted_proxy_tells_it() {
        for (peer, protocol, expected) in [
            ("10.0.0.1", "https", true),
            ("10.0.0.1", "WSS", true),
            ("10.0.0.1", "http", false),
            ("10.0.0.1", "https, http", false),
            ("203.0.113.9", "https", false),
        ] {
            let got = find(
                ForwardedHeader::XForwardedFor,
                peer,
                &[("x-forwarded-proto", protocol)],
            );
            assert_eq!(got.1, expected, "{peer}: {protocol}");
        }
    }

    #[test]
    fn lines_of_one_header_are_one_list() {
        let lines = [
            ("x-forwarded-for", "1.1.1.1"),
            ("x-forwarded-for", "203.0.113.5, 10.0.0.2"),
        ];
        let got = find(ForwardedHeader::XForwardedFor, "10.0.0.1", &lines);
        assert_eq!(got.0, "203.0.113.5");
    }

    #[test]
    fn networks_are_read_or_refused() {
        for (text, address, expected) in [
            ("0.0.0.0/0", "203.0.113.5", true),
            ("0.0.0.0/0", "::1", false),
            ("10.0.0.0/8", "10.255.0.1", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("fd00::/8", "fdff::1", true),
            ("fd00::/8", "fe00::1", false),
            ("127.0.0.1", "127.0.0.2", false),
            ("::1", "::1", true),
        ] {
            let network: Network = text.parse().unwrap();
            let is_inside = network.contains(address.parse().unwrap());
            assert_eq!(is_inside, expected, "{text} {address}");
        }
        for text in [
            "",
            "10.0.0.0/33",
            "fd00::/129",
            "10.0.0.0/",
            "10/8",
            "a.b/8",
        ] {
            assert_eq!(text.parse::<Network>(), Err(InvalidNetwork), "{text}");
        }
    }
}
