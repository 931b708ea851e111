//! WebTransport on the port of HTTP, with a certificate that is made anew at each start.

use std::error::Error;
use std::net::SocketAddr;

use synapse_socket::webtransport::pki_types::PrivatePkcs8KeyDer;
use synapse_socket::webtransport::{Certificate, listen};
use synapse_socket::{Server, TransportKind};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinHandle;
use wtransport::Identity;
use wtransport::tls::Sha256DigestFmt;

use crate::announce;

/// Serves until the program is to end, if the settings offer WebTransport. Pages have to be told the certificate's hash, which is announced.
pub(crate) fn start(io: &Server, address: SocketAddr) -> Result<JoinHandle<()>, Box<dyn Error>> {
    if !io.config().transports.contains(TransportKind::WebTransport) {
        return Ok(tokio::spawn(async {}));
    }
    let identity = Identity::self_signed(["localhost", "127.0.0.1"])?;
    let own = &identity.certificate_chain().as_slice()[0];
    let certificate = Certificate {
        chain: vec![own.der().to_vec().into()],
        key: PrivatePkcs8KeyDer::from(identity.private_key().secret_der().to_vec()).into(),
    };
    let listener = listen(address, &certificate, io.service())?;
    let hash = own.hash();
    announce(&format!(
        "certificate {}",
        hash.fmt(Sha256DigestFmt::DottedHex)
    ));
    let mut terminated = signal(SignalKind::terminate())?;
    let io = io.clone();
    Ok(tokio::spawn(async move {
        let closed = async {
            terminated.recv().await;
            io.close().await;
        };
        listener.serve(closed).await;
    }))
}
