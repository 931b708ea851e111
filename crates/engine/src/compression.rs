//! The response to a poll, compressed for clients that take it.

use std::cell::RefCell;
use std::cmp::Reverse;

use bytes::Bytes;
use flate2::{Compress, Compression, FlushCompress, Status};
use http::HeaderMap;
use http::header::{ACCEPT_ENCODING, HeaderValue};
use tokio::runtime::Handle;

/// Payloads above this are compressed on a thread that may be busy for a while: a worker would keep its other sessions waiting.
const INLINE_BYTES_MAX: usize = 16 * 1024;
/// What zlib and Node take when nothing is said.
const LEVEL: u32 = 6;
const WINDOW_BITS: u8 = 15;

/// When responses to polls are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HttpCompression {
    /// Smallest payload in bytes that is compressed. Default: 1,024. Lower saves traffic for about 10 us of CPU a kilobyte.
    pub threshold: usize,
}

impl Default for HttpCompression {
    fn default() -> Self {
        Self { threshold: 1_024 }
    }
}

/// How a body is compressed. In this order, if a client likes both as much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    Gzip,
    Deflate,
}

impl Encoding {
    pub(crate) fn header(self) -> HeaderValue {
        HeaderValue::from_static(self.name())
    }

    fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Deflate => "deflate",
        }
    }

    /// What a client likes best of what there is, by RFC 9110, section 12.5.3. None at all when it says nothing.
    pub(crate) fn accepted(headers: &HeaderMap) -> Option<Self> {
        let lines = headers.get_all(ACCEPT_ENCODING).iter();
        let items: Vec<Accepted<'_>> = lines
            .filter_map(|line| line.to_str().ok())
            .flat_map(|line| line.split(','))
            .filter_map(Accepted::parse)
            .collect();
        let liking = |encoding: &Self| {
            let named = |name: &str| items.iter().position(|item| item.is(name));
            let at = named(encoding.name()).or_else(|| named("*"))?;
            // Named is better than meant, and first better than later.
            let is_named = items[at].is(encoding.name());
            (items[at].weight > 0).then_some((items[at].weight, is_named, Reverse(at)))
        };
        // The last of equals is taken, so the preferred one stands last.
        [Self::Deflate, Self::Gzip]
            .into_iter()
            .filter(|encoding| liking(encoding).is_some())
            .max_by_key(liking)
    }
}

/// One item of `Accept-Encoding`, its weight in thousandths.
struct Accepted<'a> {
    name: &'a str,
    weight: u16,
}

impl<'a> Accepted<'a> {
    fn parse(item: &'a str) -> Option<Self> {
        let mut parts = item.split(';').map(str::trim);
        let name = parts.next().filter(|name| !name.is_empty())?;
        let weight = parts.find_map(|part| {
            let (key, value) = part.split_once('=')?;
            key.trim()
                .eq_ignore_ascii_case("q")
                .then(|| weight(value.trim()))
        });
        Some(Self {
            name,
            weight: weight.unwrap_or(1000),
        })
    }

    fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name)
    }
}

/// A weight that cannot be read is none.
fn weight(text: &str) -> u16 {
    let weight: f32 = text.parse().unwrap_or(0.0);
    (weight.clamp(0.0, 1.0) * 1000.0) as u16
}

/// The payload in a client's favourite encoding, or as it is when it would not get smaller.
pub(crate) async fn compress(
    runtime: &Handle,
    payload: Bytes,
    encoding: Encoding,
) -> (Bytes, Option<Encoding>) {
    let compressed = if payload.len() <= INLINE_BYTES_MAX {
        encode(&payload, encoding)
    } else {
        let shared = payload.clone();
        let work = runtime.spawn_blocking(move || encode(&shared, encoding));
        // A runtime that ends does no more work, and takes the payload as it is.
        work.await.ok().flatten()
    };
    match compressed {
        Some(compressed) => (compressed.into(), Some(encoding)),
        None => (payload, None),
    }
}

/// A compressor is a quarter of a megabyte, so each thread that needs one keeps it.
struct Compressors {
    gzip: Option<Compress>,
    deflate: Option<Compress>,
}

