//! Every row of every table: what is asked, of whom, and what the aim is.

use fluxlimit_load::options::{Options, Order};
use fluxlimit_load::store::Store;

/// A table of docs/performance.md.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Group {
    Memory,
    Latency,
    Cost,
    Footprint,
    Redis,
    Postgres,
    Envoy,
    Scaling,
    Plot,
}

impl Group {
    pub(crate) const ALL: [Self; 9] = [
        Self::Memory,
        Self::Latency,
        Self::Cost,
        Self::Footprint,
        Self::Redis,
        Self::Postgres,
        Self::Envoy,
        Self::Scaling,
        Self::Plot,
    ];

    /// What it is called on the command line, and between the markers in the documentation.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Latency => "latency",
            Self::Cost => "cost",
            Self::Footprint => "footprint",
            Self::Redis => "redis",
            Self::Postgres => "postgres",
            Self::Envoy => "envoy",
            Self::Scaling => "scaling",
            Self::Plot => "plot",
        }
    }
}

/// One row.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) group: Group,
    pub(crate) title: &'static str,
    pub(crate) aim: Option<Aim>,
    pub(crate) plan: Plan,
}

impl Row {
    /// Whether a word of the command line means it.
    pub(crate) fn is_called(&self, name: &str) -> bool {
        self.name == name || self.group.name() == name
    }
}

/// What a figure should be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Aim {
    AtLeast(f64),
    AtMost(f64),
}

/// How a row is measured.
#[derive(Debug)]
pub(crate) enum Plan {
    /// Rates of the yardstick, of ours, and of other servers, all of them saturated.
    Rate { store: Store, load: Load },
    /// Latencies of one call at a time.
    Idle { store: Store },
    /// Latencies at half of our saturation.
    HalfLoad,
    /// One rule in the domain beside very many.
    Rules { count: usize },
    /// One thread of the server beside two.
    Threads,
    /// Four connections beside one with as many calls in flight, over Redis with two threads.
    OneConnection,
    /// Resident memory without traffic.
    IdleMemory,
    /// Resident memory for each live key.
    KeyMemory { keys: usize },
    /// Resident memory for each live key of a sliding window with several slots.
    SlotMemory { keys: usize, slots: usize },
    /// Real Envoy in front.
    Envoy,
    /// One, two and four servers over one store.
    Scaling { store: Store },
    /// Latency over the offered load.
    Curve,
}

/// What is asked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    pub(crate) keys: usize,
    pub(crate) random: bool,
    pub(crate) connections: usize,
    pub(crate) in_flight: usize,
    pub(crate) tenant: &'static str,
    pub(crate) descriptors: usize,
}

impl Load {
    /// Users in turn, on four connections with 32 calls each.
    pub(crate) const fn users(keys: usize) -> Self {
        Self { keys, random: false, connections: 4, in_flight: 32, tenant: "acme", descriptors: 1 }
    }

    /// Users at random, whose counters stay.
    const fn at_random(keys: usize) -> Self {
        Self { random: true, tenant: "lasting", ..Self::users(keys) }
    }

    const fn of(tenant: &'static str, keys: usize) -> Self {
        Self { tenant, ..Self::users(keys) }
    }

    /// Whether refusals are what is measured.
    pub(crate) fn is_refused(&self) -> bool {
        self.tenant == "busy"
    }

    /// The same as the generator's options.
    pub(crate) fn options(&self) -> Options {
        Options {
            keys: self.keys,
            order: if self.random { Order::Random } else { Order::Sequential },
            connections: self.connections,
            in_flight: self.in_flight,
            tenant: self.tenant.to_owned(),
            descriptors: self.descriptors,
            ..Options::default()
        }
    }
}

const fn rate(store: Store, load: Load) -> Plan {
    Plan::Rate { store, load }
}

const fn row(name: &'static str, group: Group, title: &'static str, aim: Option<Aim>, plan: Plan) -> Row {
    Row { name, group, title, aim, plan }
}

const TEN_THOUSAND: Load = Load::users(10_000);
const ONE_CONNECTION: Load = Load { connections: 1, ..TEN_THOUSAND };
const TWO_DESCRIPTORS: Load = Load { descriptors: 2, ..TEN_THOUSAND };

