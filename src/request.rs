//! The question that a client asks, free of any wire format.
//!
//! Keys and values are bytes: Envoy forwards header values that are not UTF-8.

use smallvec::SmallVec;

use crate::limit::{Algorithm, Limit, LimitError, LimitSpec, MAX_AMOUNT, Unit};
use crate::text::Text;

/// Most descriptors in one request. Envoy sends a handful; more is a mistake of the operator.
pub const MAX_DESCRIPTORS: usize = 64;

/// Most entries in one descriptor.
pub const MAX_ENTRIES: usize = 32;

/// One `ShouldRateLimit` call: may these descriptors of this domain be hit?
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Request {
    /// Which rules apply.
    pub domain: Text,
    /// What the call is counted under; each descriptor is one question. Most requests have one.
    pub descriptors: SmallVec<[Descriptor; 1]>,
    /// Hits of the descriptors that name none themselves; 0 means 1.
    pub hits_addend: u32,
}

/// A list of entries that one request is counted under.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Descriptor {
    /// The entries, most general first. Most descriptors have one or two.
    pub entries: SmallVec<[Entry; 2]>,
    /// A limit that replaces the rules for this descriptor.
    pub limit: Option<Override>,
    /// Hits of this descriptor; `None` takes those of the request, `Some(0)` asks without counting.
    pub hits_addend: Option<u64>,
    /// Whether the hits are given back instead of counted.
    pub is_negative_hits: bool,
}

/// A key and its value, such as `remote_address` and `10.0.0.1`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Entry {
    /// What is told apart.
    pub key: Text,
    /// Its value in this request.
    pub value: Text,
}

/// A limit sent with a descriptor (`RateLimitOverride`). It is always a fixed window.
///
/// Invariant: the multiplier is at least 1 and the period at most 100 years.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Override {
    requests_per_unit: u32,
    unit: Unit,
    unit_multiplier: u32,
}

/// Why a request cannot be answered. All of these are mistakes that only an operator can make.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// No domain.
    #[error("rate limit domain must not be empty")]
    NoDomain,
    /// Nothing to ask about.
    #[error("rate limit descriptor list must not be empty")]
    NoDescriptors,
    /// More than [`MAX_DESCRIPTORS`].
    #[error("{found} descriptors in one request; expected at most {MAX_DESCRIPTORS}")]
    TooManyDescriptors {
        /// How many there are.
        found: usize,
    },
    /// More than [`MAX_ENTRIES`].
    #[error("{found} entries in descriptors[{descriptor}]; expected at most {MAX_ENTRIES}")]
    TooManyEntries {
        /// Index of the descriptor.
        descriptor: usize,
        /// How many entries it has.
        found: usize,
    },
    /// An override whose unit is not one of Envoy's.
    #[error("unknown unit {number} in the limit of a descriptor; expected 1 (second) to 7 (week)")]
    UnknownUnit {
        /// The number that was sent.
        number: i32,
    },
    /// An override with an impossible period.
    #[error("bad limit in a descriptor")]
    BadOverride(#[source] LimitError),
}

impl RequestError {
    /// The error with its cause, in one line for the client.
    #[must_use]
    pub fn in_full(&self) -> String {
        match self {
            Self::BadOverride(cause) => format!("{self}: {cause}"),
            _ => self.to_string(),
        }
    }
}

impl Request {
    /// Checks what no wire format checks: that there is a domain, and a bounded number of descriptors.
    ///
    /// # Errors
    /// Names the first bound that is broken.
    pub fn check(&self) -> Result<(), RequestError> {
        if self.domain.is_empty() {
            return Err(RequestError::NoDomain);
        }
        match self.descriptors.len() {
            0 => return Err(RequestError::NoDescriptors),
            found if found > MAX_DESCRIPTORS => return Err(RequestError::TooManyDescriptors { found }),
            _ => {}
        }
        let lengths = self.descriptors.iter().map(|descriptor| descriptor.entries.len());
        match lengths.enumerate().find(|(_, found)| *found > MAX_ENTRIES) {
            Some((descriptor, found)) => Err(RequestError::TooManyEntries { descriptor, found }),
            None => Ok(()),
        }
    }

    /// What `descriptor` of this request asks for, in hits: 0 looks, a negative number gives back.
    /// Saturates at ±[`MAX_AMOUNT`].
    #[must_use]
    pub fn hits(&self, descriptor: &Descriptor) -> i64 {
        let asked = descriptor.hits_addend.unwrap_or_else(|| u64::from(self.hits_addend.max(1)));
        let hits = asked.min(MAX_AMOUNT).cast_signed();
        if descriptor.is_negative_hits { -hits } else { hits }
    }
}