thread_local! {
    static COMPRESSORS: RefCell<Compressors> = const { RefCell::new(Compressors { gzip: None, deflate: None }) };
}

fn encode(payload: &[u8], encoding: Encoding) -> Option<Vec<u8>> {
    COMPRESSORS.with_borrow_mut(|compressors| {
        let level = Compression::new(LEVEL);
        let compressor = match encoding {
            Encoding::Gzip => compressors
                .gzip
                .get_or_insert_with(|| Compress::new_gzip(level, WINDOW_BITS)),
            Encoding::Deflate => compressors
                .deflate
                .get_or_insert_with(|| Compress::new(level, true)),
        };
        compressor.reset();
        // What does not fit into as many bytes has not become smaller.
        let mut compressed = Vec::with_capacity(payload.len());
        let status = compressor.compress_vec(payload, &mut compressed, FlushCompress::Finish);
        matches!(status, Ok(Status::StreamEnd)).then(|| {
            compressed.shrink_to_fit();
            compressed
        })
    })
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use flate2::read::{GzDecoder, ZlibDecoder};

    use super::*;

    fn decode(compressed: &[u8], encoding: Encoding) -> Vec<u8> {
        let mut decoded = Vec::new();
        match encoding {
            Encoding::Gzip => GzDecoder::new(compressed).read_to_end(&mut decoded),
            Encoding::Deflate => ZlibDecoder::new(compressed).read_to_end(&mut decoded),
        }
        .unwrap();
        decoded
    }

    #[test]
    fn a_client_gets_what_it_likes_best() {
        for (line, expected) in [
            (None, None),
            (Some(""), None),
            (Some("identity"), None),
            (Some("br, zstd"), None),
            (Some("gzip"), Some(Encoding::Gzip)),
            (Some("GZIP"), Some(Encoding::Gzip)),
            (Some("deflate"), Some(Encoding::Deflate)),
            (Some("gzip, deflate, br, zstd"), Some(Encoding::Gzip)),
            (Some("deflate, gzip"), Some(Encoding::Deflate)),
            (Some("gzip;q=0.5, deflate;q=0.8"), Some(Encoding::Deflate)),
            (Some("gzip;q=0"), None),
            (Some("gzip;q=0, *"), Some(Encoding::Deflate)),
            (Some("*"), Some(Encoding::Gzip)),
            (Some("*, deflate"), Some(Encoding::Deflate)),
            (Some("*;q=0"), None),
            (Some("gzip;q=none"), None),
            (Some("gzip;q=-1"), None),
            (Some("x-gzip"), None),
            (Some(",,;q=1,"), None),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(line) = line {
                headers.insert(ACCEPT_ENCODING, HeaderValue::from_static(line));
            }
            assert_eq!(Encoding::accepted(&headers), expected, "{line:?}");
        }
    }

    #[tokio::test]
    async fn what_is_compressed_is_the_same_again() {
        let runtime = Handle::current();
        for encoding in [Encoding::Gzip, Encoding::Deflate] {
            for len in [
                100,
                5_000,
                INLINE_BYTES_MAX,
                INLINE_BYTES_MAX + 1,
                3_000_000,
            ] {
                let payload: Bytes = b"42[\"said\",\"hello\"]\x1e"
                    .iter()
                    .copied()
                    .cycle()
                    .take(len)
                    .collect();
                let (body, used) = compress(&runtime, payload.clone(), encoding).await;
                assert_eq!(used, Some(encoding));
                assert!(body.len() < len, "{len}");
                assert_eq!(decode(&body, encoding), payload);
            }
        }
    }

    #[tokio::test]
    async fn what_would_grow_stays_as_it_is() {
        let mut noise = vec![0; 2_000];
        getrandom::fill(&mut noise).unwrap();
        let noise = Bytes::from(noise);
        let (body, used) = compress(&Handle::current(), noise.clone(), Encoding::Gzip).await;
        assert_eq!((body, used), (noise, None));
        // The compressor has not kept anything of it.
        let text = Bytes::from_static(&[b'a'; 2_000]);
        let (body, _) = compress(&Handle::current(), text.clone(), Encoding::Gzip).await;
        assert_eq!(decode(&body, Encoding::Gzip), text);
    }
}
