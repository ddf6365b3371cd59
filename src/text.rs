//! The bytes of a domain, a key or a value.

use std::fmt;
use std::ops::Deref;

use bytes::Bytes;

/// Longest text that is kept in place, in bytes: what leaves a [`Text`] as large as a [`Bytes`].
const IN_PLACE: usize = 23;

/// A few bytes of a message: short ones are copied, which is cheaper than sharing; long ones share the message.
///
/// Most keys and values are short, and a request has several, each of which would count its owners in atomics.
#[derive(Clone)]
pub struct Text(Kept);

#[derive(Clone)]
enum Kept {
    InPlace { length: u8, bytes: [u8; IN_PLACE] },
    Shared(Bytes),
}

impl Text {
    /// `part`, which is a part of `message`.
    ///
    /// # Panics
    /// If it is not.
    #[must_use]
    pub fn part(message: &Bytes, part: &[u8]) -> Self {
        Self::in_place(part).unwrap_or_else(|| Self(Kept::Shared(message.slice_ref(part))))
    }

    /// The same as shared bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Bytes {
        match &self.0 {
            Kept::InPlace { .. } => Bytes::copy_from_slice(self),
            Kept::Shared(bytes) => bytes.clone(),
        }
    }

    fn in_place(text: &[u8]) -> Option<Self> {
        let length = u8::try_from(text.len()).ok()?;
        let mut bytes = [0; IN_PLACE];
        bytes.get_mut(..text.len())?.copy_from_slice(text);
        Some(Self(Kept::InPlace { length, bytes }))
    }
}

impl Deref for Text {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            Kept::InPlace { length, bytes } => &bytes[..usize::from(*length)],
            Kept::Shared(bytes) => bytes,
        }
    }
}

impl Default for Text {
    fn default() -> Self {
        Self(Kept::InPlace { length: 0, bytes: [0; IN_PLACE] })
    }
}

impl AsRef<[u8]> for Text {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl From<Bytes> for Text {
    fn from(text: Bytes) -> Self {
        Self::in_place(&text).unwrap_or(Self(Kept::Shared(text)))
    }
}

impl From<&[u8]> for Text {
    fn from(text: &[u8]) -> Self {
        Self::in_place(text).unwrap_or_else(|| Self(Kept::Shared(Bytes::copy_from_slice(text))))
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        text.as_bytes().into()
    }
}

impl From<Vec<u8>> for Text {
    fn from(text: Vec<u8>) -> Self {
        Bytes::from(text).into()
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        text.into_bytes().into()
    }
}

impl PartialEq for Text {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Text {}

impl PartialEq<[u8]> for Text {
    fn eq(&self, other: &[u8]) -> bool {
        **self == *other
    }
}

impl PartialEq<str> for Text {
    fn eq(&self, other: &str) -> bool {
        **self == *other.as_bytes()
    }
}

impl PartialEq<&str> for Text {
    fn eq(&self, other: &&str) -> bool {
        *self == **other
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "b\"{}\"", self.escape_ascii())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_what_was_put_into_it_however_long() {
        let message: Bytes = (0..=255).collect();
        for length in [0, 1, IN_PLACE - 1, IN_PLACE, IN_PLACE + 1, 256] {
            for text in [Text::part(&message, &message[..length]), message.slice(..length).into()] {
                assert_eq!(*text, message[..length]);
                assert_eq!(text, text.clone());
                assert_eq!(text.to_bytes(), message[..length]);
            }
        }
    }

    #[test]
    fn a_text_is_no_larger_than_shared_bytes() {
        assert_eq!(size_of::<Text>(), size_of::<Bytes>());
    }
}
