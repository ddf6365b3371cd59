//! The two protobuf messages of the protocol, by hand: requests are encoded once, answers only glanced at.

/// Bytes before each message in gRPC: a flag and the length.
pub const PREFIX: usize = 5;

/// `RateLimitRequest` in domain `bench`, with its gRPC prefix.
///
/// Each descriptor is `tenant=<tenant>, user=<user>`; the tenant of the further ones has a number behind it.
#[must_use]
pub fn request(tenant: &str, user: &str, descriptors: usize) -> Box<[u8]> {
    let mut message = Vec::new();
    put_bytes(&mut message, 1, b"bench");
    for number in 0..descriptors {
        let tenant = if number == 0 { tenant.to_owned() } else { format!("{tenant}-{number}") };
        let mut descriptor = Vec::new();
        for (key, value) in [("tenant", tenant.as_str()), ("user", user)] {
            let mut entry = Vec::new();
            put_bytes(&mut entry, 1, key.as_bytes());
            put_bytes(&mut entry, 2, value.as_bytes());
            put_bytes(&mut descriptor, 1, &entry);
        }
        put_bytes(&mut message, 2, &descriptor);
    }
    let length = u32::try_from(message.len()).expect("a request is small");
    [&[0], length.to_be_bytes().as_slice(), &message].concat().into_boxed_slice()
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

fn put_bytes(out: &mut Vec<u8>, field: u8, bytes: &[u8]) {
    out.push(field << 3 | 2);
    let mut length = bytes.len();
    while length >= 0x80 {
        out.push((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
    out.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_has_the_bytes_of_the_protocol() {
        let expected =
            b"\0\0\0\0\x23\x0a\x05bench\x12\x1a\x0a\x0e\x0a\x06tenant\x12\x04acme\x0a\x08\x0a\x04user\x12\0";
        assert_eq!(*request("acme", "", 1), *expected);
    }

    #[test]
    fn a_code_is_read_only_where_there_is_one() {
        assert_eq!(overall_code(&[0, 0, 0, 0, 2, 8, 1]), Some(Code::Allowed));
        assert_eq!(overall_code(&[0, 0, 0, 0, 4, 8, 2, 0x12, 0]), Some(Code::Refused));
        assert_eq!(overall_code(&[0, 0, 0, 0, 0]), None);
        assert_eq!(overall_code(b""), None);
    }
}
