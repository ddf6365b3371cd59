//! The pictures and the table of `docs/choosing.md` are what the program draws.

use std::fs;

use super::{page, plot, root};

const REMEDY: &str = "`cargo run --example plot_algorithms` draws it anew and prints the table";

#[test]
fn the_pictures_are_what_the_algorithms_do_today() {
    let choosing = page("choosing");
    for plot in plot::plots() {
        let name = plot.file_name();
        let drawn = fs::read_to_string(root().join("docs/img").join(&name)).unwrap_or_default();
        assert!(drawn == plot.svg(), "docs/img/{name} is out of date: {REMEDY}");
        assert!(choosing.contains(&format!("](img/{name})")), "docs/choosing.md does not show {name}");
    }
}

#[test]
fn the_table_says_what_the_pictures_show() {
    let choosing = page("choosing");
    for plot in plot::plots() {
        let row = plot.row();
        assert!(choosing.lines().any(|line| line == row), "docs/choosing.md lacks {row}: {REMEDY}");
    }
}
