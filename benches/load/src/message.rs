//! The two protobuf messages of the protocol, by hand: requests are encoded once, answers only glanced at.

/// Bytes before each message in gRPC: a flag and the length.
pub const PREFIX: usize = 5;

/// The digits of a user's number: ten million users, and as many again.
const DIGITS: usize = 8;

/// A `RateLimitRequest` whose user can be replaced.
#[derive(Debug, Clone)]
pub struct Template {
    bytes: Box<[u8]>,
    /// Where the digits of the user start.
    users: Vec<usize>,
}

impl Template {
    /// The request, with its gRPC prefix.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Makes it the request of another user; only the last eight digits of the number count.
    pub fn set_user(&mut self, mut number: usize) {
        let mut digits = [b'0'; DIGITS];
        for digit in digits.iter_mut().rev() {
            *digit += (number % 10) as u8;
            number /= 10;
        }
        for start in &self.users {
            self.bytes[*start..*start + DIGITS].copy_from_slice(&digits);
        }
    }
}

/// `RateLimitRequest` in domain `bench`.
///
/// Each descriptor is `tenant=<tenant>, user=u<number>`; the tenant of the further ones has a number behind it.
/// More entries than two are `entry-3=v`, `entry-4=v` and so on.
#[must_use]
pub fn template(tenant: &str, descriptors: usize, entries: usize) -> Template {
    let user = format!("u{}", "0".repeat(DIGITS));
    let mut message = Vec::new();
    put_bytes(&mut message, 1, b"bench");
    for number in 0..descriptors {
        let tenant = if number == 0 { tenant.to_owned() } else { format!("{tenant}-{number}") };
        let mut pairs = vec![("tenant".to_owned(), tenant), ("user".to_owned(), user.clone())];
        pairs.extend((3..=entries).map(|entry| (format!("entry-{entry}"), "v".to_owned())));
        let mut descriptor = Vec::new();
        for (key, value) in pairs.iter().take(entries.max(1)) {
            let mut entry = Vec::new();
            put_bytes(&mut entry, 1, key.as_bytes());
            put_bytes(&mut entry, 2, value.as_bytes());
            put_bytes(&mut descriptor, 1, &entry);
        }
        put_bytes(&mut message, 2, &descriptor);
    }
    let bytes = framed(&message).into_boxed_slice();
    // Field 2 of the entry, nine bytes of value: no tenant is named like that.
    let mark = [&[0x12, 1 + DIGITS as u8], user.as_bytes()].concat();
    let users = bytes.windows(mark.len()).enumerate().filter(|(_, window)| **window == *mark);
    let users = users.map(|(start, _)| start + mark.len() - DIGITS).collect();
    Template { bytes, users }
}

/// What a server decided.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Code {
    /// `OK`
    Allowed,
    /// `OVER_LIMIT`
    Refused,
}

/// The `overall_code` of a `RateLimitResponse` with its gRPC prefix, given its first bytes.
/// Every encoder writes field 1 first.
#[must_use]
pub fn overall_code(response: &[u8]) -> Option<Code> {
    match response.get(PREFIX..)? {
        [0x08, 1, ..] => Some(Code::Allowed),
        [0x08, 2, ..] => Some(Code::Refused),
        _ => None,
    }
}

/// A message as gRPC sends it, not compressed.
#[must_use]
pub fn framed(message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).expect("a request is small");
    [&[0], length.to_be_bytes().as_slice(), message].concat()
}

/// Appends a field of bytes, of a text or of a message.
pub fn put_bytes(out: &mut Vec<u8>, field: u8, bytes: &[u8]) {
    out.push(field << 3 | 2);
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Appends a field of a number.
pub fn put_number(out: &mut Vec<u8>, field: u8, number: u64) {
    out.push(field << 3);
    put_varint(out, number);
}

fn put_varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_has_the_bytes_of_the_protocol() {
        let expected = b"\0\0\0\0\x2c\x0a\x05bench\x12\x23\x0a\x0e\x0a\x06tenant\x12\x04acme\
            \x0a\x11\x0a\x04user\x12\x09u00000042";
        let mut request = template("acme", 1, 2);
        request.set_user(42);
        assert_eq!(*request.bytes(), *expected);
    }

    #[test]
    fn the_user_of_every_descriptor_is_replaced() {
        let mut request = template("acme", 3, 4);
        request.set_user(12_345_678);
        let text = String::from_utf8_lossy(request.bytes()).into_owned();
        assert_eq!(text.matches("u12345678").count(), 3);
        assert_eq!(text.matches("entry-4").count(), 3);
        assert!(text.contains("acme-1") && text.contains("acme-2"));
    }

    #[test]
    fn a_code_is_read_only_where_there_is_one() {
        assert_eq!(overall_code(&[0, 0, 0, 0, 2, 8, 1]), Some(Code::Allowed));
        assert_eq!(overall_code(&[0, 0, 0, 0, 4, 8, 2, 0x12, 0]), Some(Code::Refused));
        assert_eq!(overall_code(&[0, 0, 0, 0, 0]), None);
        assert_eq!(overall_code(b""), None);
    }
}
