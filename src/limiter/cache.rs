//! What was refused a moment ago, so that a store that is far away need not be asked to refuse it again.
//!
//! A refused cost stays refused until its wait is over, whatever others are charged meanwhile: only giving
//! hits back lets it pass earlier. So a refusal is remembered for its wait, but for a second at
//! most, since hits may be given back elsewhere. Nothing that passes is ever remembered: the cache can refuse
//! a moment too long, and never admits anything.
//!
//! Each key belongs to one of many *stripes*, which count the give-backs that pass through here. A refusal
//! is remembered with the count as it was before the store was asked, and holds while the count is the
//! same. So a refusal that was under way while hits were given back is forgotten before it is known.

use std::hash::{BuildHasher, BuildHasherDefault, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use foldhash::fast::RandomState;
use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{Equivalent, UnitWeighter};
use smallvec::SmallVec;

use crate::algorithm::{Verdict, keeps_state};
use crate::engine::{Charge, Key, Outcome, Settlement};
use crate::time::{Moment, Monotonic};

/// The longest that a refusal is remembered, in milliseconds: so long may it be wrong after hits were given
/// back elsewhere, and so often is the store asked about a key that is refused all the time.
const MAX_REMEMBERED_MS: u64 = 1000;

/// Fewest and most stripes: give-backs on one key make others of its stripe forget as well.
const STRIPES: (usize, usize) = (64, 65_536);

/// Settings of the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// About how many refusals are remembered at most; 0 remembers none.
    pub max_keys: usize,
    /// Whether a refusal is answered from memory though its limit counts what it refuses, as the reference
    /// does with its cache; it is then not counted in the store.
    pub skip_count_refused: bool,
}

impl Default for Settings {
    /// Some two megabytes of keys that are refused at the same time.
    fn default() -> Self {
        Self { max_keys: 10_000, skip_count_refused: false }
    }
}

/// Remembers refusals; bounded.
#[derive(Debug)]
pub struct LocalCache {
    refusals: Refusals,
    /// How often hits were given back on the keys of each stripe; their number is a power of two.
    stripes: Box<[AtomicU32]>,
    hasher: RandomState,
    skip_count_refused: bool,
    clock: Arc<dyn Monotonic>,
    /// When it was made.
    start: Moment,
    /// How long after that the last refusal is forgotten, in milliseconds.
    empty_after_ms: AtomicU64,
}

type Refusals =
    Cache<Place, Refusal, UnitWeighter, BuildHasherDefault<Hashed>, DefaultLifecycle<Place, Refusal>>;

/// What is known before the store is asked.
#[derive(Debug)]
pub enum Asked<'c> {
    /// Every charge is refused, and nothing is to be booked: the store need not be asked.
    Refused(Outcome),
    /// The store is to be asked, and this kept until it has answered.
    Store(Asking<'c>),
}

/// A question that the store is asked. Dropping it, answered or not, forgets once more what give-backs of the
/// question changed.
#[derive(Debug)]
pub struct Asking<'c> {
    cache: &'c LocalCache,
    /// When it was sent, or before.
    sent: Moment,
    /// For each charge, the hash of its key and the give-backs of its stripe when it was sent.
    charges: SmallVec<[(u64, u32); 2]>,
    /// The hashes of the keys on which it gives back.
    gives_back: SmallVec<[u64; 2]>,
}

/// Where a refusal is remembered: a key and the numbers that it was held against.
#[derive(Debug, Clone)]
struct Place {
    hash: u64,
    key: Key,
    numbers: (u32, u64),
}

/// The same, borrowed.
struct Asks<'a> {
    hash: u64,
    charge: &'a Charge,
}

/// A refusal.
#[derive(Debug, Clone, Copy)]
struct Refusal {
    /// The hits that were refused, and with them all that are more.
    hits: i64,
    /// When the question was sent, or before.
    sent: Moment,
    /// From when on it does not hold any more.
    until: Moment,
    /// The give-backs of the stripe when the question was sent.
    given_back: u32,
    verdict: Verdict,
}

