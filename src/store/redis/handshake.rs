//! One connection: opened, encrypted, logged in.
//!
//! The client library does all this as well, but reads the certificates of the whole system for every TLS
//! connection, keeps no session to resume, and does not say why a password was refused.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::io::tcp::socket2::{SockRef, TcpKeepalive};
use redis::{AsyncConnectionConfig, Pipeline, RedisConnectionInfo, RedisError, Value};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::refusal::words;
use super::settings::{Address, Endpoint, Login};
use super::tls::Tls;

/// How long a silent connection is left alone before the other side is asked for a sign of life.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(5);

/// How long after that, at most, a connection to a machine that is gone is closed; the same for data that
/// nobody confirms. Calls have deadlines of their own, so this only frees what they left behind.
const GONE_AFTER: Duration = Duration::from_secs(5);

/// Signs of life that are missed before a connection counts as broken.
const KEEPALIVE_PROBES: u32 = 5;

/// Where one connection leads, and who asks.
#[derive(Debug)]
pub(super) struct Hop<'a> {
    pub(super) endpoint: &'a Endpoint,
    pub(super) login: &'a Login,
    pub(super) tls: Option<&'a Tls>,
    pub(super) database: u32,
    /// How long all of it may take, in milliseconds.
    pub(super) timeout_ms: u64,
}

/// The task that drives a connection; ended with this unless it is let go.
struct Driver(Option<JoinHandle<()>>);

impl Driver {
    fn let_go(mut self) {
        self.0 = None;
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        if let Some(task) = &self.0 {
            task.abort();
        }
    }
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

impl Hop<'_> {
    /// A connection, and the answers to `questions`, which go out together with the login.
    ///
    /// # Errors
    /// Where and why it failed.
    pub(super) async fn connect(
        &self,
        questions: &Pipeline,
    ) -> Result<(MultiplexedConnection, Vec<Value>), String> {
        let Self { endpoint, timeout_ms, .. } = self;
        let connected = timeout(Duration::from_millis(*timeout_ms), self.connect_patiently(questions)).await;
        let connected = connected.unwrap_or_else(|_| Err(format!("no answer within {timeout_ms} ms")));
        connected.map_err(|reason| format!("redis at {endpoint}: {reason}"))
    }

    async fn connect_patiently(
        &self,
        questions: &Pipeline,
    ) -> Result<(MultiplexedConnection, Vec<Value>), String> {
        let password = match &self.login.password {
            Some(password) => Some(password.read("password").await?),
            None => None,
        };
        let stream = self.open().await.map_err(|error| error.to_string())?;
        // Whoever asks has a deadline; one in here would give up answers that are still of use.
        let config = AsyncConnectionConfig::new().set_response_timeout(None).set_connection_timeout(None);
        // What this would send is sent below, where a refusal is told as the server words it.
        let nothing = RedisConnectionInfo::default().set_skip_set_lib_name();
        let made = MultiplexedConnection::new_with_config(&nothing, stream, config).await;
        let (mut connection, driving) = made.map_err(|error| error.to_string())?;
        // Dropping a connection leaves its task waiting for answers: for as long as a stopped Redis is silent.
        let driver = Driver(Some(tokio::spawn(driving)));
        let answers = self.introduce(&mut connection, password.as_deref(), questions).await?;
        driver.let_go();
        Ok((connection, answers))
    }

    async fn open(&self) -> io::Result<Box<dyn Stream>> {
        let address = match self.endpoint {
            Endpoint::Socket(path) => return Ok(Box::new(UnixStream::connect(path).await?)),
            Endpoint::Tcp(address) => address,
        };
        let Address { host, port } = address;
        let stream = self.open_tcp(host, *port).await?;
        stream.set_nodelay(true)?;
        let socket = SockRef::from(&stream);
        let every = GONE_AFTER / KEEPALIVE_PROBES;
        let keepalive = TcpKeepalive::new()
            .with_time(KEEPALIVE_AFTER)
            .with_interval(every)
            .with_retries(KEEPALIVE_PROBES);
        socket.set_tcp_keepalive(&keepalive)?;
        #[cfg(target_os = "linux")]
        socket.set_tcp_user_timeout(Some(GONE_AFTER))?;
        let Some(tls) = self.tls else { return Ok(Box::new(stream)) };
        let name = ServerName::try_from(host.clone()).map_err(io::Error::other)?;
        Ok(Box::new(TlsConnector::from(tls.config()).connect(name, stream).await?))
    }

