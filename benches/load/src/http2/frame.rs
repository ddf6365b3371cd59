//! Frames: nine bytes of header, then the payload.

pub(crate) const HEADER_LENGTH: usize = 9;

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

pub(crate) const END_STREAM: u8 = 0x1;
/// The same bit, on frames that belong to no stream.
pub(crate) const ACK: u8 = 0x1;
pub(crate) const END_HEADERS: u8 = 0x4;
pub(crate) const PADDED: u8 = 0x8;
pub(crate) const PRIORITY: u8 = 0x20;

/// A frame as it arrived.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Frame<'a> {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: &'a [u8],
}

impl<'a> Frame<'a> {
    /// The first frame in `bytes`, if all of it is there.
    pub(crate) fn first_in(bytes: &'a [u8]) -> Option<Self> {
        let (header, rest) = bytes.split_first_chunk::<HEADER_LENGTH>()?;
        let [a, b, c, kind, flags, stream @ ..] = *header;
        let length = u32::from_be_bytes([0, a, b, c]) as usize;
        let stream = u32::from_be_bytes(stream) & 0x7fff_ffff;
        Some(Self { kind, flags, stream, payload: rest.get(..length)? })
    }

    /// Whether this flag is set.
    pub(crate) fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

/// Appends a frame.
pub(crate) fn put(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    let [_, a, b, c] = u32::try_from(payload.len()).expect("frames are small").to_be_bytes();
    out.extend_from_slice(&[a, b, c, kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(payload);
}

#[test]
fn a_frame_is_read_as_it_was_written() {
    let mut bytes = Vec::new();
    put(&mut bytes, DATA, END_STREAM, 7, b"abc");
    let frame = Frame::first_in(&bytes).expect("it is whole");
    assert_eq!((frame.kind, frame.stream, frame.payload), (DATA, 7, b"abc".as_slice()));
    assert!(frame.has(END_STREAM) && !frame.has(PADDED));
    assert!(Frame::first_in(&bytes[..bytes.len() - 1]).is_none());
}
