//! Paths of the settings → the texts of the rule files.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::yaml::{Message, Problem, Severity};

use super::load::Source;

/// Largest rule file, in bytes: far above 100,000 rules, far below what would hurt the server.
pub const MAX_FILE_BYTES: u64 = 16 << 20;

/// What was found at the paths.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// The files, in the order of the paths and then of their names.
    pub sources: Vec<Source>,
    /// What could not be read.
    pub problems: Vec<Problem>,
}

/// Reads what is at the paths: a file of any name, or the `*.yaml` and `*.yml` of a directory.
///
/// A directory is read in the order of the names, without the directories in it and without names that
/// begin with a dot. Symbolic links are followed, since Kubernetes mounts every file as one.
#[must_use]
pub fn read_paths<P: AsRef<Path>>(paths: impl IntoIterator<Item = P>) -> Found {
    let mut found = Found::default();
    for path in paths {
        let path = path.as_ref();
        if !path.is_dir() {
            found.read(path);
            continue;
        }
        match rule_files(path) {
            Ok(files) if files.is_empty() => {
                let message = Message::new("this directory holds no rule file")
                    .expected("files that end in `.yaml` or `.yml`");
                let problem = Problem::of_file(path.display().to_string(), message);
                found.problems.push(Problem { severity: Severity::Warning, ..problem });
            }
            Ok(files) => files.iter().for_each(|file| found.read(file)),
            Err(error) => found.problems.push(unreadable(path, &error)),
        }
    }
    found
}

impl Found {
    fn read(&mut self, path: &Path) {
        match read_bounded(path) {
            Ok(text) => self.sources.push(Source { name: path.display().to_string(), text }),
            Err(error) => self.problems.push(unreadable(path, &error)),
        }
    }
}

fn rule_files(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in directory.read_dir()? {
        let path = directory.join(entry?.file_name());
        let is_hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        let is_yaml = path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml");
        // A link to nothing is kept, so that reading it says so.
        if !is_hidden && is_yaml && !path.is_dir() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    // To open a pipe waits for its other end, and a device may never end.
    if !path.metadata()?.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    let mut text = Vec::new();
    File::open(path)?.take(MAX_FILE_BYTES + 1).read_to_end(&mut text)?;
    if text.len() as u64 > MAX_FILE_BYTES {
        return Err(io::Error::other(format!("larger than {MAX_FILE_BYTES} bytes")));
    }
    Ok(text)
}

fn unreadable(path: &Path, error: &io::Error) -> Problem {
    let reason = match error.kind() {
        io::ErrorKind::NotFound => "there is no such file or directory".to_owned(),
        io::ErrorKind::PermissionDenied => "no permission to read this".to_owned(),
        _ => format!("cannot be read: {error}"),
    };
    Problem::of_file(path.display().to_string(), Message::new(reason))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn names(found: &Found, root: &Path) -> Vec<String> {
        let strip = |name: &str| name.replace(&format!("{}/", root.display()), "");
        found.sources.iter().map(|source| strip(&source.name)).collect()
    }

    fn problems(found: &Found, root: &Path) -> Vec<String> {
        let shown = found.problems.iter().map(ToString::to_string);
        shown.map(|line| line.replace(&format!("{}/", root.display()), "")).collect()
    }

    #[test]
    fn a_directory_is_its_yaml_files_in_name_order_and_a_file_is_itself() {
        let root = tempfile::tempdir().unwrap();
        let path = |name: &str| root.path().join(name);
        fs::create_dir_all(path("rules/below.yaml")).unwrap();
        for name in [
            "rules/b.yml",
            "rules/a.yaml",
            "rules/.hidden.yaml",
            "rules/notes.txt",
            "rules/below.yaml/c.yaml",
        ] {
            fs::write(path(name), name).unwrap();
        }
        let found = read_paths([path("rules"), path("rules/notes.txt")]);
        assert_eq!(names(&found, root.path()), ["rules/a.yaml", "rules/b.yml", "rules/notes.txt"]);
        assert_eq!(found.sources[1].text, b"rules/b.yml");
        assert_eq!(problems(&found, root.path()), Vec::<String>::new());
    }

    #[cfg(unix)]
    #[test]
    fn a_config_map_of_kubernetes_is_read_through_its_links() {
        use std::os::unix::fs::symlink;
        let root = tempfile::tempdir().unwrap();
        let path = |name: &str| root.path().join(name);
        fs::create_dir(path("..2026_01_01")).unwrap();
        fs::write(path("..2026_01_01/a.yaml"), "x").unwrap();
        symlink("..2026_01_01", path("..data")).unwrap();
        symlink("..data/a.yaml", path("a.yaml")).unwrap();
        symlink("..data/gone.yaml", path("gone.yaml")).unwrap();
        let found = read_paths([root.path()]);
        assert_eq!(names(&found, root.path()), ["a.yaml"]);
        assert_eq!(problems(&found, root.path()), ["gone.yaml: there is no such file or directory"]);
    }

    #[test]
    fn what_cannot_be_read_is_said_and_the_rest_is_read() {
        let root = tempfile::tempdir().unwrap();
        let path = |name: &str| root.path().join(name);
        fs::create_dir(path("empty")).unwrap();
        fs::write(path("good.yaml"), "x").unwrap();
        fs::write(path("large.yaml"), vec![b' '; 1 + usize::try_from(MAX_FILE_BYTES).unwrap()]).unwrap();
        let found = read_paths(["missing", "empty", "large.yaml", "good.yaml"].map(path));
        assert_eq!(names(&found, root.path()), ["good.yaml"]);
        assert_eq!(
            problems(&found, root.path()),
            [
                "missing: there is no such file or directory",
                "empty: this directory holds no rule file; expected files that end in `.yaml` or `.yml`",
                "large.yaml: cannot be read: larger than 16777216 bytes",
            ]
        );
        let errors: Vec<bool> = found.problems.iter().map(Problem::is_error).collect();
        assert_eq!(errors, [true, false, true]);
    }
}
