//! Which node serves which slot, as the cluster says it.

use redis::Value;

use super::super::settings::Address;
use super::slot::SLOTS;

/// A run of slots and the primary that serves it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Range {
    /// The first slot.
    pub(super) first: u16,
    /// The last slot; not before the first.
    pub(super) last: u16,
    /// Who serves them.
    pub(super) primary: Address,
}

/// Reads the answer to `CLUSTER SLOTS` of the node at `answering`; `None` if it is no such answer.
///
/// Per range: first slot, last slot, the primary, its replicas; per node: host, port, and what later
/// versions added. An empty host or none means the host that was asked (an IP address is unknown before
/// the nodes have met); `?` means that it is not known, and such a range is left out.
pub(super) fn ranges(answer: &Value, answering: &Address) -> Option<Vec<Range>> {
    let mut ranges = Vec::new();
    for range in array(answer)? {
        let [first, last, primary, ..] = array(range)? else { return None };
        let (first, last) = (slot(first)?, slot(last)?);
        let [host, port, ..] = array(primary)? else { return None };
        let Value::Int(port) = port else { return None };
        let host = match host {
            Value::Nil => "",
            Value::BulkString(bytes) => std::str::from_utf8(bytes).ok()?,
            Value::SimpleString(text) => text,
            _ => return None,
        };
        if host == "?" {
            continue;
        }
        let host = if host.is_empty() { &answering.host } else { host };
        let primary = Address { host: host.to_owned(), port: u16::try_from(*port).ok()? };
        if first <= last {
            ranges.push(Range { first, last, primary });
        }
    }
    Some(ranges)
}

fn array(value: &Value) -> Option<&[Value]> {
    match value {
        Value::Array(items) => Some(items),
        _ => None,
    }
}

fn slot(value: &Value) -> Option<u16> {
    match value {
        Value::Int(slot) => u16::try_from(*slot).ok().filter(|slot| usize::from(*slot) < SLOTS),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Value {
        Value::BulkString(text.as_bytes().to_vec())
    }

    fn range(first: i64, last: i64, host: Value) -> Value {
        let node = Value::Array(vec![host, Value::Int(7001), text("id"), Value::Array(Vec::new())]);
        let replica = Value::Array(vec![text("replica"), Value::Int(7002)]);
        Value::Array(vec![Value::Int(first), Value::Int(last), node, replica])
    }

    fn asked() -> Address {
        Address { host: "asked".to_owned(), port: 7000 }
    }

    #[test]
    fn primaries_are_read_and_replicas_are_not() {
        let answer = Value::Array(vec![range(0, 100, text("::1")), range(101, 16_383, text(""))]);
        let primary = |host: &str| Address { host: host.to_owned(), port: 7001 };
        let expected = [
            Range { first: 0, last: 100, primary: primary("::1") },
            Range { first: 101, last: 16_383, primary: primary("asked") },
        ];
        assert_eq!(ranges(&answer, &asked()).unwrap(), expected);
    }

    #[test]
    fn a_node_whose_host_is_unknown_serves_nothing() {
        let answer = Value::Array(vec![range(0, 100, text("?")), range(101, 200, Value::Nil)]);
        let found = ranges(&answer, &asked()).unwrap();
        assert_eq!(found.iter().map(|range| range.first).collect::<Vec<_>>(), [101]);
    }

    #[test]
    fn an_answer_of_another_shape_is_no_map() {
        for answer in [
            Value::Nil,
            Value::Array(vec![Value::Int(1)]),
            Value::Array(vec![range(0, 16_384, text("host"))]),
            Value::Array(vec![range(-1, 5, text("host"))]),
            Value::Array(vec![range(0, 5, Value::BulkString(vec![0xff]))]),
        ] {
            assert_eq!(ranges(&answer, &asked()), None, "{answer:?}");
        }
    }
}
