//! The other side: how a client of a listener speaks TLS.

use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};

use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::Protocol;
use crate::store::Mistake;
use crate::store::pem::{self, Named, Pair};

/// What a client shows and trusts, as a command line names it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ClientFiles {
    /// The authorities that may have signed the server's certificate; `None`: those that the system trusts.
    pub ca: Option<PathBuf>,
    /// The certificate to show, and those that lead to it.
    pub cert: Option<PathBuf>,
    /// The key of that certificate.
    pub key: Option<PathBuf>,
}

/// Shakes hands with servers.
#[derive(Debug, Clone)]
pub struct Connector {
    config: Arc<ClientConfig>,
    /// Whom the server's certificate has to be for, if not for the host that is connected to.
    server_name: Option<String>,
    /// Why the server ended a connection.
    told: Arc<OnceLock<String>>,
}

/// A connection that keeps why the server ended it. With TLS 1.3 a server may refuse a certificate only after the
/// handshake, and what stands above would only say that the connection was closed.
#[derive(Debug)]
pub struct ClientStream {
    stream: TlsStream<TcpStream>,
    told: Arc<OnceLock<String>>,
}

impl Connector {
    /// Reads `files`.
    ///
    /// # Errors
    /// Every file that cannot be used, and why.
    pub fn open(
        files: &ClientFiles,
        server_name: Option<String>,
        protocol: Protocol,
    ) -> Result<Self, Vec<Mistake>> {
        let mut mistakes = Vec::new();
        let roots = match &files.ca {
            None => Some(pem::system_authorities()),
            Some(path) => pem::certificates("--cacert", path, &mut mistakes)
                .and_then(|(_, found)| pem::authorities("--cacert", path, &found, &mut mistakes)),
        };
        let cert = Named { setting: "--cert", path: files.cert.as_deref() };
        let key = Named { setting: "--key", path: files.key.as_deref() };
        let pair = pem::pair(cert, key, "holds no private key in PEM form", &mut mistakes);
        let Some(roots) = roots.filter(|_| mistakes.is_empty()) else { return Err(mistakes) };
        let pair = pair.map(|Pair { chain, key, .. }| (chain, key));
        let mut config = pem::client(roots, pair, "--cert").map_err(|mistake| vec![mistake])?;
        config.alpn_protocols = vec![protocol.alpn()];
        Ok(Self { config: Arc::new(config), server_name, told: Arc::default() })
    }

    /// Shakes hands with the server at `host`, to which `stream` leads.
    ///
    /// # Errors
    /// Either side refuses the other, or does not speak TLS.
    pub async fn connect(&self, host: &str, stream: TcpStream) -> io::Result<ClientStream> {
        // The address of IPv6 stands in brackets where there is a port behind it.
        let host = self.server_name.as_deref().unwrap_or(host).trim_matches(['[', ']']);
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        let stream = TlsConnector::from(self.config.clone()).connect(name, stream).await?;
        Ok(ClientStream { stream, told: self.told.clone() })
    }

    /// Why a server ended a connection after the handshake, if it said so in the words of TLS.
    #[must_use]
    pub fn told(&self) -> Option<&str> {
        self.told.get().map(String::as_str)
    }
}

impl AsyncRead for ClientStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = ready!(Pin::new(&mut self.stream).poll_read(context, buffer));
        if let Err(error) = &read
            && error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>())
        {
            // The first one is the reason.
            let _ = self.told.set(error.to_string());
        }
        Poll::Ready(read)
    }
}

impl AsyncWrite for ClientStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
