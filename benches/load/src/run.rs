//! The measurement.

use crate::histogram::Histogram;
use crate::http2::{Connection, Ended, Outcome};
use crate::message::{self, Code};
use crate::options::{Options, Order};
use crate::process::cpu_time;
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
    pub latency: Histogram,
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
    /// Core time of the server in that time.
    pub server_cpu: Duration,
}

impl Measured {
    /// Decisions a second.
    #[must_use]
    pub fn rate(&self) -> f64 {
        (self.allowed + self.refused) as f64 / self.elapsed.as_secs_f64()
    }

    fn count(&mut self, ended: &Ended, now_ns: u64) {
        match ended.outcome {
            Outcome::Decided(Code::Allowed) => self.allowed += 1,
            Outcome::Decided(Code::Refused) => self.refused += 1,
            Outcome::Failed(reason) => {
                self.failed += 1;
                self.first_failure.get_or_insert(reason);
                return;
            }
        }
        self.latency.record(now_ns.saturating_sub(ended.started_ns));
    }
}

/// Runs a measurement.
pub fn run(options: &Options) -> io::Result<Measured> {
    let mut generator = Generator::connect(options)?;
    generator.wait_for_hello()?;
    let began_ns = generator.now_ns();
    let mut due_ns = began_ns as f64;
    let measured_from_ns = began_ns + seconds_ns(options.warm_up);
    let ends_ns = measured_from_ns + seconds_ns(options.duration);
    let mut cpu_before = None;
    let mut started = Duration::ZERO;
    loop {
        let now_ns = generator.now_ns();
        if cpu_before.is_none() && now_ns >= measured_from_ns {
            generator.measured = Measured::default();
            cpu_before = Some(cpu_times(options));
            started = generator.clock.elapsed();
        }
        if now_ns >= ends_ns {
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
    measured.elapsed = generator.clock.elapsed().saturating_sub(started);
    let (generator_before, server_before) = cpu_before.unwrap_or_default();
    let (generator_after, server_after) = cpu_times(options);
    measured.generator_cpu = generator_after.saturating_sub(generator_before);
    measured.server_cpu = server_after.saturating_sub(server_before);
    Ok(measured)
}

/// Core time of this program and of the server so far.
fn cpu_times(options: &Options) -> (Duration, Duration) {
    (cpu_time(std::process::id()), options.server_pid.map(cpu_time).unwrap_or_default())
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
    events: Vec<epoll::Event>,
    ended: Vec<Ended>,
    measured: Measured,
}

impl Generator {
    fn connect(options: &Options) -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let mut connections = Vec::new();
        for number in 0..options.connections {
            let connection = Connection::open(options.addr, options.in_flight, options.envoy_headers)?;
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

    /// Starts a call wherever one has ended.
    fn keep_busy(&mut self, now_ns: u64) -> io::Result<Duration> {
        for connection in &mut self.connections {
            while connection.has_room_for(self.requests.longest) {
                connection.call(self.requests.next(), now_ns);
            }
        }
        self.flush()?;
        Ok(LONGEST_WAIT)
    }

    /// Starts every call that is due by now; what finds no room stays due, and its latency grows.
    fn start_what_is_due(&mut self, due_ns: &mut f64, now_ns: u64, rate: f64) -> io::Result<Duration> {
        while *due_ns <= now_ns as f64 {
            let count = self.connections.len();
            let longest = self.requests.longest;
            let mut candidates = (0..count).map(|step| (self.next_connection + step) % count);
            let Some(free) = candidates.find(|&i| self.connections[i].has_room_for(longest)) else { break };
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "it is not negative"
            )]
            self.connections[free].call(self.requests.next(), *due_ns as u64);
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
        }
        let now_ns = self.now_ns();
        for ended in self.ended.drain(..) {
            self.measured.count(&ended, now_ns);
        }
        Ok(())
    }
}

/// The request of every user, encoded, and whose turn it is.
struct Requests {
    bodies: Vec<Box<[u8]>>,
    longest: usize,
    order: Order,
    next: usize,
    random: Random,
}

impl Requests {
    fn new(options: &Options) -> Self {
        let user = |number| format!("u{number:08}");
        let bodies: Vec<_> = (0..options.keys.max(1))
            .map(|number| message::request(&options.tenant, &user(number), options.descriptors))
            .collect();
        let longest = bodies.iter().map(|body| body.len()).max().unwrap_or_default();
        Self { bodies, longest, order: options.order, next: 0, random: Random(0x9e37_79b9_7f4a_7c15) }
    }

    fn next(&mut self) -> &[u8] {
        let count = self.bodies.len();
        let index = match self.order {
            Order::Sequential => self.next,
            Order::Random => usize::try_from(self.random.next() >> 1).unwrap_or(0) % count,
        };
        self.next = if self.next + 1 < count { self.next + 1 } else { 0 };
        &self.bodies[index]
    }
}

/// xorshift: fast, and the same in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// Between 0 and 1, and neither.
    fn share(&mut self) -> f64 {
        ((self.next() >> 11) as f64 + 0.5) / (1_u64 << 53) as f64
    }
}
