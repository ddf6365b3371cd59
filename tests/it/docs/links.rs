//! Links inside the repository lead somewhere.

use std::fs;
use std::path::Path;

use super::{pages, root};

/// The targets of `[text](target)` and of `<img src="target">`.
fn targets(page: &str) -> impl Iterator<Item = &str> {
    let links = page.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    links.chain(page.split("src=\"").skip(1).filter_map(|rest| rest.split('"').next()))
}

/// The name by which a heading is linked to, as the usual renderers make it.
fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}

fn has_anchor(page: &Path, wanted: &str) -> bool {
    let text = fs::read_to_string(page).expect("it exists");
    let headings = text.lines().filter(|line| line.starts_with('#'));
    let mut anchors = headings.map(|line| anchor(line.trim_start_matches('#').trim()));
    anchors.any(|anchor| anchor == wanted)
}

#[test]
fn links_inside_the_repository_lead_somewhere() {
    let mut broken = Vec::new();
    let mut followed = 0;
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        for target in targets(&text).filter(|target| !target.contains("://")) {
            let (path, wanted) = target.split_once('#').unwrap_or((target, ""));
            let directory = page.parent().expect("a file stands in a directory");
            let linked = if path.is_empty() { page.clone() } else { directory.join(path) };
            let is_found =
                linked.exists() && (wanted.is_empty() || linked.is_dir() || has_anchor(&linked, wanted));
            followed += 1;
            if !is_found {
                broken.push(format!("{}: {target}", page.strip_prefix(root()).unwrap().display()));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
    assert!(followed > 10, "only {followed} links");
}

#[test]
fn headings_are_linked_to_as_renderers_do() {
    assert_eq!(anchor("Several limits: `rate_limit` as a list"), "several-limits-rate_limit-as-a-list");
}
