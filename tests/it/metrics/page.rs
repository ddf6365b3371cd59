//! `docs/metrics.md` has exactly what servers show: names, types and labels.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use fluxlimit::engine::Miss;
use fluxlimit::store::StoreError;

use super::fleet::Fleet;
use crate::support::eventually;

/// A metric as the page has it, or as servers show it: its type and its labels.
type Shown = BTreeMap<String, (String, BTreeSet<String>)>;

/// The tables that only servers with some store have something of, by the line before the table.
const ON_MEMORY: &str = "With the memory store:";
const ON_SHARED: &str = "With Redis and Postgres:";
const ON_REDIS: &str = "With Redis:";

pub(super) fn text() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/metrics.md")).expect("it is there")
}

/// The rows of the tables below a line that `wanted` picks.
fn rows(page: &str, wanted: impl Fn(&str) -> bool) -> Shown {
    let mut before = "";
    let mut rows = Shown::new();
    for line in page.lines() {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        if !line.starts_with('|') {
            before = if line.is_empty() { before } else { line };
        } else if let [name, kind @ ("counter" | "gauge" | "histogram"), labels, _] = cells[..]
            && wanted(before)
        {
            let named = labels.split(':').next().unwrap_or_default().split('`').skip(1).step_by(2);
            let labels = named.map(str::to_owned).collect();
            let name = name.trim_matches('`').to_owned();
            assert!(rows.insert(name.clone(), (kind.to_owned(), labels)).is_none(), "{name} is there twice");
        }
    }
    rows
}

/// Adds what a server's page shows.
fn add(shown: &mut Shown, page: &str) {
    let mut current = String::new();
    for line in page.lines() {
        if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|line| line.split_once(' ')) {
            name.clone_into(&mut current);
            shown.entry(current.clone()).or_insert((kind.to_owned(), BTreeSet::new()));
        } else if !line.starts_with('#') {
            assert!(line.starts_with(&current), "{line} is not of {current}");
            let (_, labels) = shown.get_mut(&current).expect("its type comes first");
            labels.extend(labels_of(line).into_iter().filter(|label| label != "le"));
        }
    }
}

/// The names of the labels of a series. No value here has a quote in it.
fn labels_of(line: &str) -> Vec<String> {
    let Some((_, labels)) = line.split_once('{') else { return Vec::new() };
    let outside = labels.split('"').step_by(2);
    let name = |text: &str| text.trim_start_matches(',').strip_suffix('=').map(str::to_owned);
    outside.filter_map(name).collect()
}

/// What all servers show, once there is no more to come.
async fn shown_by_all(fleet: &Fleet, wanted: &Shown) -> [Shown; 4] {
    fleet.ask().await;
    let mut pages = [const { Shown::new() }; 4];
    // The first exchange of a store that is not there may still be under way.
    let complete = async || {
        for (server, shown) in fleet.servers().into_iter().zip(&mut pages) {
            add(shown, &server.page("/metrics").await.body);
        }
        let names: BTreeSet<_> = pages.iter().flat_map(Shown::keys).collect();
        let missing = wanted.keys().find(|name| !names.contains(name));
        missing.is_none().then(|| pages.clone())
    };
    eventually("every metric of the page", complete).await
}

#[tokio::test]
async fn the_page_has_what_servers_show_on_every_store_and_nothing_else() {
    let page = text();
    let all = rows(&page, |_| true);
    assert!(all.len() > 50, "{}", all.len());
    let fleet = Fleet::start().await;
    let [memory, redis, postgres, lost] = shown_by_all(&fleet, &all).await;
    let mut together = Shown::new();
    for shown in [&memory, &redis, &postgres, &lost] {
        for (name, (kind, labels)) in shown {
            let (known, of_all) = together.entry(name.clone()).or_insert((kind.clone(), BTreeSet::new()));
            assert_eq!(known, kind, "{name}");
            of_all.extend(labels.iter().cloned());
        }
    }
    for (name, row) in &all {
        assert_eq!(Some(row), together.get(name), "{name}: the page has the left");
    }
    let unknown: Vec<_> = together.keys().filter(|name| !all.contains_key(*name)).collect();
    assert!(unknown.is_empty(), "not on the page: {unknown:?}");
    let stores = [ON_MEMORY, ON_SHARED, ON_REDIS];
    for (shown, tables) in [(&memory, &stores[..1]), (&redis, &stores[1..]), (&postgres, &stores[1..2])] {
        let of_store = rows(&page, |table| stores.contains(&table));
        let expected = rows(&page, |table| tables.contains(&table));
        let found: Vec<_> = of_store.keys().filter(|name| shown.contains_key(*name)).collect();
        assert_eq!(found, expected.keys().collect::<Vec<_>>(), "{tables:?}");
    }
}

#[test]
fn the_page_names_every_reason_and_every_kind_of_failure() {
    let page = text();
    for miss in Miss::ALL {
        assert!(page.contains(&format!("\n| `{}` |", miss.name())), "{miss:?}");
    }
    let kinds = StoreError::KINDS.map(|kind| format!("`{kind}`")).join(", ");
    assert!(page.contains(&format!("`kind`: {kinds} |")), "{kinds}");
}

#[test]
fn labels_are_read_from_series_with_any_value() {
    assert_eq!(labels_of("a_total{domain=\"d\",rule=\"k=v, x > y\"} 1"), ["domain", "rule"]);
    assert_eq!(labels_of("a 1"), [""; 0]);
}