impl LocalCache {
    /// An empty cache that measures time with `clock`; `None` if the settings want none.
    #[must_use]
    pub fn new(settings: Settings, clock: Arc<dyn Monotonic>) -> Option<Self> {
        let Settings { max_keys, skip_count_refused } = settings;
        let most = u64::try_from(max_keys).ok().filter(|most| *most > 0)?;
        let stripes = max_keys.clamp(STRIPES.0, STRIPES.1).next_power_of_two();
        Some(Self {
            refusals: Cache::with(
                max_keys,
                most,
                UnitWeighter,
                BuildHasherDefault::default(),
                DefaultLifecycle::default(),
            ),
            stripes: (0..stripes).map(|_| AtomicU32::new(0)).collect(),
            hasher: RandomState::default(),
            skip_count_refused,
            start: clock.moment(),
            clock,
            empty_after_ms: AtomicU64::new(0),
        })
    }

    /// Whether nothing is remembered, so that there is no need to know what would be asked.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.clock.moment().ms_since(self.start) >= self.empty_after_ms.load(Ordering::Relaxed)
    }

    /// The outcome of a settlement of which every charge is known to be refused, with nothing to be booked.
    /// Nothing is changed or forgotten, so it may be asked before [`Self::ask`].
    #[must_use]
    pub fn refusal(&self, settlement: &Settlement) -> Option<Outcome> {
        let now = self.clock.moment();
        let verdicts = settlement.charges().iter().map(|charge| {
            let (hash, given_back) = self.mark(charge);
            let refusal = self.find(hash, charge, given_back, now).filter(|_| self.may_answer(charge))?;
            Some(refusal.verdict(charge, now))
        });
        refused(settlement, verdicts.collect::<Option<_>>()?)
    }

    /// What is known of a settlement that the store would be asked next. If it has to be asked all the same,
    /// the charges that are known to be refused are noted in the settlement, and keys on which it gives back
    /// are forgotten.
    pub fn ask(&self, settlement: &mut Settlement) -> Asked<'_> {
        let now = self.clock.moment();
        let mut asking =
            Asking { cache: self, sent: now, charges: SmallVec::new(), gives_back: SmallVec::new() };
        let mut verdicts: SmallVec<[Verdict; 2]> = SmallVec::new();
        let mut known: SmallVec<[usize; 4]> = SmallVec::new();
        for (index, charge) in settlement.charges().iter().enumerate() {
            let (hash, given_back) = self.mark(charge);
            asking.charges.push((hash, given_back));
            if charge.hits < 0 {
                self.forget(hash);
                asking.gives_back.push(hash);
            } else if let Some(refusal) = self.find(hash, charge, given_back, now) {
                known.push(index);
                if self.may_answer(charge) {
                    verdicts.push(refusal.verdict(charge, now));
                }
            }
        }
        if let Some(outcome) = refused(settlement, verdicts) {
            return Asked::Refused(outcome);
        }
        for index in known {
            settlement.expect_refusal(index);
        }
        Asked::Store(asking)
    }

    /// Forgets what is known of the keys of a settlement that resets them, and once more when the result is dropped:
    /// keep it until the store has answered.
    pub fn forgetting(&self, settlement: &Settlement) -> Asking<'_> {
        let gives_back: SmallVec<[u64; 2]> =
            settlement.keys().map(|key| self.hasher.hash_one(key.as_bytes())).collect();
        gives_back.iter().for_each(|hash| self.forget(*hash));
        Asking { cache: self, sent: self.clock.moment(), charges: SmallVec::new(), gives_back }
    }

    /// The hash of a charge's key, and the give-backs of its stripe until now.
    fn mark(&self, charge: &Charge) -> (u64, u32) {
        let hash = self.hasher.hash_one(charge.key.as_bytes());
        (hash, self.stripe(hash).load(Ordering::Acquire))
    }

    /// Whether a refusal of `charge` may be answered without the store, because it books nothing.
    fn may_answer(&self, charge: &Charge) -> bool {
        self.skip_count_refused || !books_refused(charge)
    }

    fn stripe(&self, hash: u64) -> &AtomicU32 {
        // The low bits; the cache takes its shards and buckets from others as well, which does not matter.
        let last = self.stripes.len() - 1;
        &self.stripes[usize::try_from(hash & u64::try_from(last).unwrap_or(0)).unwrap_or(0)]
    }

    /// Forgets all refusals on the keys of a stripe, those too that are under way.
    fn forget(&self, hash: u64) {
        self.stripe(hash).fetch_add(1, Ordering::AcqRel);
    }

    /// A refusal from which it follows that `charge` is refused at `now`; never of hits that are given back,
    /// which are fewer than any that are refused.
    fn find(&self, hash: u64, charge: &Charge, given_back: u32, now: Moment) -> Option<Refusal> {
        let refusal = self.refusals.get(&Asks { hash, charge })?;
        let holds = charge.hits >= refusal.hits && refusal.given_back == given_back && now < refusal.until;
        holds.then_some(refusal)
    }
}

