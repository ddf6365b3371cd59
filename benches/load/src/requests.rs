//! The request of every user, encoded beforehand, and whose turn it is.

use crate::message::{self, Template};
use crate::options::{Options, Order};

/// All requests differ in the number of the user alone, so one encoded body serves all: its digits are replaced.
/// Ten million bodies would come from memory that is in no cache, and cost more than eight digits.
#[derive(Debug)]
pub(crate) struct Requests {
    body: Template,
    keys: usize,
    order: Order,
    next: usize,
    pub(crate) random: Random,
}

impl Requests {
    pub(crate) fn new(options: &Options) -> Self {
        Self {
            body: message::template(&options.tenant, options.descriptors, options.entries),
            keys: options.keys.max(1),
            order: options.order,
            next: 0,
            random: Random(0x9e37_79b9_7f4a_7c15),
        }
    }

    /// How long a body is; they are all the same.
    pub(crate) fn length(&self) -> usize {
        self.body.bytes().len()
    }

    /// The next body.
    pub(crate) fn next(&mut self) -> &[u8] {
        let user = match self.order {
            Order::Sequential => self.next,
            Order::Random => usize::try_from(self.random.next() >> 1).unwrap_or(0) % self.keys,
        };
        self.next = if self.next + 1 < self.keys { self.next + 1 } else { 0 };
        self.body.set_user(user);
        self.body.bytes()
    }
}

/// xorshift: fast, and the same in every run.
#[derive(Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// Between 0 and 1, and neither.
    pub(crate) fn share(&mut self) -> f64 {
        ((self.next() >> 11) as f64 + 0.5) / (1_u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    fn bodies(order: Order, keys: usize, count: usize) -> HashSet<Vec<u8>> {
        let options = Options { keys, order, ..Options::default() };
        let mut requests = Requests::new(&options);
        (0..count).map(|_| requests.next().to_vec()).collect()
    }

    #[test]
    fn every_user_has_its_turn_and_no_other_has() {
        assert_eq!(bodies(Order::Sequential, 100, 100).len(), 100);
        assert_eq!(bodies(Order::Sequential, 100, 1000), bodies(Order::Sequential, 100, 100));
        assert_eq!(bodies(Order::Random, 100, 5000), bodies(Order::Sequential, 100, 100));
        assert_eq!(bodies(Order::Random, 1, 10).len(), 1);
    }
}