    /// Tries every address of a name. None may use up the time of those behind it: the first is often one
    /// of an IPv6 that leads nowhere.
    async fn open_tcp(&self, host: &str, port: u16) -> io::Result<TcpStream> {
        let addresses: Vec<SocketAddr> = tokio::net::lookup_host((host, port)).await?.collect();
        let share =
            Duration::from_millis(self.timeout_ms) / u32::try_from(addresses.len()).unwrap_or(1).max(1);
        let mut last = io::Error::other("the name stands for no address");
        for address in addresses {
            match timeout(share, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => last = error,
                Err(_) => last = io::ErrorKind::TimedOut.into(),
            }
        }
        Err(last)
    }

    /// Logs in, says who this is, and asks; all in one round trip.
    async fn introduce(
        &self,
        connection: &mut MultiplexedConnection,
        password: Option<&[u8]>,
        questions: &Pipeline,
    ) -> Result<Vec<Value>, String> {
        let mut commands = redis::pipe();
        // What must succeed, and what may be refused: it is for people who look at the server.
        let mut needed = Vec::new();
        if let Some(password) = password {
            needed.push("the login");
            commands.cmd("AUTH");
            if let Some(username) = &self.login.username {
                commands.arg(username);
            }
            commands.arg(password);
        }
        if self.database != 0 {
            needed.push("the database");
            commands.cmd("SELECT").arg(self.database);
        }
        commands.cmd("CLIENT").arg("SETNAME").arg("fluxlimit");
        commands.cmd("CLIENT").arg("SETINFO").arg("LIB-NAME").arg("fluxlimit");
        commands.cmd("CLIENT").arg("SETINFO").arg("LIB-VER").arg(env!("CARGO_PKG_VERSION"));
        let introduction = commands.len();
        for question in questions.cmd_iter() {
            commands.add_command(question.clone());
        }
        let count = commands.len();
        let answers = connection.req_packed_commands(&commands, 0, count).await;
        let mut answers = answers.map_err(|error| self.failure(&error))?;
        for (what, refusal) in needed.iter().zip(answers.iter().map(refusal)) {
            if let Some(refusal) = refusal {
                return Err(format!("{what} was refused: {refusal}"));
            }
        }
        // Without a password this is the only sign that one is needed.
        let mut refusals = answers.iter().filter_map(refusal);
        if let Some(refusal) = refusals.find(|refusal| refusal.starts_with("NOAUTH")) {
            return Err(refusal);
        }
        if answers.len() < count {
            return Err("it gave too few answers".to_owned());
        }
        Ok(answers.split_off(introduction))
    }

    fn failure(&self, error: &RedisError) -> String {
        if !error.is_connection_dropped() {
            return error.to_string();
        }
        // TLS 1.3 has the client send before the server has seen its certificate; why the server then hangs
        // up is lost if the client was quicker to write than to read.
        let why = if self.tls.is_some() {
            "; the certificate of this client, or that it shows none, may be why"
        } else {
            ""
        };
        format!("it closed the connection at once: {error}{why}")
    }
}

/// How the server words its refusal, if it is one.
pub(super) fn refusal(answer: &Value) -> Option<String> {
    let Value::ServerError(error) = answer else { return None };
    Some(words(error))
}

/// The text of an answer.
pub(super) fn text(answer: &Value) -> Option<String> {
    match answer {
        Value::BulkString(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
        Value::SimpleString(text) | Value::VerbatimString { text, .. } => Some(text.clone()),
        _ => None,
    }
}
