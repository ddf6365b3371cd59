//! The fields of a protobuf message, one after the other.

use super::{BYTES, FIXED32, FIXED64, GROUP, GROUP_END, VARINT};

/// Groups within groups that are skipped at most, as in prost and in Envoy's protobuf.
const MAX_DEPTH: usize = 100;

/// Why bytes are not a protobuf message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MalformedMessage {
    /// The bytes end inside a field.
    #[error("it ends inside a field")]
    Short,
    /// An integer has more than the ten bytes that 64 bits need.
    #[error("an integer of more than 64 bits")]
    LongVarint,
    /// A field's number is not between 1 and 2^29 - 1.
    #[error("a field of the number {number}; expected 1 to 536870911")]
    BadNumber {
        /// The number.
        number: u64,
    },
    /// There is no such wire type, or a group ends that did not begin.
    #[error("a field of the wire type {wire_type}; expected 0, 1, 2, 3 or 5")]
    BadWireType {
        /// The wire type.
        wire_type: u64,
    },
    /// A known field has another type than it should.
    #[error("field {number} has another type than in Envoy's API")]
    Mistyped {
        /// The field's number in its message.
        number: u64,
    },
    /// Groups are nested deeper than anybody reads.
    #[error("groups nested deeper than {MAX_DEPTH}")]
    TooDeep,
}

/// What is left of a message.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fields<'m>(&'m [u8]);

/// The content of a field.
#[derive(Debug, Clone, Copy)]
pub(super) enum Content<'m> {
    Integer(u64),
    Bytes(&'m [u8]),
    /// Of a type that no field of ours has; its content was skipped.
    Other,
}

impl<'m> Fields<'m> {
    pub(super) const fn of(message: &'m [u8]) -> Self {
        Self(message)
    }

    /// The number and the content of the next field; `None` at the end of the message.
    #[inline]
    pub(super) fn next(&mut self) -> Result<Option<(u64, Content<'m>)>, MalformedMessage> {
        match self.0 {
            [] => Ok(None),
            // Almost all that Envoy sends: bytes, with one byte for the key and one for their length.
            [key @ 8..0x80, length @ 0..0x80, rest @ ..]
                if u64::from(key & 7) == BYTES && rest.len() >= usize::from(*length) =>
            {
                let (bytes, rest) = rest.split_at(usize::from(*length));
                self.0 = rest;
                Ok(Some((u64::from(key >> 3), Content::Bytes(bytes))))
            }
            _ => self.next_of_any_kind(),
        }
    }

    #[inline(never)]
    fn next_of_any_kind(&mut self) -> Result<Option<(u64, Content<'m>)>, MalformedMessage> {
        let (number, wire_type) = self.key()?;
        let content = match wire_type {
            VARINT => Content::Integer(self.varint()?),
            BYTES => Content::Bytes(self.bytes()?),
            _ => {
                self.skip(number, wire_type)?;
                Content::Other
            }
        };
        Ok(Some((number, content)))
    }

    fn key(&mut self) -> Result<(u64, u64), MalformedMessage> {
        let key = self.varint()?;
        let number = key >> 3;
        if !(1..1 << 29).contains(&number) {
            return Err(MalformedMessage::BadNumber { number });
        }
        Ok((number, key & 7))
    }

    fn varint(&mut self) -> Result<u64, MalformedMessage> {
        let mut value = 0;
        for (index, byte) in self.0.iter().enumerate() {
            if index == 9 && *byte > 1 {
                return Err(MalformedMessage::LongVarint);
            }
            value |= u64::from(byte & 0x7f) << (7 * index);
            if *byte < 0x80 {
                self.0 = &self.0[index + 1..];
                return Ok(value);
            }
        }
        Err(MalformedMessage::Short)
    }

    fn bytes(&mut self) -> Result<&'m [u8], MalformedMessage> {
        let length = self.varint()?;
        self.take(usize::try_from(length).unwrap_or(usize::MAX))
    }

    fn take(&mut self, length: usize) -> Result<&'m [u8], MalformedMessage> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(MalformedMessage::Short)?;
        self.0 = rest;
        Ok(taken)
    }

    /// Goes past a field whose key was read. A group is fields up to its end; they are gone past without
    /// recursion.
    fn skip(&mut self, number: u64, wire_type: u64) -> Result<(), MalformedMessage> {
        let mut open: Vec<u64> = Vec::new();
        let (mut number, mut wire_type) = (number, wire_type);
        loop {
            match wire_type {
                VARINT => drop(self.varint()?),
                FIXED64 => drop(self.take(8)?),
                BYTES => drop(self.bytes()?),
                FIXED32 => drop(self.take(4)?),
                GROUP if open.len() >= MAX_DEPTH => return Err(MalformedMessage::TooDeep),
                GROUP => open.push(number),
                GROUP_END if open.last() == Some(&number) => drop(open.pop()),
                _ => return Err(MalformedMessage::BadWireType { wire_type }),
            }
            if open.is_empty() {
                return Ok(());
            }
            (number, wire_type) = self.key()?;
        }
    }
}

impl<'m> Content<'m> {
    /// The content of field `number`, which is an integer.
    pub(super) const fn integer(self, number: u64) -> Result<u64, MalformedMessage> {
        match self {
            Self::Integer(integer) => Ok(integer),
            _ => Err(MalformedMessage::Mistyped { number }),
        }
    }

    /// The content of field `number`, which is bytes, a text or a message.
    pub(super) const fn bytes(self, number: u64) -> Result<&'m [u8], MalformedMessage> {
        match self {
            Self::Bytes(bytes) => Ok(bytes),
            _ => Err(MalformedMessage::Mistyped { number }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(mut message: &[u8]) -> MalformedMessage {
        let mut fields = Fields::of(std::mem::take(&mut message));
        loop {
            match fields.next() {
                Ok(Some(_)) => {}
                Ok(None) => panic!("expected an error"),
                Err(error) => return error,
            }
        }
    }

    #[test]
    fn what_is_not_protobuf_is_named() {
        use MalformedMessage::{BadNumber, BadWireType, LongVarint, Short, TooDeep};
        assert_eq!(error(&[0x08]), Short);
        assert_eq!(error(&[0x08, 0x80]), Short);
        assert_eq!(error(&[0x0a, 2, b'a']), Short);
        assert_eq!(error(&[0x09, 1, 2, 3]), Short);
        assert_eq!(error(&[0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]), Short);
        assert_eq!(error(&[0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2]), LongVarint);
        assert_eq!(error(&[0x00]), BadNumber { number: 0 });
        assert_eq!(error(&[0x0e]), BadWireType { wire_type: 6 });
        assert_eq!(error(&[0x0c]), BadWireType { wire_type: 4 });
        // The group of field 1 ends as one of field 2.
        assert_eq!(error(&[0x0b, 0x14]), BadWireType { wire_type: 4 });
        assert_eq!(error(&[0x0b; 200]), TooDeep);
        assert_eq!(error(&[0x0b; 20]), Short);
    }

    #[test]
    fn a_group_is_skipped_with_all_that_is_in_it() {
        let group = [0x0b, 0x10, 7, 0x1b, 0x1c, 0x22, 1, b'x', 0x0c];
        let mut fields = Fields::of(&group);
        assert!(matches!(fields.next(), Ok(Some((1, Content::Other)))));
        assert!(matches!(fields.next(), Ok(None)));
    }

    #[test]
    fn an_integer_has_up_to_ten_bytes() {
        let most = [0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1];
        assert!(matches!(Fields::of(&most).next(), Ok(Some((1, Content::Integer(u64::MAX))))));
    }
}
