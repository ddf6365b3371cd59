//! Draws what the four algorithms make of the same traffic: the pictures of `docs/choosing.md`.
//!
//! `cargo run --example plot_algorithms` writes them to `docs/img/` and prints the table that stands there.

mod plot;

use std::io::{self, Write};
use std::path::Path;

fn main() -> io::Result<()> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/img");
    std::fs::create_dir_all(&directory)?;
    for plot in plot::plots() {
        std::fs::write(directory.join(plot.file_name()), plot.svg())?;
        writeln!(io::stdout(), "{}", plot.row())?;
    }
    Ok(())
}
