//! The measurement.

use crate::http2::{Connection, Ended, Outcome};
use crate::latency::Latency;
use crate::message::Code;
use crate::options::Options;
use crate::process::{cpu_time, tree_cpu_time};
use crate::requests::Requests;
use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use std::io;
use std::time::{Duration, Instant};

/// How long to sleep at most, and how long servers may take to say hello.
const LONGEST_WAIT: Duration = Duration::from_millis(50);
const HELLO_TIMEOUT: Duration = Duration::from_secs(5);
/// Ends a measurement of a server that only fails.
const MOST_FAILURES: u64 = 100_000;

/// What was measured.
#[derive(Debug, Default)]
pub struct Measured {
    /// From the start of a call, or the time at which it was due, to its end.
    pub latency: Latency,
    /// Calls that were allowed.
    pub allowed: u64,
    /// Calls that were refused.
    pub refused: u64,
    /// Calls without a decision.
    pub failed: u64,
    /// Why the first of them failed.
    pub first_failure: Option<&'static str>,
    /// How long was measured.
    pub elapsed: Duration,
    /// Core time of this program in that time.
    pub generator_cpu: Duration,
    /// Core time of the servers in that time.
    pub server_cpu: Duration,
    /// Core time of their store in that time.
    pub store_cpu: Duration,
}

impl Measured {
    /// Decisions a second.
    #[must_use]
    pub fn rate(&self) -> f64 {
        let seconds = self.elapsed.as_secs_f64();
        if seconds > 0.0 { (self.allowed + self.refused) as f64 / seconds } else { 0.0 }
    }

    fn count(&mut self, ended: &Ended, now_ns: u64) {
        match ended.outcome {
            Outcome::Decided(Code::Allowed) => self.allowed += 1,
            Outcome::Decided(Code::Refused) => self.refused += 1,
            Outcome::Status(_) => return self.fail("a grpc-status other than 0"),
            Outcome::Failed(reason) => return self.fail(reason),
        }
        self.latency.record(now_ns.saturating_sub(ended.started_ns));
    }

    fn fail(&mut self, reason: &'static str) {
        self.failed += 1;
        self.first_failure.get_or_insert(reason);
    }
}

/// Runs a measurement.
pub fn run(options: &Options) -> io::Result<Measured> {
    let mut generator = Generator::connect(options)?;
    generator.wait_for_hello()?;
    let began_ns = generator.now_ns();
    let mut due_ns = began_ns as f64;
    let measured_from_ns = began_ns + seconds_ns(options.warm_up);
    let ends_ns = measured_from_ns.saturating_add(seconds_ns(options.duration));
    let mut before = None;
    loop {
        let now_ns = generator.now_ns();
        if before.is_none() && now_ns >= measured_from_ns {
            generator.measured = Measured::default();
            before = Some((generator.clock.elapsed(), CpuTimes::now(options)));
        }
        if now_ns >= ends_ns || generator.is_through() {
            break;
        }
        let wait = match options.rate {
            None => generator.keep_busy(now_ns)?,
            Some(rate) => generator.start_what_is_due(&mut due_ns, now_ns, rate)?,
        };
        generator.wait_and_receive(wait)?;
        if generator.measured.failed > MOST_FAILURES {
            break;
        }
    }
    let mut measured = generator.measured;
    let (started, before) = before.unwrap_or_default();
    measured.elapsed = generator.clock.elapsed().saturating_sub(started);
    let after = CpuTimes::now(options);
    measured.generator_cpu = after.generator.saturating_sub(before.generator);
    measured.server_cpu = after.servers.saturating_sub(before.servers);
    measured.store_cpu = after.stores.saturating_sub(before.stores);
    Ok(measured)
}

/// Core time so far.
#[derive(Default)]
struct CpuTimes {
    generator: Duration,
    servers: Duration,
    stores: Duration,
}

impl CpuTimes {
    fn now(options: &Options) -> Self {
        Self {
            generator: cpu_time(std::process::id()),
            servers: options.server_pid.iter().map(|pid| cpu_time(*pid)).sum(),
            stores: options.store_pid.iter().map(|pid| tree_cpu_time(*pid)).sum(),
        }
    }
}

fn seconds_ns(seconds: f64) -> u64 {
    u64::try_from(Duration::from_secs_f64(seconds).as_nanos()).unwrap_or(u64::MAX)
}

struct Generator {
    clock: Instant,
    epoll: std::os::fd::OwnedFd,
    connections: Vec<Connection>,
    /// Which of them epoll watches for room to write.
    waiting_to_write: Vec<bool>,
    next_connection: usize,
    requests: Requests,
    /// Calls that may still be started, and calls that have not ended.
    calls_left: u64,
    open: u64,
    events: Vec<epoll::Event>,
    ended: Vec<Ended>,
    measured: Measured,
}

