//! Header compression (RFC 7541): the request's block, and `grpc-status` of the answer.

use std::collections::VecDeque;

/// Where the dynamic table begins.
const FIRST_DYNAMIC: usize = 62;
/// More than a server can have in its 4 KiB table; kept longer than the server does, which is harmless:
/// indices count from the newest entry.
const TABLE_ENTRIES: usize = 512;

const GRPC_STATUS: &[u8] = b"grpc-status";
const GRPC_STATUS_HUFFMAN: &[u8] = &[0x9a, 0xca, 0xc8, 0xb2, 0x12, 0x34, 0xda, 0x8f];
const ZERO_HUFFMAN: &[u8] = &[0x07];
/// `UNKNOWN` of gRPC.
const UNKNOWN: u8 = 2;

/// A block that breaks the rules, or refers to what was never sent.
#[derive(Debug, PartialEq)]
pub(crate) struct Malformed;

/// The header block of every request of a connection.
#[derive(Debug)]
pub(crate) struct RequestBlocks {
    /// Fills the server's table; for the first request.
    pub(crate) first: Vec<u8>,
    /// Refers to it; for all others.
    pub(crate) further: Vec<u8>,
}

impl RequestBlocks {
    /// For calls of the rate-limit service, with what Envoy adds if wanted.
    pub(crate) fn new(authority: &str, envoy_headers: bool) -> Self {
        // Names in the static table are given by their index, others are spelled out.
        let mut fields = vec![
            (4, "", "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit"),
            (1, "", authority),
            (0, "te", "trailers"),
            (31, "", "application/grpc"),
        ];
        if envoy_headers {
            let added =
                [("grpc-timeout", "20m"), ("x-envoy-internal", "true"), ("x-forwarded-for", "10.0.0.1")];
            fields.extend(added.map(|(name, value)| (0, name, value)));
        }
        // `:method: POST` and `:scheme: http` stand in the static table.
        let mut first = vec![0x83, 0x86];
        let mut further = first.clone();
        for (index, &(name_index, name, value)) in fields.iter().enumerate() {
            put_integer(&mut first, 0x40, 6, name_index);
            if name_index == 0 {
                put_text(&mut first, name);
            }
            put_text(&mut first, value);
            put_integer(&mut further, 0x80, 7, FIRST_DYNAMIC + fields.len() - 1 - index);
        }
        Self { first, further }
    }
}

/// What an answer's header block says about the call.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Status {
    /// Nothing.
    Absent,
    /// `grpc-status: 0`
    Success,
    /// Any other `grpc-status`; one that is no number counts as UNKNOWN.
    Failure(u8),
}

/// Follows the server's table closely enough to find `grpc-status`.
#[derive(Debug, Default)]
pub(crate) struct StatusReader {
    table: VecDeque<Status>,
}

impl StatusReader {
    /// Reads one block; all blocks of a connection have to pass here, in order.
    pub(crate) fn read(&mut self, block: &[u8]) -> Result<Status, Malformed> {
        let mut rest = block;
        let mut found = Status::Absent;
        while let Some(&first) = rest.first() {
            let field = if first & 0x80 != 0 {
                self.indexed(integer(&mut rest, 7)?)?
            } else if first & 0xe0 == 0x20 {
                integer(&mut rest, 5)?;
                Status::Absent
            } else {
                let is_kept = first & 0x40 != 0;
                let field = self.literal(&mut rest, if is_kept { 6 } else { 4 })?;
                if is_kept {
                    self.table.push_front(field);
                    self.table.truncate(TABLE_ENTRIES);
                }
                field
            };
            if field != Status::Absent {
                found = field;
            }
        }
        Ok(found)
    }

    fn indexed(&self, index: usize) -> Result<Status, Malformed> {
        match index.checked_sub(FIRST_DYNAMIC) {
            None => Ok(Status::Absent),
            Some(place) => self.table.get(place).copied().ok_or(Malformed),
        }
    }

    fn literal(&self, rest: &mut &[u8], bits: u32) -> Result<Status, Malformed> {
        let is_status = match integer(rest, bits)? {
            0 => Text::take(rest)?.is(GRPC_STATUS, GRPC_STATUS_HUFFMAN),
            index => self.indexed(index)? != Status::Absent,
        };
        let value = Text::take(rest)?;
        Ok(match is_status {
            false => Status::Absent,
            true if value.is(b"0", ZERO_HUFFMAN) => Status::Success,
            true => Status::Failure(value.number().unwrap_or(UNKNOWN)),
        })
    }
}

fn put_integer(out: &mut Vec<u8>, flags: u8, bits: u32, value: usize) {
    let most = (1 << bits) - 1;
    if value < most {
        out.push(flags | value as u8);
        return;
    }
    out.push(flags | most as u8);
    let mut left = value - most;
    while left >= 0x80 {
        out.push((left & 0x7f) as u8 | 0x80);
        left >>= 7;
    }
    out.push(left as u8);
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    put_integer(out, 0, 7, text.len());
    out.extend_from_slice(text.as_bytes());
}

