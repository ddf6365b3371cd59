//! The script, and calls of it.

use redis::Cmd;

use super::work::Work;
use crate::time::Timestamp;

/// The arithmetic and what is done with it, in one text.
pub(super) const TEXT: &str = concat!(include_str!("algorithm.lua"), "\n", include_str!("settle.lua"));

/// A script as a server knows it.
#[derive(Debug)]
pub(super) struct Script {
    text: String,
    /// The SHA-1 of the text in hexadecimal, by which `EVALSHA` names it.
    hash: String,
}

impl Script {
    /// The script of that text.
    pub(super) fn new(text: &str) -> Self {
        Self { text: text.to_owned(), hash: redis::Script::new(text).get_hash().to_owned() }
    }

    /// The call that does `works` in order, as of `now`; `None` is the server's time. `by_text` sends the whole
    /// script, which the server knows from then on.
    pub(super) fn call<'a>(
        &self,
        works: impl Iterator<Item = &'a Work> + Clone,
        now: Option<Timestamp>,
        by_text: bool,
    ) -> Cmd {
        let (keys, count, bytes) = works.clone().fold((0, 0, 0), |(keys, count, bytes), work| {
            (keys + work.keys_len(), count + 1, bytes + work.len())
        });
        let script = if by_text { &self.text } else { &self.hash };
        let mut cmd = Cmd::with_capacity(keys + count + 4, bytes + script.len() + 64);
        cmd.arg(if by_text { "EVAL" } else { "EVALSHA" }).arg(script).arg(keys);
        for key in works.clone().flat_map(Work::keys) {
            cmd.arg(key);
        }
        match now {
            Some(now) => cmd.arg(now.ms()),
            None => cmd.arg(""),
        };
        for work in works {
            cmd.arg(work.argument());
        }
        cmd
    }
}
