//! Shakes hands with clients, and takes other certificates when the files have changed.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use rustls::{Error, InvalidMessage, ServerConfig};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;

use super::clients::NotAllowed;
use super::load::{Loaded, load};
use super::plain::{Beginning, beginning, close, turn_away};
use super::{Names, Protocol, Settings};
use crate::metrics::{Handshake, TlsCounts};
use crate::sampler::Sampler;
use crate::store::Mistake;
use crate::time::{Clock, Stopwatch, SystemClock};

/// A connection on which hands were shaken.
pub type Stream = TlsStream<TcpStream>;

/// Shakes hands with the clients of one listener.
pub struct Acceptor {
    names: Names,
    protocol: Protocol,
    settings: Settings,
    /// What new connections begin with.
    config: ArcSwap<ServerConfig>,
    /// Handshakes whose clients have begun.
    places: Semaphore,
    files: Mutex<Files>,
    counts: Arc<TlsCounts>,
    running: Stopwatch,
    log: Mutex<Sampler>,
}

/// What is known of the files.
struct Files {
    /// What stands in those that are in use.
    texts: Vec<Vec<u8>>,
    /// What was wrong when they were read last.
    mistakes: Vec<Mistake>,
}

/// Why there is no connection.
struct Failure {
    kind: Handshake,
    reason: String,
    /// What is closed once the client has read why.
    stream: Option<TcpStream>,
}

impl Acceptor {
    /// Reads the files of `settings`; `None` if the listener is plain.
    ///
    /// # Errors
    /// Everything that keeps them from being used.
    pub fn open(
        settings: Settings,
        names: Names,
        protocol: Protocol,
    ) -> Result<Option<Arc<Self>>, Vec<Mistake>> {
        if !settings.is_on() {
            return Ok(None);
        }
        let Loaded { config, expires, texts } = load(&settings, &names, protocol, SystemClock.now())?;
        let counts = Arc::new(TlsCounts::new(names.listener));
        counts.set_expiry(expires);
        Ok(Some(Arc::new(Self {
            names,
            protocol,
            config: ArcSwap::new(config),
            places: Semaphore::new(settings.max_handshakes),
            settings,
            files: Mutex::new(Files { texts, mistakes: Vec::new() }),
            counts,
            running: Stopwatch::start(),
            log: Mutex::default(),
        })))
    }

    /// What is counted.
    #[must_use]
    pub fn counts(&self) -> Arc<TlsCounts> {
        self.counts.clone()
    }

    /// The files that are read.
    #[must_use]
    pub fn files(&self) -> Vec<PathBuf> {
        self.settings.files()
    }

    /// Shakes hands in bounded time. `None` if that fails, which is counted and logged, or if `stop` is ready first.
    pub async fn accept(&self, stream: TcpStream, stop: impl Future<Output = ()>) -> Option<Stream> {
        tokio::select! {
            accepted = self.accept_or_refuse(stream) => accepted,
            () = stop => None,
        }
    }

    async fn accept_or_refuse(&self, stream: TcpStream) -> Option<Stream> {
        let peer = stream.peer_addr().ok();
        match self.shake_hands(stream).await {
            Ok(stream) => {
                self.counts.ended(Handshake::Ok);
                Some(stream)
            }
            Err(failure) => {
                self.counts.ended(failure.kind);
                self.tell(peer, &failure);
                if let Some(stream) = failure.stream {
                    let most = Duration::from_millis(self.settings.handshake_timeout_ms);
                    // Whatever comes of it, the connection is over.
                    let _ = tokio::time::timeout(most, close(stream)).await;
                }
                None
            }
        }
    }

    async fn shake_hands(&self, stream: TcpStream) -> Result<Stream, Failure> {
        let timeout_ms = self.settings.handshake_timeout_ms;
        let late = || Failure::new(Handshake::TimedOut, format!("not done after {timeout_ms} ms"));
        let mut deadline = pin!(tokio::time::sleep(Duration::from_millis(timeout_ms)));
        // Who has not said what it wants costs nothing but memory, and holds no place.
        let begun = tokio::select! {
            begun = self.hello(stream) => begun?,
            () = deadline.as_mut() => return Err(late()),
        };
        // Whoever had to wait for a place may have got it too late.
        let had_to_wait = self.places.available_permits() == 0;
        let shaken = async {
            let _place = self.places.acquire().await.expect("never closed");
            begun.into_stream(self.config.load_full()).into_fallible().await
        };
        tokio::select! {
            shaken = shaken => {
                shaken.map_err(|(error, stream)| Failure { stream: Some(stream), ..Failure::of(&error) })
            }
            () = deadline => Err(if had_to_wait { self.overloaded() } else { late() }),
        }
    }