fn integer(rest: &mut &[u8], bits: u32) -> Result<usize, Malformed> {
    let most = (1 << bits) - 1;
    let mut value = usize::from(*rest.split_off_first().ok_or(Malformed)?) & most;
    if value < most {
        return Ok(value);
    }
    for shift in [0, 7, 14, 21] {
        let byte = *rest.split_off_first().ok_or(Malformed)?;
        value += usize::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(value);
        }
    }
    Err(Malformed)
}

/// A string as it was sent.
struct Text<'a> {
    bytes: &'a [u8],
    is_huffman: bool,
}

impl<'a> Text<'a> {
    fn take(rest: &mut &'a [u8]) -> Result<Self, Malformed> {
        let is_huffman = rest.first().ok_or(Malformed)? & 0x80 != 0;
        let length = integer(rest, 7)?;
        Ok(Self { bytes: rest.split_off(..length).ok_or(Malformed)?, is_huffman })
    }

    /// Whether it is this one, given plain and in the Huffman code.
    fn is(&self, plain: &[u8], huffman: &[u8]) -> bool {
        self.bytes == if self.is_huffman { huffman } else { plain }
    }

    /// The number that its digits say, if it is one of a byte.
    fn number(&self) -> Option<u8> {
        if !self.is_huffman {
            return std::str::from_utf8(self.bytes).ok()?.parse().ok();
        }
        let bits = self.bytes.len() * 8;
        let bit = |at: usize| self.bytes[at / 8] >> (7 - at % 8) & 1;
        let take = |at: usize, count: usize| {
            (at + count <= bits).then(|| (at..at + count).fold(0, |code, at| code << 1 | bit(at)))
        };
        // 0 to 2 have five bits, the other digits six; what fills the last byte is all ones.
        let (mut number, mut at) = (None, 0);
        while let Some(code) = take(at, 5) {
            let digit = match (code, take(at, 6)) {
                (0..=2, _) => code,
                (_, Some(code @ 0x19..=0x1f)) => code - 0x16,
                _ => break,
            };
            at += if digit < 3 { 5 } else { 6 };
            number = Some(number.unwrap_or(0_u8).checked_mul(10)?.checked_add(digit)?);
        }
        number
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_found_however_it_is_written() {
        let mut reader = StatusReader::default();
        let mut spelled_out = vec![0x40];
        put_text(&mut spelled_out, "grpc-status");
        put_text(&mut spelled_out, "0");
        assert_eq!(reader.read(&spelled_out), Ok(Status::Success));
        assert_eq!(reader.read(&[0xbe]), Ok(Status::Success), "by its index");
        assert_eq!(reader.read(&[0x88]), Ok(Status::Absent), "`:status: 200` alone");
        let mut named_by_index = Vec::new();
        put_integer(&mut named_by_index, 0, 4, FIRST_DYNAMIC);
        put_text(&mut named_by_index, "14");
        assert_eq!(reader.read(&named_by_index), Ok(Status::Failure(14)));
        assert_eq!(reader.read(&[0xbf]), Err(Malformed), "an entry that was never sent");
        let huffman = [&[0x00, 0x88], GRPC_STATUS_HUFFMAN, &[0x81], ZERO_HUFFMAN].concat();
        assert_eq!(reader.read(&huffman), Ok(Status::Success));
    }

    #[test]
    fn the_number_of_a_status_is_read_in_both_codes() {
        let number = |bytes: &[u8], is_huffman| Text { bytes, is_huffman }.number();
        // `14` is 00001 011010, `3` is 011001, `16` is 00001 011100, `2` is 00010.
        let coded: [(&[u8], u8); 4] = [(&[0x0b, 0x5f], 14), (&[0x67], 3), (&[0x0b, 0x9f], 16), (&[0x17], 2)];
        for (bytes, expected) in coded {
            assert_eq!(number(bytes, true), Some(expected));
            assert_eq!(number(expected.to_string().as_bytes(), false), Some(expected));
        }
        assert_eq!((number(b"x", false), number(&[], true), number(&[0xff], true)), (None, None, None));
    }

    #[test]
    fn integers_survive_every_prefix() {
        for value in [0, 5, 30, 31, 62, 63, 127, 128, 300, 70_000] {
            for bits in 4..=7 {
                let mut bytes = Vec::new();
                put_integer(&mut bytes, 0, bits, value);
                let mut rest = bytes.as_slice();
                assert_eq!(integer(&mut rest, bits), Ok(value));
                assert!(rest.is_empty());
            }
        }
    }

    #[test]
    fn further_requests_refer_to_what_the_first_one_sent() {
        let blocks = RequestBlocks::new("localhost", true);
        // Seven entries: the newest is 62, the oldest 68.
        assert_eq!(blocks.further, [0x83, 0x86, 0xc4, 0xc3, 0xc2, 0xc1, 0xc0, 0xbf, 0xbe]);
    }
}
