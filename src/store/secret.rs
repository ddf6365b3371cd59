//! Passwords and tokens.

use std::fmt;
use std::io;
use std::path::PathBuf;

use tokio::io::AsyncReadExt;

/// Largest file with a password, in bytes; AUTH of Redis takes more, but then it is the wrong file.
const MAX_BYTES: u64 = 64 * 1024;

/// Where a password comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Password {
    /// It is this one.
    Text(Secret),
    /// It stands alone in a file, which is read anew for every connection. A line break at its end is none of it.
    File(PathBuf),
}

impl Password {
    /// Its bytes as they are now. `what` names it in messages, such as `password`.
    ///
    /// # Errors
    /// Why its file is of no use.
    pub async fn read(&self, what: &str) -> Result<Vec<u8>, String> {
        let path = match self {
            Self::Text(secret) => return Ok(secret.reveal().as_bytes().to_vec()),
            Self::File(path) => path,
        };
        let read = async {
            let mut text = Vec::new();
            let file = tokio::fs::File::open(path).await?;
            file.take(MAX_BYTES + 1).read_to_end(&mut text).await?;
            Ok::<_, io::Error>(text)
        };
        let told = |problem: &str| format!("the {what} file `{}` {problem}", path.display());
        let mut text = read.await.map_err(|error| told(&format!("cannot be read: {error}")))?;
        // Editors end a file with a line break.
        for end in *b"\n\r" {
            text.pop_if(|last| *last == end);
        }
        match text.len() as u64 {
            0 => Err(told("is empty")),
            1..=MAX_BYTES => Ok(text),
            _ => Err(told(&format!("is larger than {MAX_BYTES} bytes"))),
        }
    }
}

/// A text that is shown nowhere.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Keeps `text` from being shown.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text, for sending it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hidden)")
    }
}
