//! The base64 of `!!binary`.

/// The bytes of a base64 text (standard alphabet, padded; line breaks are skipped), if it is one.
pub(super) fn decode(text: &str) -> Option<Vec<u8>> {
    let mut letters: Vec<u8> = text.bytes().filter(|byte| !matches!(byte, b'\r' | b'\n')).collect();
    if !letters.len().is_multiple_of(4) {
        return None;
    }
    for _ in 0..2 {
        if letters.last() == Some(&b'=') {
            letters.pop();
        }
    }
    let mut bytes = Vec::with_capacity(letters.len() / 4 * 3 + 2);
    for group in letters.chunks(4) {
        let bits = group.iter().try_fold(0_u32, |bits, letter| Some(bits << 6 | value(*letter)?))?;
        let missing = 4 - group.len();
        let [_, all @ ..] = (bits << (6 * missing)).to_be_bytes();
        // Two letters hold one byte, three hold two.
        bytes.extend_from_slice(&all[..3 - missing]);
    }
    Some(bytes)
}

fn value(letter: u8) -> Option<u32> {
    let value = match letter {
        b'A'..=b'Z' => letter - b'A',
        b'a'..=b'z' => letter - b'a' + 26,
        b'0'..=b'9' => letter - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    };
    Some(u32::from(value))
}

#[cfg(test)]
mod tests {
    use super::decode;

    #[test]
    fn base64_is_decoded_as_go_does() {
        assert_eq!(decode("aGk=").as_deref(), Some(&b"hi"[..]));
        assert_eq!(decode("aGk\nh").as_deref(), Some(&b"hi!"[..]));
        assert_eq!(decode("gIGC").as_deref(), Some(&[0x80, 0x81, 0x82][..]));
        assert_eq!(decode("").as_deref(), Some(&b""[..]));
        for bad in ["a", "aGk", "a===", "====", "a=k=", "aG k", "aGk=aGk="] {
            assert_eq!(decode(bad), None, "{bad}");
        }
    }
}
