//! Whether a Redis throws keys away when its memory is full: then limits start over, and nobody is told.

use std::collections::BTreeSet;

use parking_lot::Mutex;
use redis::Value;

use super::handshake::text;

/// The most servers that are remembered by name; the nodes of a cluster are far fewer.
const MAX_NAMES: usize = 1000;

/// Which servers may throw keys away, as they said when they were last connected to.
#[derive(Debug, Default)]
pub struct Eviction(Mutex<BTreeSet<String>>);

impl Eviction {
    /// How many servers may throw keys away.
    #[must_use]
    pub fn servers(&self) -> usize {
        self.0.lock().len()
    }

    /// Remembers what a server answered to `INFO memory`, and warns if that is new and bad. A user who may
    /// not ask learns nothing and is not told so.
    pub(super) fn note(&self, server: &str, answer: Option<&Value>) {
        let Some(memory) = answer.and_then(text) else { return };
        let Some(policy) = field(&memory, "maxmemory_policy") else { return };
        // Without a bound there is never anything to throw away.
        let evicts = policy != "noeviction" && field(&memory, "maxmemory") != Some("0");
        let mut servers = self.0.lock();
        if !evicts {
            servers.remove(server);
        } else if servers.len() < MAX_NAMES && servers.insert(server.to_owned()) {
            drop(servers);
            tracing::warn!(
                server,
                policy,
                "this Redis throws keys away when its memory is full, and limits start over: set maxmemory-policy to noeviction"
            );
        }
    }
}

/// The value of a line `name:value`.
fn field<'a>(lines: &'a str, name: &str) -> Option<&'a str> {
    lines.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_matters_only_where_memory_is_bounded() {
        let eviction = Eviction::default();
        let note = |server: &str, memory: &str| {
            let answer = Value::BulkString(memory.as_bytes().to_vec());
            eviction.note(server, Some(&answer));
            eviction.servers()
        };
        assert_eq!(note("a", "# Memory\r\nmaxmemory:0\r\nmaxmemory_policy:allkeys-lru\r\n"), 0);
        assert_eq!(note("a", "maxmemory:100\r\nmaxmemory_policy:volatile-ttl\r\n"), 1);
        assert_eq!(note("b", "maxmemory:100\r\nmaxmemory_policy:allkeys-lru\r\n"), 2);
        assert_eq!(note("b", "nothing of it"), 2);
        assert_eq!(note("a", "maxmemory:100\r\nmaxmemory_policy:noeviction\r\n"), 1);
    }
}
