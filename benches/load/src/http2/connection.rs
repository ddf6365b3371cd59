//! One connection with many calls in flight.

use super::frame::{self, Frame};
use super::hpack::{RequestBlocks, Status, StatusReader};
use crate::message::{self, Code};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const INITIAL_WINDOW: u32 = 65_535;
/// As large as allowed, so that the server never waits for us.
const RECEIVE_WINDOW: u32 = 0x7fff_ffff;
const INPUT_BYTES: usize = 1 << 18;

/// How a call ended.
#[derive(Debug)]
pub enum Outcome {
    /// With a decision.
    Decided(Code),
    /// With this `grpc-status`, which is not 0.
    Status(u8),
    /// Without one, and why.
    Failed(&'static str),
}

/// A call that has ended.
#[derive(Debug)]
pub struct Ended {
    /// The number that [`Connection::call`] gave it.
    pub stream: u32,
    /// When it started, as it was given.
    pub started_ns: u64,
    /// How it ended.
    pub outcome: Outcome,
}

/// A call in flight; stream 0 marks a free place.
#[derive(Debug, Clone, Copy, Default)]
struct Call {
    stream: u32,
    started_ns: u64,
    code: Option<Code>,
}

/// A connection; every error on it as a whole ends the measurement.
#[derive(Debug)]
pub struct Connection {
    socket: TcpStream,
    is_ready: bool,
    is_leaving: bool,
    max_in_flight: usize,
    in_flight: usize,
    /// Indexed by stream number, round and round.
    calls: Box<[Call]>,
    next_stream: u32,
    send_window: usize,
    received_since_update: u32,
    output: Vec<u8>,
    written: usize,
    input: Box<[u8]>,
    filled: usize,
    blocks: RequestBlocks,
    reader: StatusReader,
}

impl Connection {
    /// Connects and says hello; the server's settings are still to come.
    pub fn open(address: SocketAddr, max_in_flight: usize, envoy_headers: bool) -> io::Result<Self> {
        let socket = TcpStream::connect(address)?;
        socket.set_nodelay(true)?;
        socket.set_nonblocking(true)?;
        let mut output = PREFACE.to_vec();
        // ENABLE_PUSH is 0, INITIAL_WINDOW_SIZE is the largest.
        let settings = [0, 2, 0, 0, 0, 0, 0, 4, 0x7f, 0xff, 0xff, 0xff];
        frame::put(&mut output, frame::SETTINGS, 0, 0, &settings);
        let more = (RECEIVE_WINDOW - INITIAL_WINDOW).to_be_bytes();
        frame::put(&mut output, frame::WINDOW_UPDATE, 0, 0, &more);
        // Calls end in any order, so there is room for a slow one among sixteen rounds of fast ones.
        let places = (max_in_flight * 16).next_power_of_two();
        Ok(Self {
            socket,
            is_ready: false,
            is_leaving: false,
            max_in_flight,
            in_flight: 0,
            calls: vec![Call::default(); places].into_boxed_slice(),
            next_stream: 1,
            send_window: INITIAL_WINDOW as usize,
            received_since_update: 0,
            output,
            written: 0,
            input: vec![0; INPUT_BYTES].into_boxed_slice(),
            filled: 0,
            blocks: RequestBlocks::new(&address.to_string(), envoy_headers),
            reader: StatusReader::default(),
        })
    }

    /// What to wait for with epoll.
    #[must_use]
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Whether the server's settings have arrived.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.is_ready
    }

    /// Whether the server wants no more calls on it; those that have started end as usual.
    #[must_use]
    pub fn is_leaving(&self) -> bool {
        self.is_leaving
    }

    /// Calls that have not ended.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Whether something waits until the socket takes more.
    #[must_use]
    pub fn has_output(&self) -> bool {
        self.written < self.output.len()
    }

    /// Whether a call with a body of this length may start.
    #[must_use]
    pub fn has_room_for(&self, length: usize) -> bool {
        self.is_ready
            && !self.is_leaving
            && self.in_flight < self.max_in_flight
            && self.send_window >= length
            && self.calls[self.place(self.next_stream)].stream == 0
    }

    /// Starts a call and gives it a number; asked for room before.
    pub fn call(&mut self, body: &[u8], started_ns: u64) -> u32 {
        let stream = self.next_stream;
        let block = if stream == 1 { &self.blocks.first } else { &self.blocks.further };
        frame::put(&mut self.output, frame::HEADERS, frame::END_HEADERS, stream, block);
        frame::put(&mut self.output, frame::DATA, frame::END_STREAM, stream, body);
        self.calls[self.place(stream)] = Call { stream, started_ns, code: None };
        self.next_stream += 2;
        self.in_flight += 1;
        self.send_window -= body.len();
        stream
    }

