//! One connection to Redis: TCP, TLS if asked for, and the login.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::fault::Fault;
use crate::resp::{self, Decoder, Reply};
use crate::settings::RedisSettings;
use crate::shared::Shared;

/// Keepalive begins after this much silence. The probes see a dead link much sooner; this ends sockets that nobody reads.
const KEEPALIVE_TIME: Duration = Duration::from_secs(15);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
/// Bytes written at once, so that a timeout measures standing still and not the length of a message.
const WRITE_BYTES: usize = 64 << 10;

pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// A connection that is logged in.
pub(crate) struct Link {
    pub(crate) reader: ReadHalf<Box<dyn Stream>>,
    pub(crate) writer: WriteHalf<Box<dyn Stream>>,
    pub(crate) decoder: Decoder,
}

impl Link {
    /// Connects and logs in, all within the connect timeout.
    pub(crate) async fn open(shared: &Shared) -> Result<Self, Fault> {
        let limit = shared.options.connect_timeout;
        timeout(limit, Self::connect(shared))
            .await
            .unwrap_or(Err(Fault::ConnectTimeout(limit)))
    }

    async fn connect(shared: &Shared) -> Result<Self, Fault> {
        let settings = &shared.settings;
        let tcp = connect_tcp(
            settings,
            shared.options.connect_timeout,
            shared.options.probe_interval + shared.options.probe_timeout,
        )
        .await?;
        let stream: Box<dyn Stream> = if settings.tls {
            Box::new(connect_tls(settings, tcp).await?)
        } else {
            Box::new(tcp)
        };
        let (reader, writer) = tokio::io::split(stream);
        let mut link = Self {
            reader,
            writer,
            decoder: Decoder::new(shared.options.message_bytes_max),
        };
        let name = format!("synapse-{}", shared.uid);
        link.log_in(settings, &name).await?;
        Ok(link)
    }

    /// Everything goes out at once; the answers are read in order.
    async fn log_in(&mut self, settings: &RedisSettings, name: &str) -> Result<(), Fault> {
        let mut out = Vec::new();
        if let Some(password) = &settings.password {
            // The short form is all that a Redis before version 6 knows.
            match settings.username.as_deref() {
                None | Some("default") => {
                    resp::put_command(&mut out, &[b"AUTH", password.as_bytes()])
                }
                Some(username) => resp::put_command(
                    &mut out,
                    &[b"AUTH", username.as_bytes(), password.as_bytes()],
                ),
            }
        }
        if settings.db != 0 {
            resp::put_command(&mut out, &[b"SELECT", settings.db.to_string().as_bytes()]);
        }
        resp::put_command(&mut out, &[b"CLIENT", b"SETNAME", name.as_bytes()]);
        resp::put_command(&mut out, &[b"PING"]);
        self.writer
            .write_all(&out)
            .await
            .map_err(|_| Fault::EndedAtLogin)?;
        self.writer.flush().await.map_err(|_| Fault::EndedAtLogin)?;

        if settings.password.is_some() {
            self.expect_status(Fault::from_auth_error_line).await?;
        }
        if settings.db != 0 {
            self.expect_status(Fault::from_error_line).await?;
        }
        // A name helps whoever looks at CLIENT LIST; a user without the right for it, or for PING, can still do all that matters.
        for _ in ["CLIENT", "PING"] {
            match self.expect_status(Fault::from_error_line).await {
                Ok(()) | Err(Fault::Permission(_) | Fault::Refused(_)) => {}
                Err(fault) => return Err(fault),
            }
        }
        Ok(())
    }

    async fn expect_status(&mut self, explain: fn(&[u8]) -> Fault) -> Result<(), Fault> {
        loop {
            match self.decoder.decode()? {
                Some(Reply::Status(_)) => return Ok(()),
                Some(Reply::Error(line)) => return Err(explain(line)),
                Some(
                    Reply::Integer(_)
                    | Reply::Bulk(_)
                    | Reply::Null
                    | Reply::Array(_)
                    | Reply::Oversized,
                ) => {
                    return Err(Fault::Unexpected("answer to the login"));
                }
                None => {}
            }
            fill(&mut self.decoder, &mut self.reader)
                .await
                .map_err(|_| Fault::EndedAtLogin)?;
        }
    }
}

