//! The built program run as a command, in a directory with rule files.

use std::fs;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

/// A directory in which commands are run.
#[derive(Debug)]
pub(crate) struct Shell(TempDir);

/// What came of a command.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    command: String,
}

impl Shell {
    /// A directory with those files.
    pub(crate) fn with(files: &[(&str, &str)]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = directory.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        Self(directory)
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// Runs `fluxlimit` with the words of a line; words are parted by blanks.
    pub(crate) fn run(&self, line: &str) -> Ran {
        self.run_with(line, &[])
    }

    /// The same with variables in its environment, which is empty otherwise.
    pub(crate) fn run_with(&self, line: &str, environment: &[(&str, &str)]) -> Ran {
        run_in(self.0.path(), line, environment)
    }
}

fn run_in(directory: &Path, line: &str, environment: &[(&str, &str)]) -> Ran {
    let output = Command::new(Path::new(env!("CARGO_BIN_EXE_fluxlimit")))
        .args(line.split_whitespace())
        .current_dir(directory)
        .env_clear()
        .envs(environment.iter().copied())
        .output()
        .unwrap();
    Ran {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
        command: line.to_owned(),
    }
}

impl Ran {
    /// All of it, for a snapshot.
    pub(crate) fn told(&self) -> String {
        let Self { code, stdout, stderr, command } = self;
        let code = code.map_or("a signal".to_owned(), |code| code.to_string());
        let stderr = if stderr.is_empty() { String::new() } else { format!("--- standard error\n{stderr}") };
        format!("$ fluxlimit {command}\n{stdout}{stderr}--- exit status {code}\n")
    }
}

#[test]
fn completions_are_there_for_every_shell() {
    let shell = Shell::with(&[]);
    for name in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let ran = shell.run(&format!("completions {name}"));
        assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{name}");
        for command in ["serve", "check", "explain", "ask", "migrate", "probe", "against"] {
            assert!(ran.stdout.contains(command), "{name} lacks {command}");
        }
    }
    assert_eq!(shell.run("completions csh").code, Some(2));
}

#[test]
fn help_teaches_with_examples_and_names_the_exit_codes() {
    let shell = Shell::with(&[]);
    for command in ["serve", "check", "explain", "ask", "migrate", "probe", "completions"] {
        let ran = shell.run(&format!("{command} --help"));
        assert_eq!(ran.code, Some(0), "{command}");
        assert!(ran.stdout.contains("Examples:"), "{command}");
        let decides = ["check", "explain", "ask", "probe"].contains(&command);
        assert!(!decides || ran.stdout.contains("Exit status: 0"), "{command}");
    }
}

#[test]
fn wrong_arguments_end_with_2_and_say_what_is_wrong() {
    let shell = Shell::with(&[("a.yaml", "domain: d\n")]);
    let lines = [
        (
            "explain --rules a.yaml --domain d a",
            "`a` is no entry: expected KEY=VALUE; for an empty value write `a=`",
        ),
        ("explain --rules a.yaml --domain d a=1 +", "`+` stands between two descriptors"),
        ("ask --domain d --limit 5/minuet a=1", "unknown unit `minuet`"),
        ("ask --domain d --timeout-ms 0 a=1", "--timeout-ms"),
        ("ask a=1", "--domain"),
        ("check", "<PATH>"),
    ];
    for (line, message) in lines {
        let ran = shell.run(line);
        assert_eq!(ran.code, Some(2), "{line}");
        assert!(ran.stderr.contains(message), "{line}: {}", ran.stderr);
    }
}

#[test]
fn there_are_no_colours_in_a_pipe_unless_they_are_forced() {
    let shell = Shell::with(&[("a.yaml", "domain: d\ndescriptors: [{key: a}]\n")]);
    let is_coloured = |environment: &[(&str, &str)]| {
        shell.run_with("explain --rules a.yaml --domain d b=1", environment).stdout.contains('\u{1b}')
    };
    assert!(!is_coloured(&[("TERM", "xterm")]));
    assert!(is_coloured(&[("TERM", "xterm"), ("CLICOLOR_FORCE", "1")]));
    assert!(!is_coloured(&[("TERM", "xterm"), ("NO_COLOR", "1")]));
}

#[test]
fn a_rule_file_cannot_drive_the_terminal() {
    let rules = "domain: \"d\\e\"\ndescriptors: [{key: \"k\\e[2J\", value: \"v\\a\", rate_limit: {unit: day, name: \"n\\e\"}}]\n";
    let shell = Shell::with(&[("a.yaml", rules), ("b.yaml", "domain: x\n")]);
    let lines = [
        "check a.yaml",
        "check a.yaml --against b.yaml",
        "explain --rules a.yaml --domain d\u{1b} k\u{1b}[2J=v\u{7}",
        "explain --rules a.yaml --domain d\u{1b} k\u{1b}[2J=v\u{8}",
        "explain --rules a.yaml --domain d\u{1b} k\u{1b}[3J=v",
        "explain --rules a.yaml --domain e\u{1b} k\u{1b}[2J=v\u{7}",
    ];
    for line in lines {
        let ran = shell.run(line);
        let found = [ran.stdout, ran.stderr].concat();
        assert!(!found.replace('\n', "").contains(char::is_control), "{line}: {found:?}");
        assert!(found.len() > 20, "{line}: {found:?}");
    }
}

/// `FLUXLIMIT_BLESS=1 cargo test --test it documented` writes the outputs anew, to be read in the diff.
#[test]
fn documented_outputs_are_what_the_commands_print() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let path = root.join("docs/commands.md");
    let page = fs::read_to_string(&path).unwrap();
    let mut parts = page.split("```console\n$ fluxlimit ");
    let mut fresh = parts.next().unwrap().to_owned();
    for part in parts {
        let (block, rest) = part.split_once("\n```\n").unwrap();
        let line = block.lines().next().unwrap();
        let ran = run_in(root, line, &[]);
        assert_eq!(ran.stderr, "", "{line}");
        fresh = [fresh, format!("```console\n$ fluxlimit {line}\n{}```\n{rest}", ran.stdout)].concat();
    }
    #[expect(clippy::disallowed_methods, reason = "a switch of the test alone")]
    let is_blessing = std::env::var_os("FLUXLIMIT_BLESS").is_some();
    if is_blessing {
        fs::write(&path, &fresh).unwrap();
    }
    assert!(page.matches("```console").count() >= 3);
    assert_eq!(fs::read_to_string(&path).unwrap(), fresh);
}
