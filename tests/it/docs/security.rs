//! The page about security names tests that there are.

use std::fs;
use std::path::PathBuf;

use super::{page, root};

#[test]
fn every_test_that_the_page_names_is_there() {
    let mut open: Vec<PathBuf> = ["src", "tests/it"].map(|folder| root().join(folder)).into();
    let mut code = String::new();
    while let Some(path) = open.pop() {
        if path.is_dir() {
            open.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            code.push_str(&fs::read_to_string(&path).unwrap());
        }
    }
    let text = page("security");
    let lines = text.lines().filter_map(|line| line.trim_start().strip_prefix("Tests: "));
    let names = lines.flat_map(|line| line.split('`').skip(1).step_by(2)).filter(|name| !name.contains('/'));
    let (known, unknown): (Vec<&str>, Vec<&str>) =
        names.partition(|name| code.contains(&format!("fn {name}(")));
    assert!(unknown.is_empty(), "{unknown:?}");
    assert!(known.len() > 30, "{}", known.len());
}