impl Generator {
    fn connect(options: &Options) -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let mut connections = Vec::new();
        for number in 0..options.connections {
            let address = options.addr[number % options.addr.len()];
            let connection = Connection::open(address, options.in_flight, options.envoy_headers)?;
            let data = epoll::EventData::new_u64(number as u64);
            epoll::add(&epoll, connection.descriptor(), data, epoll::EventFlags::IN)?;
            connections.push(connection);
        }
        Ok(Self {
            clock: Instant::now(),
            epoll,
            waiting_to_write: vec![false; connections.len()],
            connections,
            next_connection: 0,
            requests: Requests::new(options),
            calls_left: options.calls.unwrap_or(u64::MAX),
            open: 0,
            events: Vec::with_capacity(options.connections),
            ended: Vec::new(),
            measured: Measured::default(),
        })
    }

    fn now_ns(&self) -> u64 {
        u64::try_from(self.clock.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    fn wait_for_hello(&mut self) -> io::Result<()> {
        let waiting_since = Instant::now();
        while !self.connections.iter().all(Connection::is_ready) {
            if waiting_since.elapsed() > HELLO_TIMEOUT {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "the server sent no settings"));
            }
            self.flush()?;
            self.wait_and_receive(LONGEST_WAIT)?;
        }
        Ok(())
    }

    /// Whether all calls that were asked for have ended.
    fn is_through(&self) -> bool {
        self.calls_left == 0 && self.open == 0
    }

    /// Starts a call wherever one has ended.
    fn keep_busy(&mut self, now_ns: u64) -> io::Result<Duration> {
        for connection in &mut self.connections {
            while self.calls_left > 0 && connection.has_room_for(self.requests.length()) {
                connection.call(self.requests.next(), now_ns);
                self.calls_left -= 1;
                self.open += 1;
            }
        }
        self.flush()?;
        Ok(LONGEST_WAIT)
    }

    /// Starts every call that is due by now; what finds no room stays due, and its latency grows.
    fn start_what_is_due(&mut self, due_ns: &mut f64, now_ns: u64, rate: f64) -> io::Result<Duration> {
        while self.calls_left > 0 && *due_ns <= now_ns as f64 {
            let count = self.connections.len();
            let length = self.requests.length();
            let mut candidates = (0..count).map(|step| (self.next_connection + step) % count);
            let Some(free) = candidates.find(|&i| self.connections[i].has_room_for(length)) else { break };
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "it is not negative"
            )]
            self.connections[free].call(self.requests.next(), *due_ns as u64);
            self.calls_left -= 1;
            self.open += 1;
            self.next_connection = (free + 1) % count;
            *due_ns -= self.requests.random.share().ln() * 1e9 / rate;
        }
        self.flush()?;
        let left_ns = (*due_ns - self.now_ns() as f64).max(0.0);
        Ok(Duration::from_secs_f64(left_ns / 1e9).min(LONGEST_WAIT))
    }

    fn flush(&mut self) -> io::Result<()> {
        for (number, connection) in self.connections.iter_mut().enumerate() {
            connection.flush()?;
            let is_waiting = connection.has_output();
            if is_waiting != self.waiting_to_write[number] {
                self.waiting_to_write[number] = is_waiting;
                let data = epoll::EventData::new_u64(number as u64);
                let output = if is_waiting { epoll::EventFlags::OUT } else { epoll::EventFlags::empty() };
                let flags = epoll::EventFlags::IN | output;
                epoll::modify(&self.epoll, connection.descriptor(), data, flags)?;
            }
        }
        Ok(())
    }

    fn wait_and_receive(&mut self, wait: Duration) -> io::Result<()> {
        let wait = Timespec::try_from(wait).map_err(io::Error::other)?;
        self.events.clear();
        match epoll::wait(&self.epoll, spare_capacity(&mut self.events), Some(&wait)) {
            Err(rustix::io::Errno::INTR) => return Ok(()),
            outcome => outcome?,
        };
        for event in &self.events {
            let number = usize::try_from(event.data.u64()).map_err(io::Error::other)?;
            self.connections[number].receive(&mut self.ended)?;
            if self.connections[number].is_leaving() {
                return Err(io::Error::other("the server wants another connection"));
            }
        }
        let now_ns = self.now_ns();
        self.open -= self.ended.len() as u64;
        for ended in self.ended.drain(..) {
            self.measured.count(&ended, now_ns);
        }
        Ok(())
    }
}
