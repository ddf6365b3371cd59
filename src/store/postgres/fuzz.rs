//! What a Postgres, or somebody who shares it, may answer; and the connection strings and password files of people.

use super::conninfo::Parameters;
use super::pgpass::{self, Wanted};
use super::state;
use crate::algorithm::{MAX_DURATION_MS, step};
use crate::limit::{Algorithm, Limit, LimitSpec, Unit};
use crate::store::percent;
use crate::time::Timestamp;

/// The bytes of a stored state: what is read is written again as it was, and no arithmetic on it goes wrong.
pub(crate) fn state(data: &[u8]) {
    let Ok(read) = state::decode(data) else { return };
    let mut written = Vec::new();
    state::encode(&read, &mut written);
    assert_eq!(state::decode(&written).as_ref(), Ok(&read));
    for algorithm in Algorithm::ALL {
        for (count, unit) in [(0, Unit::Second), (3, Unit::Second), (4_000_000, Unit::Year)] {
            let limit = Limit::new(LimitSpec::new(algorithm, count, unit)).expect("such limits are in order");
            for now in [0, 1_700_000_000_000, 1 << 53] {
                for hits in [0, 1, -1, i64::MAX, i64::MIN] {
                    let (verdict, next) = step(&limit, Some(&read), Timestamp::from_ms(now), hits);
                    assert!(verdict.reset_after_ms <= MAX_DURATION_MS, "{read:?} {verdict:?}");
                    assert!(verdict.retry_after_ms.is_none_or(|ms| ms <= MAX_DURATION_MS), "{read:?}");
                    // What is stored next can be read again.
                    if let Some(next) = next {
                        written.clear();
                        state::encode(&next, &mut written);
                        assert_eq!(state::decode(&written), Ok(next), "{read:?} at {now} by {hits}");
                    }
                }
            }
        }
    }
}

/// A connection string and a password file: no message repeats what they say, and a password that is encoded comes
/// back as it was.
pub(crate) fn connection(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(parameters) = Parameters::parse(text) {
        // The keywords are those that are known.
        let shown = format!("{parameters:?}");
        assert!(shown.len() < 400 && shown.is_ascii(), "{shown}");
    }
    let wanted = Wanted { hosts: &["h", "localhost"], port: 5432, database: "d", user: "u" };
    pgpass::password(text, &wanted);
    if text.is_empty() || text.contains('\0') {
        return;
    }
    let encoded = percent::encode_all(data);
    let url = Parameters::parse(&format!("postgres://u:{encoded}@h/d")).expect("a password that is encoded");
    assert_eq!(url.get("password"), Some(text));
    let quoted = text.replace('\\', "\\\\").replace('\'', "\\'");
    let pairs = Parameters::parse(&format!("host=h password='{quoted}'")).expect("a password between quotes");
    assert_eq!(pairs.get("password"), Some(text));
    // What ends a line cannot stand in a file of lines.
    if !text.contains(['\n', '\r']) {
        let escaped = text.replace('\\', "\\\\").replace(':', "\\:");
        let found = pgpass::password(&format!("x:*:*:*:no\n*:5432:d:u:{escaped}\n"), &wanted);
        assert_eq!(found.as_deref(), Some(text));
    }
}
