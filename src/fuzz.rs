//! What bytes from outside must never do, as functions that a fuzzer calls with bytes of its own.
//!
//! They exist for the fuzzer (`cfg(fuzzing)`, set by cargo-fuzz) and for tests, which replay `tests/fuzz/corpus`;
//! no program that people run has them. Each panics where a promise is broken: not only "no panic inside", but what
//! was read means the same when it is written and read again.

/// Called with bytes, whatever they are.
pub type Target = fn(&[u8]);

/// Every target by its name, which is that of its folder in the corpus.
pub const TARGETS: [(&str, Target); 9] = [
    ("admin", crate::admin::fuzz::post),
    ("connections", connections),
    ("headers", headers),
    ("json", crate::http::fuzz::json),
    ("postgres", crate::store::postgres::fuzz::state),
    ("redis", crate::store::redis::fuzz::reply),
    ("request", crate::grpc::fuzz::request),
    ("rules", crate::rules::fuzz::rules),
    ("settings", crate::config::fuzz::settings),
];

/// Calls the target of that name.
pub fn run(name: &str, data: &[u8]) {
    let (_, target) = TARGETS.into_iter().find(|(known, _)| *known == name).expect("a known target");
    target(data);
}

/// Where a store is, as its settings say it, and the password files of Postgres.
fn connections(data: &[u8]) {
    crate::store::redis::fuzz::url(data);
    crate::store::postgres::fuzz::connection(data);
}

/// Headers of a call.
fn headers(data: &[u8]) {
    crate::traces::fuzz::parent(data);
    crate::grpc::fuzz::timeout(data);
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::panic::catch_unwind;
    use std::path::{Path, PathBuf};

    use super::*;

    fn folder() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz")
    }

    #[test]
    fn the_committed_corpus_breaks_no_promise() {
        for (name, target) in TARGETS {
            let inputs = fs::read_dir(folder().join("corpus").join(name)).unwrap();
            let mut count = 0;
            for input in inputs {
                let path = input.unwrap().path();
                let data = fs::read(&path).unwrap();
                let kept = catch_unwind(|| target(&data));
                assert!(kept.is_ok(), "{name}: {}", path.display());
                count += 1;
            }
            assert!(count >= 5, "{name} has {count} inputs");
        }
    }

    #[test]
    fn every_target_has_a_program_for_the_fuzzer() {
        for (name, _) in TARGETS {
            let text = fs::read_to_string(folder().join(format!("fuzz_targets/{name}.rs"))).unwrap();
            assert!(text.contains(&format!("run(\"{name}\", data)")), "{name}");
        }
        let manifest = fs::read_to_string(folder().join("Cargo.toml")).unwrap();
        assert_eq!(manifest.matches("[[bin]]").count(), TARGETS.len());
    }
}