impl Asking<'_> {
    /// Remembers what the store refused of the settlement that it was asked.
    pub fn learn(&self, settlement: &Settlement, outcome: &Outcome) {
        if outcome.verdicts.iter().all(|verdict| verdict.allowed) || !outcome.overflowed.is_empty() {
            return;
        }
        let verdicts = settlement.charges().iter().zip(&outcome.verdicts).zip(&self.charges);
        for (index, ((charge, verdict), (hash, given_back))) in verdicts.enumerate() {
            // Behind another charge on its key, it may be refused only because of what that one asks.
            if !verdict.allowed && settlement.is_first(index) {
                self.learn_one(charge, verdict, *hash, *given_back);
            }
        }
    }

    fn learn_one(&self, charge: &Charge, verdict: &Verdict, hash: u64, given_back: u32) {
        // A clock that shows whole milliseconds may be up to one behind when the wait begins.
        let wait_ms = verdict.retry_after_ms.map_or(u64::MAX, |wait_ms| wait_ms.saturating_sub(1));
        let until = self.sent.plus_ms(wait_ms.min(MAX_REMEMBERED_MS));
        let (cache, now) = (self.cache, self.cache.clock.moment());
        // Many ask at the same time about a key that is refused all the time; one answer is enough.
        if until <= now || cache.find(hash, charge, given_back, now).is_some() {
            return;
        }
        let place = Place { hash, key: charge.key.clone(), numbers: numbers(charge) };
        let refusal = Refusal { hits: charge.hits, sent: self.sent, until, given_back, verdict: *verdict };
        cache.refusals.insert(place, refusal);
        // Rounded up.
        cache.empty_after_ms.fetch_max(until.ms_since(cache.start) + 1, Ordering::Relaxed);
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        for hash in &self.gives_back {
            self.cache.forget(*hash);
        }
    }
}

impl Refusal {
    /// The verdict on a charge that is refused because of this one. What is left is as it was. The wait is
    /// that of the refused hits, so more hits may have to wait longer; it is at least 1 ms.
    fn verdict(&self, charge: &Charge, now: Moment) -> Verdict {
        let passed_ms = now.ms_since(self.sent);
        let fits = charge.hits.unsigned_abs() <= charge.limit.capacity();
        Verdict {
            retry_after_ms: self
                .verdict
                .retry_after_ms
                .filter(|_| fits)
                .map(|wait_ms| wait_ms.saturating_sub(passed_ms).max(1)),
            reset_after_ms: self.verdict.reset_after_ms.saturating_sub(passed_ms),
            ..self.verdict
        }
    }
}

/// The outcome of a settlement if `verdicts` refuse every one of its charges.
fn refused(settlement: &Settlement, verdicts: SmallVec<[Verdict; 2]>) -> Option<Outcome> {
    if verdicts.len() != settlement.charges().len() || settlement.is_empty() {
        return None;
    }
    let refused_groups = settlement.refused_groups(|_| false);
    let enforced = !settlement.global_shadow;
    let refused = settlement.refused || (enforced && settlement.refuses(&refused_groups));
    Some(Outcome { refused, verdicts, overflowed: SmallVec::new() })
}

/// Whether a charge is booked though it is refused.
fn books_refused(charge: &Charge) -> bool {
    charge.limit.count_refused() && charge.hits != 0 && keeps_state(&charge.limit)
}

/// What tells limits on one key apart: an override may have other numbers than the rule.
fn numbers(charge: &Charge) -> (u32, u64) {
    (charge.limit.count(), charge.limit.capacity())
}

impl PartialEq for Place {
    fn eq(&self, other: &Self) -> bool {
        self.numbers == other.numbers && self.key == other.key
    }
}

impl Eq for Place {}

impl Equivalent<Place> for Asks<'_> {
    fn equivalent(&self, place: &Place) -> bool {
        place.numbers == numbers(self.charge) && place.key == self.charge.key
    }
}

impl Hash for Place {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

impl Hash for Asks<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

/// Passes on a hash that was computed before.
#[derive(Debug, Clone, Copy, Default)]
struct Hashed(u64);

impl Hasher for Hashed {
    fn write(&mut self, _: &[u8]) {
        unreachable!("only hashes are hashed");
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