/// All rows, in the order of the tables.
#[rustfmt::skip]
pub(crate) const ROWS: &[Row] = &[
    row("memory-1", Group::Memory, "one key", Some(Aim::AtLeast(0.9)), rate(Store::Memory, Load::users(1))),
    row("memory-10k", Group::Memory, "10,000 keys", Some(Aim::AtLeast(0.9)), rate(Store::Memory, TEN_THOUSAND)),
    row("memory-10k-one-connection", Group::Memory, "10,000 keys, one connection", None,
        rate(Store::Memory, ONE_CONNECTION)),
    row("memory-1m", Group::Memory, "1,000,000 keys at random", Some(Aim::AtLeast(0.75)),
        rate(Store::Memory, Load::at_random(1_000_000))),
    row("memory-10m", Group::Memory, "10,000,000 keys at random", Some(Aim::AtLeast(0.65)),
        rate(Store::Memory, Load::at_random(10_000_000))),
    row("memory-two-limits", Group::Memory, "two enforced limits per descriptor", Some(Aim::AtLeast(0.8)),
        rate(Store::Memory, Load::of("double", 10_000))),
    row("memory-two-descriptors", Group::Memory, "two descriptors", Some(Aim::AtLeast(0.8)),
        rate(Store::Memory, TWO_DESCRIPTORS)),

    row("latency-one", Group::Latency, "memory, one call at a time", Some(Aim::AtMost(1.1)),
        Plan::Idle { store: Store::Memory }),
    row("latency-half", Group::Latency, "memory, half of saturation", Some(Aim::AtMost(1.5)), Plan::HalfLoad),
    row("latency-redis", Group::Latency, "Redis, one call at a time", None, Plan::Idle { store: Store::Redis }),
    row("latency-postgres", Group::Latency, "Postgres, one call at a time", None,
        Plan::Idle { store: Store::Postgres }),

    row("rules", Group::Cost, "100,000 rules in the domain instead of one: rate", Some(Aim::AtLeast(0.95)),
        Plan::Rules { count: 100_000 }),
    row("threads", Group::Cost, "two threads instead of one: core time of a decision", Some(Aim::AtMost(1.1)), Plan::Threads),
    row("one-connection", Group::Cost, "Redis, two threads, 1 connection × 128 instead of 4 × 32: rate", None,
        Plan::OneConnection),

    row("footprint-idle", Group::Footprint, "idle, with the sample rules, MB", Some(Aim::AtMost(20.0)), Plan::IdleMemory),
    row("footprint-keys", Group::Footprint, "each live key beyond its text, bytes", Some(Aim::AtMost(150.0)),
        Plan::KeyMemory { keys: 10_000_000 }),
    row("footprint-slots", Group::Footprint, "each live key of a sliding window beyond its text and 16 a slot, bytes",
        Some(Aim::AtMost(150.0)), Plan::SlotMemory { keys: 500_000, slots: 8 }),

    row("redis-1", Group::Redis, "one key", Some(Aim::AtLeast(0.45)), rate(Store::Redis, Load::users(1))),
    row("redis-10k", Group::Redis, "10,000 keys", Some(Aim::AtLeast(0.45)), rate(Store::Redis, TEN_THOUSAND)),
    row("redis-two-descriptors", Group::Redis, "two descriptors", None, rate(Store::Redis, TWO_DESCRIPTORS)),
    row("redis-over-limit", Group::Redis, "over limit, one key", Some(Aim::AtLeast(0.85)),
        rate(Store::Redis, Load::of("busy", 1))),

    row("postgres-1", Group::Postgres, "one key", Some(Aim::AtLeast(0.4)), rate(Store::Postgres, Load::users(1))),
    row("postgres-10k", Group::Postgres, "10,000 keys", Some(Aim::AtLeast(0.2)), rate(Store::Postgres, TEN_THOUSAND)),

    row("envoy", Group::Envoy, "Envoy in front", None, Plan::Envoy),

    row("scaling-redis", Group::Scaling, "one Redis", None, Plan::Scaling { store: Store::Redis }),
    row("scaling-redis-cluster", Group::Scaling, "Redis Cluster of 3", None,
        Plan::Scaling { store: Store::RedisCluster }),
    row("scaling-postgres", Group::Scaling, "one Postgres", None, Plan::Scaling { store: Store::Postgres }),

    row("plot", Group::Plot, "latency over load", None, Plan::Curve),
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_row_has_a_name_of_its_own() {
        let names: HashSet<_> = ROWS.iter().map(|row| row.name).collect();
        assert_eq!(names.len(), ROWS.len());
        assert!(ROWS.is_sorted_by_key(|row| row.group));
        assert!(Group::ALL.iter().all(|group| ROWS.iter().any(|row| row.group == *group)));
    }
}