    fn overloaded(&self) -> Failure {
        let Settings { max_handshakes, handshake_timeout_ms, .. } = self.settings;
        let reason =
            format!("not done after {handshake_timeout_ms} ms, for {max_handshakes} others were worked on");
        Failure::new(Handshake::Overloaded, reason)
    }

    /// Waits for the first message of a client.
    async fn hello(&self, stream: TcpStream) -> Result<tokio_rustls::StartHandshake<TcpStream>, Failure> {
        let begins = beginning(&stream).await.map_err(|error| Failure::of(&error))?;
        let not_tls = |reason: &str| Failure::new(Handshake::NotTls, reason.to_owned());
        match begins {
            Beginning::Tls => {}
            Beginning::Letter => {
                let stream = turn_away(stream).await.ok();
                let failure = not_tls("the client does not speak TLS, but HTTP as it seems");
                return Err(Failure { stream, ..failure });
            }
            Beginning::Other => return Err(not_tls("the client does not speak TLS")),
            Beginning::Nothing => {
                return Err(Failure::new(Handshake::Broken, "closed before it began".to_owned()));
            }
        }
        let hello = LazyConfigAcceptor::new(rustls::server::Acceptor::default(), stream);
        hello.await.map_err(|error| Failure::of(&error))
    }

    /// Logs what an operator may have to mend, one line of a kind a second; scanners and probes come and go.
    fn tell(&self, peer: Option<SocketAddr>, failure: &Failure) {
        let Failure { kind, reason, .. } = failure;
        let (listener, peer) = (self.names.listener, peer.map(tracing::field::display));
        if matches!(kind, Handshake::Broken | Handshake::TimedOut) {
            tracing::debug!(listener, peer, reason, "a TLS handshake failed");
        } else if let Some(left_out) = self.log.lock().take(kind.name(), self.running.elapsed()) {
            tracing::warn!(listener, peer, reason, left_out, "a TLS handshake failed");
        }
    }

    /// Reads the files again, and uses what stands there for new connections if it is good and new. Waits for the
    /// disk. If it `is_asked` for, the log says what is wrong even if it said so before.
    pub fn reload(&self, is_asked: bool) {
        // Held while reading, so that two readings never overtake each other.
        let mut files = self.files.lock();
        match load(&self.settings, &self.names, self.protocol, SystemClock.now()) {
            Ok(loaded) => self.put(&mut files, loaded),
            Err(mistakes) if is_asked || mistakes != files.mistakes => {
                self.counts.reloaded(false);
                for Mistake { setting, message } in &mistakes {
                    tracing::error!("{setting}: {message}");
                }
                let listener = self.names.listener;
                tracing::error!(listener, "the certificates in the files cannot be used; those in use stay");
                files.mistakes = mistakes;
            }
            Err(_) => {}
        }
    }

    fn put(&self, files: &mut Files, loaded: Loaded) {
        let Loaded { config, expires, texts } = loaded;
        if texts == files.texts && files.mistakes.is_empty() {
            return;
        }
        if texts != files.texts {
            self.config.store(config);
            self.counts.set_expiry(expires);
        }
        *files = Files { texts, mistakes: Vec::new() };
        self.counts.reloaded(true);
        tracing::info!(listener = self.names.listener, "new connections use the certificates in the files");
    }
}

impl std::fmt::Debug for Acceptor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Acceptor").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Failure {
    const fn new(kind: Handshake, reason: String) -> Self {
        Self { kind, reason, stream: None }
    }

    /// What an error of a handshake is about.
    fn of(error: &io::Error) -> Self {
        let Some(tls) = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) else {
            return Self::new(Handshake::Broken, error.to_string());
        };
        if let Some(refused) = NotAllowed::of(tls) {
            return Self::new(Handshake::NotAllowed, refused.to_string());
        }
        let kind = match tls {
            Error::InvalidCertificate(_) | Error::NoCertificatesPresented => Handshake::BadCertificate,
            Error::AlertReceived(_) => Handshake::RefusedByClient,
            Error::PeerIncompatible(_) | Error::NoApplicationProtocol => Handshake::Incompatible,
            Error::InvalidMessage(InvalidMessage::InvalidContentType) => Handshake::NotTls,
            _ => Handshake::Broken,
        };
        Self::new(kind, tls.to_string())
    }
}
