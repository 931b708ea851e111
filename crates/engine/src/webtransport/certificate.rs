//! The certificate that clients are shown.

use std::sync::Arc;

use quinn::crypto::rustls::QuicServerConfig;
use quinn::rustls::crypto::aws_lc_rs::default_provider;
use quinn::rustls::{self, version::TLS13};

use super::pki_types::pem::{self, PemObject as _};
use super::pki_types::{CertificateDer, PrivateKeyDer};

/// The name of HTTP/3 in the TLS handshake.
const PROTOCOL: &[u8] = b"h3";

/// A certificate with its key. `Debug` does not print the key.
#[derive(Debug)]
pub struct Certificate {
    /// The certificate, then those that vouch for it.
    pub chain: Vec<CertificateDer<'static>>,
    /// The key of the first certificate.
    pub key: PrivateKeyDer<'static>,
}

impl Certificate {
    /// Reads both from the text of PEM files, which may be the same.
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Self, pem::Error> {
        Ok(Self {
            chain: CertificateDer::pem_slice_iter(chain).collect::<Result<_, _>>()?,
            key: PrivateKeyDer::from_pem_slice(key)?,
        })
    }

    pub(super) fn tls_config(&self) -> Result<QuicServerConfig, rustls::Error> {
        let mut config = rustls::ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_protocol_versions(&[&TLS13])?
            .with_no_client_auth()
            .with_single_cert(self.chain.clone(), self.key.clone_key())?;
        config.alpn_protocols = vec![PROTOCOL.to_vec()];
        QuicServerConfig::try_from(config)
            .map_err(|error| rustls::Error::General(error.to_string()))
    }
}