/// Reads more; the end of the connection is a fault. Cancelling loses nothing.
pub(crate) async fn fill(
    decoder: &mut Decoder,
    reader: &mut ReadHalf<Box<dyn Stream>>,
) -> Result<(), Fault> {
    match decoder.fill(reader).await {
        Ok(0) => Err(Fault::Closed),
        Ok(_) => Ok(()),
        Err(error) => Err(Fault::Io(error)),
    }
}

/// Writes all of `bytes`; standing still for `limit` is a fault.
pub(crate) async fn write(
    writer: &mut WriteHalf<Box<dyn Stream>>,
    bytes: &[u8],
    limit: Duration,
) -> Result<(), Fault> {
    for piece in bytes.chunks(WRITE_BYTES) {
        timeout(limit, writer.write_all(piece))
            .await
            .map_err(|_| Fault::WriteTimeout(limit))?
            .map_err(Fault::Io)?;
    }
    timeout(limit, writer.flush())
        .await
        .map_err(|_| Fault::WriteTimeout(limit))?
        .map_err(Fault::Io)
}

async fn connect_tcp(
    settings: &RedisSettings,
    limit: Duration,
    user_timeout: Duration,
) -> Result<TcpStream, Fault> {
    let addresses: Vec<_> = tokio::net::lookup_host((settings.host.as_str(), settings.port))
        .await
        .map_err(|_| Fault::Resolve)?
        .collect();
    let stream = connect_any(&addresses, limit).await?;
    configure(&stream, user_timeout).map_err(Fault::Connect)?;
    Ok(stream)
}

/// Tries one address after the other. Each gets its share of the limit, with one more for the login: an address where nobody answers, as
/// IPv6 often is behind a firewall, must not keep us from the next.
async fn connect_any(addresses: &[SocketAddr], limit: Duration) -> Result<TcpStream, Fault> {
    let shares = u32::try_from(addresses.len()).map_or(u32::MAX, |count| count.saturating_add(1));
    let share = limit / shares;
    let mut failure = Fault::Resolve;
    for address in addresses {
        failure = match timeout(share, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => Fault::Connect(error),
            Err(_) => Fault::ConnectTimeout(share),
        };
    }
    Err(failure)
}

fn configure(stream: &TcpStream, user_timeout: Duration) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    socket.set_tcp_keepalive(
        &TcpKeepalive::new()
            .with_time(KEEPALIVE_TIME)
            .with_interval(KEEPALIVE_INTERVAL),
    )?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(user_timeout))?;
    #[cfg(not(target_os = "linux"))]
    let _ = user_timeout;
    Ok(())
}

async fn connect_tls(
    settings: &RedisSettings,
    tcp: TcpStream,
) -> Result<impl Stream + use<>, Fault> {
    let name = ServerName::try_from(settings.host.clone())
        .map_err(|error| Fault::Tls(io::Error::other(error)))?;
    let config = tls_config().map_err(|error| Fault::Tls(io::Error::other(error)))?;
    TlsConnector::from(config)
        .connect(name, tcp)
        .await
        .map_err(Fault::Tls)
}

/// Trusts the public authorities, and those of the operating system, where a private one can be added (also by `SSL_CERT_FILE`). Read
/// once: that takes files and milliseconds.
fn tls_config() -> Result<Arc<ClientConfig>, rustls::Error> {
    static CONFIG: OnceLock<Arc<ClientConfig>> = OnceLock::new();
    if let Some(config) = CONFIG.get() {
        return Ok(config.clone());
    }
    let mut roots = RootCertStore::from_iter(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(CONFIG.get_or_init(|| Arc::new(config)).clone())
}

#[cfg(test)]
mod tests {
    use socket2::{Domain, Socket, Type};
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn an_address_where_nobody_answers_leaves_time_for_the_next() {
        // A listener whose queue is full swallows what comes, as a firewall does.
        let silent = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        silent
            .bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())
            .unwrap();
        silent.listen(0).unwrap();
        let silent_address = silent.local_addr().unwrap().as_socket().unwrap();
        let limit = Duration::from_millis(600);
        let mut held = Vec::new();
        let fault = loop {
            match connect_any(&[silent_address], limit).await {
                Ok(stream) => held.push(stream),
                Err(fault) => break fault,
            }
        };
        assert!(
            matches!(fault, Fault::ConnectTimeout(after) if after == limit / 2),
            "{fault:?}"
        );

        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stream = timeout(limit, connect_any(&[silent_address, address], limit)).await;
        assert_eq!(stream.unwrap().unwrap().peer_addr().unwrap(), address);
    }
}