    /// Writes as much as the socket takes.
    pub fn flush(&mut self) -> io::Result<()> {
        while self.written < self.output.len() {
            match self.socket.write(&self.output[self.written..]) {
                Ok(length) => self.written += length,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        self.output.clear();
        self.written = 0;
        Ok(())
    }

    /// Reads once and handles every whole frame; calls that ended are added to `ended`.
    pub fn receive(&mut self, ended: &mut Vec<Ended>) -> io::Result<()> {
        match self.socket.read(&mut self.input[self.filled..]) {
            Ok(0) => {
                return Err(io::Error::new(ErrorKind::UnexpectedEof, "the server closed the connection"));
            }
            Ok(length) => self.filled += length,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        }
        let input = std::mem::take(&mut self.input);
        let mut handled = 0;
        while let Some(frame) = Frame::first_in(&input[handled..self.filled]) {
            self.handle(frame, ended)?;
            handled += frame::HEADER_LENGTH + frame.payload.len();
        }
        self.input = input;
        self.input.copy_within(handled..self.filled, 0);
        self.filled -= handled;
        if self.received_since_update > RECEIVE_WINDOW / 2 {
            let more = self.received_since_update.to_be_bytes();
            frame::put(&mut self.output, frame::WINDOW_UPDATE, 0, 0, &more);
            self.received_since_update = 0;
        }
        Ok(())
    }

    fn handle(&mut self, frame: Frame<'_>, ended: &mut Vec<Ended>) -> io::Result<()> {
        match frame.kind {
            frame::DATA => self.data(frame, ended)?,
            frame::HEADERS => self.headers(frame, ended)?,
            frame::RST_STREAM => {
                self.end(frame.stream, Some(Outcome::Failed("the server reset the stream")), ended);
            }
            frame::SETTINGS if !frame.has(frame::ACK) => {
                self.settings(frame.payload);
                frame::put(&mut self.output, frame::SETTINGS, frame::ACK, 0, &[]);
            }
            frame::PING if !frame.has(frame::ACK) => {
                frame::put(&mut self.output, frame::PING, frame::ACK, 0, frame.payload);
            }
            frame::WINDOW_UPDATE if frame.stream == 0 => {
                self.send_window += (number(frame.payload) & 0x7fff_ffff) as usize;
            }
            // The last stream, then the reason: 0 is none.
            frame::GOAWAY if frame.payload.get(4..8) == Some(&[0; 4]) => self.is_leaving = true,
            frame::GOAWAY => return Err(unexpected("GOAWAY")),
            frame::CONTINUATION => return Err(unexpected("a header block in several frames")),
            _ => {}
        }
        Ok(())
    }

    fn settings(&mut self, payload: &[u8]) {
        for setting in payload.chunks_exact(6) {
            // MAX_CONCURRENT_STREAMS
            if setting[..2] == [0, 3] {
                self.max_in_flight = self.max_in_flight.min(number(&setting[2..]) as usize);
            }
        }
        self.is_ready = true;
    }

    fn data(&mut self, frame: Frame<'_>, ended: &mut Vec<Ended>) -> io::Result<()> {
        if frame.has(frame::PADDED) {
            return Err(unexpected("padding"));
        }
        self.received_since_update += u32::try_from(frame.payload.len()).unwrap_or(u32::MAX);
        let place = self.place(frame.stream);
        let call = &mut self.calls[place];
        if call.stream == frame.stream && call.code.is_none() {
            call.code = message::overall_code(frame.payload);
        }
        if frame.has(frame::END_STREAM) {
            self.end(frame.stream, Some(Outcome::Failed("a stream without trailers")), ended);
        }
        Ok(())
    }

    fn headers(&mut self, frame: Frame<'_>, ended: &mut Vec<Ended>) -> io::Result<()> {
        if frame.has(frame::PADDED | frame::PRIORITY) || !frame.has(frame::END_HEADERS) {
            return Err(unexpected("padding, a priority, or a header block in several frames"));
        }
        let status = self.reader.read(frame.payload);
        let status = status.map_err(|_| unexpected("a malformed header block"))?;
        if frame.has(frame::END_STREAM) {
            let failure = match status {
                Status::Success => None,
                Status::Failure(number) => Some(Outcome::Status(number)),
                Status::Absent => Some(Outcome::Failed("no grpc-status")),
            };
            self.end(frame.stream, failure, ended);
        }
        Ok(())
    }

    fn end(&mut self, stream: u32, failure: Option<Outcome>, ended: &mut Vec<Ended>) {
        let place = self.place(stream);
        let call = self.calls[place];
        if call.stream != stream || stream == 0 {
            return;
        }
        self.calls[place] = Call::default();
        self.in_flight -= 1;
        let outcome = match (failure, call.code) {
            (Some(failure), _) => failure,
            (None, Some(code)) => Outcome::Decided(code),
            (None, None) => Outcome::Failed("no decision in the answer"),
        };
        ended.push(Ended { stream, started_ns: call.started_ns, outcome });
    }

    fn place(&self, stream: u32) -> usize {
        (stream >> 1) as usize & (self.calls.len() - 1)
    }
}

fn number(bytes: &[u8]) -> u32 {
    bytes.first_chunk().copied().map_or(0, u32::from_be_bytes)
}

fn unexpected(what: &str) -> io::Error {
    io::Error::other(format!("the server sent {what}"))
}
