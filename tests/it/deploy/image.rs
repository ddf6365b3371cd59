//! The Dockerfile: read as Docker reads it, and its steps tried as far as they go without Docker.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{read, repository, succeeds, tool};

/// An instruction of the Dockerfile, its lines joined.
pub(super) struct Instruction {
    pub(super) name: String,
    pub(super) rest: String,
}

pub(super) fn instructions() -> Vec<Instruction> {
    let text = read("Dockerfile").replace("\\\n", "");
    let lines = text.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty());
    let instruction = |line: &str| {
        let (name, rest) = line.split_once(' ').expect("an instruction and what it is about");
        Instruction { name: name.to_owned(), rest: rest.split_whitespace().collect::<Vec<_>>().join(" ") }
    };
    lines.map(instruction).collect()
}

/// The rest of the instructions of one name, in order.
pub(super) fn all(name: &str) -> Vec<String> {
    instructions().into_iter().filter(|one| one.name == name).map(|one| one.rest).collect()
}

/// The words of an instruction in the form of a JSON list.
pub(super) fn words(list: &str) -> Vec<String> {
    serde_json::from_str(list).unwrap_or_else(|error| panic!("{error}: {list}"))
}

#[test]
fn the_linter_finds_nothing_in_the_dockerfile() {
    succeeds(tool("hadolint").args(["--failure-threshold", "style", "Dockerfile"]));
}

#[test]
fn the_compiler_of_the_image_is_new_enough() {
    let from = all("FROM").swap_remove(0);
    let image = from.strip_prefix("rust:").expect("the first stage compiles").split('-').next().unwrap();
    let wanted = read("Cargo.toml");
    let wanted = wanted.lines().find_map(|line| line.strip_prefix("rust-version = ")).unwrap();
    let numbers = |version: &str| {
        version.trim_matches('"').split('.').map(|part| part.parse::<u32>().unwrap()).collect::<Vec<_>>()
    };
    assert!(numbers(image) >= numbers(wanted), "{image} is older than {wanted}");
}

/// Bug class: a new target in Cargo.toml whose file is not there when the dependencies are built.
#[test]
fn cargo_can_build_dependencies_from_what_the_first_step_leaves() {
    let directory = tempfile::tempdir().unwrap();
    let copied = all("COPY").swap_remove(0);
    for name in copied.split(' ').take_while(|name| *name != "./") {
        fs::copy(repository().join(name), directory.path().join(name)).unwrap();
    }
    let run = all("RUN").swap_remove(0);
    let (make_files, build) = run.rsplit_once(" && ").expect("files, then the build");
    assert!(build.starts_with("cargo build --locked --release"), "{build}");
    succeeds(Command::new("sh").arg("-euc").arg(make_files).current_dir(directory.path()));
    let described = ["metadata", "--locked", "--offline", "--format-version", "1", "--no-deps"];
    let described = succeeds(Command::new(env!("CARGO")).args(described).current_dir(directory.path()));
    let described: serde_json::Value = serde_json::from_str(&described).unwrap();
    let has = |kind: &str, name: &str| {
        let targets = described["packages"][0]["targets"].as_array().unwrap();
        targets.iter().any(|target| target["name"] == name && target["kind"][0] == kind)
    };
    // Here cargo leaves out a target without a file; a build would fail.
    let manifest = read("Cargo.toml");
    let sections = manifest.split("\n[[").skip(1).filter_map(|section| section.split_once("]]\nname = \""));
    let sections: Vec<_> = sections.map(|(kind, rest)| (kind, rest.split('"').next().unwrap())).collect();
    assert!(sections.contains(&("bin", "fluxlimit")) && sections.len() >= 2, "{sections:?}");
    assert!(has("lib", "fluxlimit"));
    for (kind, name) in sections {
        assert!(has(kind, name), "the first step leaves no file for the {kind} {name}");
    }
}

fn included(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in folder.read_dir().unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            included(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            for part in
                ["include_str!(\"", "include_bytes!(\""].iter().flat_map(|mark| text.split(mark).skip(1))
            {
                let name = part.split('"').next().unwrap();
                found.push(path.parent().unwrap().join(name).canonicalize().unwrap());
            }
        }
    }
}

#[test]
fn the_builder_gets_every_file_that_the_program_is_made_of() {
    let copied: Vec<String> = all("COPY").into_iter().filter(|rest| !rest.starts_with("--from")).collect();
    let copied: Vec<&str> =
        copied.iter().flat_map(|rest| rest.rsplit_once(' ').unwrap().0.split(' ')).collect();
    let ignored = read(".dockerignore");
    for name in &copied {
        assert!(ignored.lines().any(|line| line == format!("!{name}")), ".dockerignore keeps {name} back");
    }
    let mut files = Vec::new();
    included(&repository().join("src"), &mut files);
    assert!(files.len() >= 3, "{files:?}");
    let root = repository().canonicalize().unwrap();
    for file in files {
        let file = file.strip_prefix(&root).unwrap();
        assert!(copied.iter().any(|name| file.starts_with(name)), "{} is not copied", file.display());
    }
}

/// The program as the Dockerfile builds it, but for the optimizing; see `.ci/image`.
pub(super) fn program() -> PathBuf {
    let printed = succeeds(Command::new(repository().join(".ci/image")).current_dir(repository()));
    repository().join(printed.trim_end().lines().next_back().expect("the path"))
}

#[test]
fn the_program_of_the_image_needs_no_library() {
    let program = program();
    let headers =
        succeeds(Command::new("readelf").args(["--program-headers", "--dynamic", "--wide"]).arg(&program));
    assert!(headers.contains("LOAD"), "{headers}");
    for mark in ["INTERP", "(NEEDED)"] {
        assert!(!headers.contains(mark), "{mark}: {headers}");
    }
}

#[test]
fn the_image_is_nobody_and_can_ask_itself() {
    assert_eq!(all("USER"), ["65534:65534"]);
    let program = words(&all("ENTRYPOINT")[0]);
    assert_eq!(words(&all("CMD")[0]), ["serve"]);
    let copied = all("COPY").pop().unwrap();
    assert_eq!(copied, format!("--from=build /build/target/release/fluxlimit {}", program[0]));
    let health = all("HEALTHCHECK").swap_remove(0);
    let health = words(health.split_once("CMD ").unwrap().1);
    assert_eq!(health, [program[0].as_str(), "probe"]);
    assert_eq!(all("EXPOSE"), ["8081 8080"]);
}
