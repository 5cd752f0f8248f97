//! Imports go down: which folder of the daemon may import from which.
#![allow(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by what they say"
)]

use std::fs;
use std::path::Path;

use regex::Regex;

/// Each folder, the highest first, with those that it may import besides itself and `text`.
const MAY_IMPORT: [(&str, &str); 14] = [
    (
        "main",
        "xcat cli daemon datapath api tables fleet nodes names tftp winpe sys",
    ),
    (
        "xcat",
        "cli daemon datapath api tables fleet nodes names tftp winpe sys",
    ),
    (
        "cli",
        "daemon datapath api tables fleet nodes names tftp winpe sys",
    ),
    (
        "daemon",
        "datapath api tables fleet nodes names tftp winpe sys",
    ),
    ("datapath", "api tables sys"),
    ("api", "tables fleet nodes names sys"),
    ("tables", "nodes names winpe sys"),
    ("fleet", "tables nodes names winpe sys"),
    ("nodes", "winpe sys"),
    ("names", "sys"),
    ("tftp", ""),
    ("winpe", "sys"),
    ("sys", ""),
    ("text", ""),
];

fn may_import(from: &str, to: &str) -> bool {
    let row = MAY_IMPORT.iter().find(|(folder, _)| *folder == from);
    let (_, below) = row.unwrap_or_else(|| panic!("{from} is not in the list of this test"));
    from == to || to == "text" || below.split(' ').any(|folder| folder == to)
}

/// What is wrong with an import, and where the imported thing should live instead.
fn fault(file: &str, from: &str, to: &str) -> String {
    let mut folders = MAY_IMPORT.iter().map(|(folder, _)| folder);
    let home = folders.find(|home| may_import(from, home) && may_import(to, home));
    format!(
        "{file}: {from} -> {to} is a new arrow, and it does not go down. Move what is needed there from \
         {to} into {}, or pass it as an argument.",
        home.unwrap_or(&"text")
    )
}

/// The faults of a file below `src/`.
fn faults(file: &str, text: &str) -> Vec<String> {
    let folder = file.split(['/', '.']).next().unwrap_or_default();
    let lines = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"));
    let code = lines.collect::<Vec<_>>().join("\n");
    let paths = Regex::new(r"\b(?:crate|proxydhcp)::(\{[^;]*\}|\w+)").unwrap();
    // The first word of each item: `{a, b::{c, d}}` has a and b.
    let nested = Regex::new(r"::(\{[^{}]*\}|\w+)").unwrap();
    let mut faults = Vec::new();
    for path in paths.captures_iter(&code) {
        let mut items = path[1].to_owned();
        while nested.is_match(&items) {
            items = nested.replace_all(&items, "").into_owned();
        }
        let items = items.split(|char: char| !char.is_alphanumeric() && char != '_');
        let upward = items.filter(|item| !item.is_empty() && !may_import(folder, item));
        faults.extend(upward.map(|item| fault(file, folder, item)));
    }
    if code.contains("super::super::") {
        faults.push(format!("{file}: write crate:: for super::super::"));
    }
    if code.contains("clap::") && folder != "cli" {
        faults.push(format!(
            "{file}: only cli/ knows clap; take plain values from there"
        ));
    }
    faults
}

fn check(folder: &Path, below: &str, found: &mut Vec<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = format!("{below}{}", path.file_name().unwrap().to_str().unwrap());
        if path.is_dir() {
            check(&path, &format!("{name}/"), found);
        } else if name != "lib.rs" {
            found.extend(faults(&name, &fs::read_to_string(&path).unwrap()));
        }
    }
}

#[test]
fn imports_go_down() {
    let mut found = Vec::new();
    check(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("src"),
        "",
        &mut found,
    );
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

#[test]
fn an_import_that_goes_up_is_told_with_a_better_home() {
    let text =
        "use crate::{api::{status, control}, sys};\n// crate::cli\nlet x = crate::names::f();";
    assert_eq!(faults("sys/file.rs", text).len(), 2);
    assert_eq!(faults("datapath/raw.rs", text).len(), 1);
    assert_eq!(faults("api/status/names.rs", text), [""; 0]);
    let [up] = &faults("tables/explain.rs", "use crate::api::status::waiting;")[..] else {
        panic!("one fault is expected")
    };
    assert!(
        up.contains("tables -> api") && up.contains("into tables"),
        "{up}"
    );
}
