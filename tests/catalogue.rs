//! `CATALOGUE.md` names every test that proves a row of it, and no others;
//! `CREDENTIALS.md` names tests that there are.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// The row, the file, and the name of a test.
type Entry = (String, String, String);

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// The rows that a test's name begins with, among the ids of other kinds.
fn rows(name: &str) -> Vec<String> {
    let is_id = |part: &&str| {
        part.strip_prefix(['i', 'r', 't'])
            .is_some_and(|number| !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()))
    };
    name.split('_')
        .take_while(is_id)
        .filter(|id| id.starts_with('r'))
        .map(str::to_uppercase)
        .collect()
}

/// What is named on the page.
fn named() -> BTreeSet<Entry> {
    let mut row = String::new();
    let mut named = BTreeSet::new();
    for line in read("tests/CATALOGUE.md").lines() {
        if let Some(title) = line.strip_prefix("### ") {
            let next = title.split(' ').next().unwrap().to_owned();
            assert!(row < next, "{next} is after {row}");
            row = next;
        } else if let Some(tests) = line.strip_prefix("- `") {
            let mut quoted = tests.split('`').step_by(2);
            let file = quoted.next().unwrap();
            for test in quoted.filter(|test| !test.is_empty()) {
                named.insert((row.clone(), file.to_owned(), test.to_owned()));
            }
        }
    }
    named
}

/// Every function under `folder` whose name begins with the id of a row.
fn tests_in(folder: &str, found: &mut BTreeSet<Entry>) {
    for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)).unwrap() {
        let entry = entry.unwrap();
        let path = format!("{folder}/{}", entry.file_name().to_str().unwrap());
        if entry.file_type().unwrap().is_dir() {
            tests_in(&path, found);
        } else if entry.path().extension().is_some_and(|kind| kind == "rs") {
            for line in read(&path).lines() {
                let line = line.trim_start();
                let function = line.strip_prefix("async ").unwrap_or(line);
                let Some(function) = function.strip_prefix("fn ") else {
                    continue;
                };
                let name = function.split(['(', '<']).next().unwrap();
                for row in rows(name) {
                    found.insert((row, path.clone(), name.to_owned()));
                }
            }
        }
    }
}

#[test]
fn the_catalogue_names_the_tests_that_there_are() {
    let named = named();
    let mut found = BTreeSet::new();
    tests_in("tests", &mut found);
    tests_in("src", &mut found);
    assert!(found.len() > 100, "{}", found.len());
    let gone: Vec<_> = named.difference(&found).collect();
    assert!(gone.is_empty(), "named, but not there: {gone:#?}");
    let unnamed: Vec<_> = found.difference(&named).collect();
    assert!(unnamed.is_empty(), "there, but not named: {unnamed:#?}");
}

#[test]
fn the_tests_of_the_credentials_are_there() {
    let mut names = 0;
    for line in read("tests/CREDENTIALS.md").lines() {
        let mut code = String::new();
        for quoted in line.split('`').skip(1).step_by(2) {
            if line.starts_with("| ") && quoted.contains('/') {
                code = read(quoted);
            } else if line.starts_with("| ") {
                assert!(code.contains(&format!("fn {quoted}(")), "{quoted}");
                names += 1;
            }
        }
    }
    assert!(names > 100, "{names}");
}