impl Descriptor {
    /// Those entries, and nothing else said.
    #[must_use]
    pub fn of(entries: impl IntoIterator<Item = Entry>) -> Self {
        Self { entries: entries.into_iter().collect(), ..Self::default() }
    }
}

impl Entry {
    /// An entry of that key and value.
    #[must_use]
    pub fn new(key: impl Into<Text>, value: impl Into<Text>) -> Self {
        Self { key: key.into(), value: value.into() }
    }
}

impl Override {
    /// `requests_per_unit` hits per `unit_multiplier` (absent: 1) units of the protobuf number `unit`.
    ///
    /// # Errors
    /// An unknown unit, a multiplier of 0, or a period beyond 100 years.
    pub fn new(
        requests_per_unit: u32,
        unit: i32,
        unit_multiplier: Option<u32>,
    ) -> Result<Self, RequestError> {
        let known = Unit::from_number(unit).ok_or(RequestError::UnknownUnit { number: unit })?;
        let checked = Self { requests_per_unit, unit: known, unit_multiplier: unit_multiplier.unwrap_or(1) };
        Limit::new(checked.spec(true)).map_err(RequestError::BadOverride)?;
        Ok(checked)
    }

    /// The limit that is enforced for it.
    ///
    /// # Panics
    /// Never: the numbers were checked when the override was made.
    #[must_use]
    pub fn limit(self, count_refused: bool) -> Limit {
        Limit::new(self.spec(count_refused)).expect("checked by Override::new")
    }

    /// Hits per period.
    #[must_use]
    pub const fn requests_per_unit(self) -> u32 {
        self.requests_per_unit
    }

    /// Unit of the period.
    #[must_use]
    pub const fn unit(self) -> Unit {
        self.unit
    }

    /// How many units make one period.
    #[must_use]
    pub const fn unit_multiplier(self) -> u32 {
        self.unit_multiplier
    }

    const fn spec(self, count_refused: bool) -> LimitSpec {
        LimitSpec {
            algorithm: Algorithm::FixedWindow,
            count: self.requests_per_unit,
            unit: self.unit,
            unit_multiplier: self.unit_multiplier,
            burst: None,
            count_refused,
        }
    }
}

#[cfg(test)]
mod tests {
    use smallvec::smallvec;

    use super::*;

    fn hits(of_request: u32, of_descriptor: Option<u64>, is_negative_hits: bool) -> i64 {
        let descriptor = Descriptor { hits_addend: of_descriptor, is_negative_hits, ..Descriptor::default() };
        Request { hits_addend: of_request, ..Request::default() }.hits(&descriptor)
    }

    #[test]
    fn hits_come_from_the_descriptor_then_the_request_then_are_one() {
        assert_eq!(hits(0, None, false), 1);
        assert_eq!(hits(7, None, false), 7);
        assert_eq!(hits(7, Some(0), false), 0);
        assert_eq!(hits(7, Some(3), false), 3);
        assert_eq!(hits(7, Some(3), true), -3);
        assert_eq!(hits(7, None, true), -7);
    }

    #[test]
    fn hits_saturate_instead_of_becoming_a_refund() {
        assert_eq!(hits(0, Some(u64::MAX), false), 1 << 52);
        assert_eq!(hits(0, Some(1 << 63), true), -(1 << 52));
    }

    #[test]
    fn a_request_needs_a_domain_and_a_bounded_number_of_descriptors() {
        let request = |descriptors: usize, entries: usize| Request {
            domain: "d".into(),
            descriptors: smallvec![
                Descriptor {
                    entries: smallvec![Entry::new("k", "v"); entries],
                    ..Descriptor::default()
                };
                descriptors
            ],
            hits_addend: 0,
        };
        assert_eq!(Request::default().check(), Err(RequestError::NoDomain));
        assert_eq!(request(0, 0).check(), Err(RequestError::NoDescriptors));
        assert_eq!(request(64, 32).check(), Ok(()));
        assert_eq!(request(65, 1).check(), Err(RequestError::TooManyDescriptors { found: 65 }));
        assert_eq!(request(1, 33).check(), Err(RequestError::TooManyEntries { descriptor: 0, found: 33 }));
    }

    #[test]
    fn an_override_names_one_of_envoys_units() {
        assert_eq!(Override::new(5, 7, None).map(|o| o.limit(true).period_ms()), Ok(604_800_000));
        assert_eq!(Override::new(5, 1, Some(30)).map(|o| o.limit(true).period_ms()), Ok(30_000));
        assert_eq!(Override::new(5, 0, None), Err(RequestError::UnknownUnit { number: 0 }));
        assert_eq!(Override::new(5, 1, Some(0)), Err(RequestError::BadOverride(LimitError::NoMultiplier)));
    }
}
