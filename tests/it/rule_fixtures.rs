//! Rule files of ours: good ones load, bad ones say what their `.txt` says.
//!
//! `FLUXLIMIT_BLESS=1 cargo test --test it fixtures` writes the `.txt` files anew, to be read in the diff.

use std::fs;
use std::path::{Path, PathBuf};

use fluxlimit::rules::load::{LoadOptions, Loaded, Source, load};

const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/rules");

fn fixtures(folder: &str) -> Vec<PathBuf> {
    let entries = Path::new(FIXTURES).join(folder).read_dir().expect("the folder is part of the repository");
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    paths.sort();
    assert!(!paths.is_empty());
    paths
}

fn load_fixture(path: &Path) -> Loaded {
    let name = path.file_name().unwrap().to_str().unwrap().to_owned();
    load(&[Source { name, text: fs::read(path).unwrap() }], &LoadOptions::default())
}

/// The problems of a fixture are those in the `.txt` beside it; without one there are none.
fn check(path: &Path, loaded: &Loaded) {
    let shown: Vec<String> =
        loaded.problems.iter().map(|problem| format!("{}: {problem}\n", problem.severity.name())).collect();
    let expected = path.with_extension("txt");
    #[expect(clippy::disallowed_methods, reason = "a switch of the test alone")]
    let is_blessing = std::env::var_os("FLUXLIMIT_BLESS").is_some();
    if is_blessing && !shown.is_empty() {
        fs::write(&expected, shown.concat()).unwrap();
    }
    assert_eq!(shown.concat(), fs::read_to_string(&expected).unwrap_or_default(), "{}", path.display());
}

#[test]
fn bad_fixtures_say_what_is_wrong() {
    for path in fixtures("bad") {
        let loaded = load_fixture(&path);
        check(&path, &loaded);
        assert!(!loaded.is_ok(), "{}", path.display());
    }
}

#[test]
fn good_fixtures_load_and_say_only_what_is_doubtful() {
    for path in fixtures("good") {
        let loaded = load_fixture(&path);
        check(&path, &loaded);
        assert!(loaded.is_ok(), "{}", path.display());
    }
}
