//! Rule files of the documentation load, and what is said about them is true.

use fluxlimit::rules::load::{LoadOptions, Loaded, Source, load};

use super::blocks::{Block, blocks};
use super::page;
use super::replay::Replay;

const PAGES: [&str; 3] = ["rules", "choosing", "migrate"];

/// Says in the first line of a rule file that the server goes on from where the one before it was.
const GOES_ON: &str = "# the same file, changed";

fn load_block(block: &Block<'_>) -> Loaded {
    let source = Source { name: "rules.yaml".to_owned(), text: block.text.clone().into_bytes() };
    load(&[source], &LoadOptions::default())
}

/// What is wrong with a rule file is what its comments `# warns: …` and `# error: …` say, in order.
fn problems(block: &Block<'_>) -> Vec<String> {
    let said = block.comments("error").into_iter().map(|text| ("error", text));
    let said = said.chain(block.comments("warns").into_iter().map(|text| ("warning", text)));
    let mut said: Vec<(&str, &str)> = said.collect();
    let mut wrong = Vec::new();
    for problem in load_block(block).problems {
        let (severity, text) = (problem.severity.name(), problem.to_string());
        match said.iter().position(|(of, part)| *of == severity && text.contains(part)) {
            Some(index) => drop(said.remove(index)),
            None => wrong.push(format!("nobody says {severity}: {text}")),
        }
    }
    wrong.extend(said.into_iter().map(|(severity, text)| format!("no {severity} says {text}")));
    wrong
}

#[test]
fn every_rule_file_loads_and_only_what_its_comments_say_is_wrong_with_it() {
    let mut wrong = Vec::new();
    for name in PAGES {
        let text = page(name);
        let files: Vec<_> = blocks(&text).into_iter().filter(Block::is_rule_file).collect();
        assert!(!files.is_empty(), "docs/{name}.md has no rule file");
        for block in files {
            let place = format!("docs/{name}.md:{}", block.line);
            wrong.extend(problems(&block).into_iter().map(|problem| format!("{place}: {problem}")));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_table_of_requests_is_answered_as_it_says() {
    let (mut wrong, mut lines) = (Vec::new(), 0);
    for name in PAGES {
        let text = page(name);
        let mut replay: Option<Replay> = None;
        for block in blocks(&text) {
            if block.is_rule_file() && block.comments("error").is_empty() {
                let loaded = load_block(&block);
                match &mut replay {
                    Some(replay) if block.text.starts_with(GOES_ON) => replay.put_rules(&loaded),
                    _ => replay = Some(Replay::of(&loaded)),
                }
            }
            let (Some(replay), true) = (&replay, block.language == "text") else { continue };
            let place = format!("docs/{name}.md:{}", block.line);
            if block.text.starts_with("at ") {
                let (count, differences) = replay.table(&block.text);
                lines += count;
                wrong.extend(differences.into_iter().map(|line| format!("{place}: {line}")));
            } else if block.text.starts_with("fluxlimit_") {
                let missing = replay.missing_metrics(&block.text);
                wrong.extend(missing.into_iter().map(|line| format!("{place}: no {line}")));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(lines > 50, "only {lines} lines");
}
