//! Percent-encoding in URLs and other settings (<https://www.rfc-editor.org/rfc/rfc3986#section-2.1>).

/// Why a text cannot be decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Undecodable {
    /// A `%` without two hexadecimal digits behind it.
    Digits,
    /// What it stands for is not UTF-8.
    NotUtf8,
}

/// Text whose `%XX` stand for bytes.
pub(crate) fn decode(text: &str) -> Result<String, Undecodable> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || rest.next().and_then(|digit| char::from(digit).to_digit(16));
        let byte = digit().zip(digit()).and_then(|(high, low)| u8::try_from(high * 16 + low).ok());
        bytes.push(byte.ok_or(Undecodable::Digits)?);
    }
    String::from_utf8(bytes).map_err(|_| Undecodable::NotUtf8)
}

/// Every byte of `data` in its encoded form.
#[cfg(any(test, fuzzing))]
pub(crate) fn encode_all(data: &[u8]) -> String {
    data.iter().fold(String::new(), |text, byte| text + &format!("%{byte:02x}"))
}
