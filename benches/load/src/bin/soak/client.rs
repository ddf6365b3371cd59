//! Who asks one server, at a fixed rate whatever comes back.

use crate::tally::Tally;
use crate::traffic::{Answer, Question, Traffic};
use fluxlimit_load::child::Failure;
use fluxlimit_load::http2::Connection;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Connections that take calls. Envoy opens one for each worker thread.
const CONNECTIONS: usize = 2;
/// So many calls may wait on each while a store does not answer.
const IN_FLIGHT: usize = 1_000;
/// How long to sleep at most.
const LONGEST_WAIT: Duration = Duration::from_millis(20);
/// What was not asked for so long is not asked any more: after a stall of this machine there is no flood.
const MOST_BEHIND: Duration = Duration::from_secs(1);
/// A call without an answer for so long is lost. The server itself gives up after ten seconds.
const LOST_AFTER: Duration = Duration::from_mins(1);

/// A connection, and the calls on it by their number.
struct Link {
    connection: Connection,
    calls: HashMap<u32, (Question, Instant)>,
}

/// The client of a server.
pub(crate) struct Client {
    pub(crate) address: SocketAddr,
    pub(crate) rate: f64,
    pub(crate) tally: Arc<Tally>,
}

impl Client {
    /// Asks until it is told to stop and everything is answered; complains about what is wrong.
    pub(crate) fn run(&self, stop: &AtomicBool) {
        if let Err(failure) = self.ask(stop) {
            self.tally.complain(failure.to_string());
        }
    }

    fn ask(&self, stop: &AtomicBool) -> Result<(), Failure> {
        let mut traffic = Traffic::default();
        let mut links: Vec<Link> = Vec::new();
        let gap = Duration::from_secs_f64(1.0 / self.rate);
        let mut due = Instant::now();
        loop {
            let is_stopping = stop.load(Ordering::Relaxed);
            if is_stopping && links.iter().all(|link| link.calls.is_empty()) {
                return Ok(());
            }
            self.keep_connected(&mut links)?;
            let now = Instant::now();
            if is_stopping {
                due = now + LONGEST_WAIT;
            }
            due = due.max(now.checked_sub(MOST_BEHIND).unwrap_or(now));
            while due <= now {
                if !start(&mut links, &mut traffic) {
                    break;
                }
                due += gap;
            }
            let wait = due.saturating_duration_since(now).clamp(Duration::from_millis(1), LONGEST_WAIT);
            exchange(&mut links, wait)?;
            self.receive(&mut links)?;
        }
    }

    /// Opens connections for those that were told to go, and lets go of those when their calls have ended.
    fn keep_connected(&self, links: &mut Vec<Link>) -> Result<(), Failure> {
        links.retain(|link| !(link.connection.is_leaving() && link.calls.is_empty()));
        while links.iter().filter(|link| !link.connection.is_leaving()).count() < CONNECTIONS {
            let connection = Connection::open(self.address, IN_FLIGHT, false)?;
            links.push(Link { connection, calls: HashMap::new() });
        }
        Ok(())
    }

    fn receive(&self, links: &mut [Link]) -> Result<(), Failure> {
        let mut ended = Vec::new();
        for Link { connection, calls } in links {
            let received = connection.receive(&mut ended);
            for ended in ended.drain(..) {
                let (asked, started) = calls.remove(&ended.stream).ok_or("an answer to nothing")?;
                self.tally.answered(&asked, Answer::from(ended.outcome), started);
            }
            if let Err(error) = received
                && !(connection.is_leaving() && calls.is_empty())
            {
                return Err(format!("a connection with {} open calls failed: {error}", calls.len()).into());
            }
            if let Some((asked, _)) = calls.values().find(|(_, started)| started.elapsed() > LOST_AFTER) {
                return Err(format!("a request of kind {:?} got no answer", asked.kind).into());
            }
        }
        Ok(())
    }
}

/// Starts the next call on the connection that has the fewest; says whether one had room.
fn start(links: &mut [Link], traffic: &mut Traffic) -> bool {
    // Longer than any of the requests.
    const ROOM: usize = 1_000;
    let free = links.iter_mut().filter(|link| link.connection.has_room_for(ROOM));
    let Some(link) = free.min_by_key(|link| link.calls.len()) else { return false };
    let question = traffic.next();
    let stream = link.connection.call(&question.body, 0);
    link.calls.insert(stream, (question, Instant::now()));
    true
}

/// Writes what is to be written, and waits until there is something to read or the time is over.
fn exchange(links: &mut [Link], wait: Duration) -> Result<(), Failure> {
    for link in &mut *links {
        if let Err(error) = link.connection.flush()
            && !(link.connection.is_leaving() && link.calls.is_empty())
        {
            return Err(format!("a connection cannot be written to: {error}").into());
        }
    }
    let mut watched: Vec<PollFd<'_>> = links
        .iter()
        .map(|Link { connection, .. }| {
            let output = if connection.has_output() { PollFlags::OUT } else { PollFlags::empty() };
            PollFd::from_borrowed_fd(connection.descriptor(), PollFlags::IN | output)
        })
        .collect();
    match poll(&mut watched, Some(&Timespec::try_from(wait)?)) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
