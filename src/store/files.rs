//! Files that the settings of a store name.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// The bytes of a file that is not larger than it should be.
pub(super) fn read_bounded(path: &Path, max_bytes: u64) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    File::open(path)?.take(max_bytes + 1).read_to_end(&mut text)?;
    if text.len() as u64 > max_bytes {
        return Err(io::Error::other(format!("larger than {max_bytes} bytes")));
    }
    Ok(text)
}
