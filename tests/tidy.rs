//! The style is a test: floors, words, files that nobody loads, documents that lie.
//!
//! Every rule is a function over text, tried on a bad snippet first.
#![allow(
    clippy::pedantic,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "tests fail by panicking"
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Files below `folder` with this ending, as path from the root and text.
fn files(folder: &str, ending: &str) -> Vec<(String, String)> {
    fn walk(folder: &Path, ending: &str, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            let name = entry.file_name().to_string_lossy().into_owned();
            if path.is_dir() && name != "target" && !name.starts_with('.') {
                walk(&path, ending, found);
            } else if name.ends_with(ending) {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    walk(&root().join(folder), ending, &mut found);
    found.sort();
    let relative = |path: &PathBuf| path.strip_prefix(root()).unwrap().to_string_lossy().into_owned();
    found.iter().map(|path| (relative(path), fs::read_to_string(path).unwrap())).collect()
}

/// Code without its comments and unit tests.
fn code(text: &str) -> String {
    let product = text.split("\n#[cfg(test)]\n").next().unwrap_or(text);
    let lines = product.lines().filter(|line| !line.trim_start().starts_with("//"));
    lines.collect::<Vec<_>>().join("\n")
}

// === Floors (design: imports point down only) ===

/// The floor of a module path such as `broker::redis::keys`.
fn floor(path: &str) -> u8 {
    let mut parts = path.split("::");
    let (top, below) = (parts.next().unwrap_or(""), parts.next().unwrap_or(""));
    match (top, below) {
        ("chance" | "clock" | "job" | "mutant" | "operations", _) => 0,
        // A program of its own: it stands on nothing, and only the command line starts it.
        ("platform", _) => 0,
        ("history" | "policy" | "telemetry", _) => 1,
        ("broker", "memory" | "redis") => 3,
        ("ledger", "postgres" | "sqlite") => 3,
        ("handler", "http" | "command" | "builtin" | "mcp") => 3,
        ("service" | "host" | "broker" | "ledger" | "handler", _) => 2,
        ("engine", _) => 4,
        ("http", _) => 5,
        ("config" | "app", _) => 6,
        ("cli" | "main", _) => 7,
        other => panic!("module {other:?} has no floor: give it one"),
    }
}

/// The part of the tree that a module belongs to; files of one part may use each other.
fn part(path: &str) -> String {
    let parts: Vec<&str> = path.split("::").collect();
    if floor(path) == 3 { parts[..2].join("::") } else { parts[0].to_owned() }
}

/// Sideways uses that are part of the plan.
const SIDEWAYS: &[(&str, &str)] =
    &[("job", "clock"), ("operations", "clock"), ("operations", "job"), ("telemetry", "policy"), ("app", "config")];

/// The `crate::` paths that a text uses, two steps deep.
fn uses(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, _) in text.match_indices("crate::") {
        let rest = &text[at + "crate::".len()..];
        if let Some(group) = rest.strip_prefix('{') {
            let inner = group.split('}').next().unwrap_or("");
            found.extend(inner.split(',').map(|one| one.trim().to_owned()));
            continue;
        }
        let path: String = rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_' || *c == ':').collect();
        let mut steps: Vec<&str> = path.split("::").filter(|step| !step.is_empty()).collect();
        let opened = rest[path.len()..].strip_prefix('{').map(|group| group.split('}').next().unwrap_or(""));
        if let (1, Some(inner)) = (steps.len(), opened) {
            found.extend(inner.split(',').map(|one| format!("{}::{}", steps[0], one.trim())));
            continue;
        }
        steps.truncate(2);
        found.push(steps.join("::"));
    }
    found.retain(|path| path.chars().next().is_some_and(|c| c.is_lowercase()));
    found
}

/// What is wrong with the imports of one file.
fn wrong_imports(module: &str, text: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    for used in uses(&code(text)) {
        let sideways = SIDEWAYS.contains(&(part(module).as_str(), part(&used).as_str()));
        let own_adapters = floor(module) == 2 && used.starts_with(&format!("{module}::"));
        if part(module) == part(&used) || sideways || own_adapters {
            continue;
        }
        if floor(&used) >= floor(module) || (part(&used) == "platform" && part(module) != "cli") {
            wrong.push(format!("{module} (floor {}) uses {used} (floor {})", floor(module), floor(&used)));
        }
        if floor(&used) == 3 && part(module) != "app" {
            wrong.push(format!("{module} names the adapter {used}; only app/ does"));
        }
    }
    wrong
}

fn module_of(file: &str) -> String {
    let path = file.trim_start_matches("src/").trim_end_matches(".rs").replace('/', "::");
    path.trim_end_matches("::mod").to_owned()
}

#[test]
fn a_bad_import_is_found() {
    assert_eq!(wrong_imports("job::state", "use crate::engine::Engine;").len(), 1);
    assert_eq!(wrong_imports("engine::pool", "use crate::broker::redis::RedisBroker;").len(), 1);
    assert_eq!(wrong_imports("engine::pool", "use crate::ledger::{sqlite, Ledger};").len(), 1);
    assert_eq!(wrong_imports("broker::memory", "use crate::broker::redis::X;").len(), 2);
    assert_eq!(wrong_imports("platform::tools", "use crate::job::JobId;").len(), 1);
    assert_eq!(wrong_imports("engine::pool", "use crate::platform::Context;").len(), 1);
    assert!(wrong_imports("app::adapters", "use crate::broker::redis::RedisBroker;").is_empty());
    assert!(wrong_imports("engine::pool", "use crate::broker::{Claim, Broker};").is_empty());
    assert!(wrong_imports("cli::serve", "use crate::{app, config};").is_empty());
}

#[test]
fn imports_point_down_only() {
    let sources = files("src", ".rs");
    let wrong: Vec<String> = sources
        .iter()
        .filter(|(file, _)| file != "src/lib.rs")
        .flat_map(|(file, text)| wrong_imports(&module_of(file), text))
        .collect();
    assert!(wrong.is_empty(), "imports that point up or sideways:\n{}", wrong.join("\n"));
}

#[test]
fn vocabulary_and_policies_are_pure() {
    for folder in ["src/job", "src/operations", "src/policy", "src/history"] {
        for (file, text) in files(folder, ".rs") {
            for word in
                ["async ", ".await", "tokio::", "SystemTime", "Instant", "rand::", "std::fs", "std::net", "std::env"]
            {
                assert!(!code(&text).contains(word), "{file} has `{word}`: time and chance are arguments here");
            }
        }
    }
}

// === Words ===

#[test]
fn nothing_is_left_over() {
    let marks = ["TODO", "FIXME", "XXX", "todo!(", "unimplemented!(", "#[ignore"];
    for (file, text) in ["src", "tests", "examples", "scripts"]
        .iter()
        .flat_map(|folder| [".rs", ".lua", ".sql", ".sh", ".toml"].iter().flat_map(move |ending| files(folder, ending)))
    {
        if file == "tests/tidy.rs" {
            continue;
        }
        for mark in marks {
            assert!(!text.contains(mark), "{file} has {mark:?}");
        }
    }
}

// === Statements and scripts ===

#[test]
fn every_statement_and_script_has_a_header_and_is_loaded_once() {
    let sources: String = files("src", ".rs").into_iter().map(|(_, text)| text).collect();
    let loads: BTreeMap<String, usize> = ["src", "migrations"]
        .iter()
        .flat_map(|folder| files(folder, ".sql").into_iter().chain(files(folder, ".lua")))
        .map(|(file, text)| {
            let comment = if file.ends_with(".sql") || file.ends_with(".lua") { "--" } else { "//" };
            let head = text.lines().find(|line| !line.starts_with("#!")).unwrap_or("");
            assert!(head.starts_with(comment), "{file} does not say what it does");
            (file, text)
        })
        .map(|(file, _)| {
            let path = Path::new(&file);
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            let folder = path.parent().unwrap().file_name().unwrap().to_string_lossy().into_owned();
            let named = sources.matches(&format!("{folder}/{name}\"")).count();
            let stem = format!("\"{}\"", name.rsplit_once('.').unwrap().0);
            (file, named + sources.matches(&stem).count())
        })
        .collect();
    let unloaded: Vec<_> = loads.iter().filter(|(_, count)| **count == 0).map(|(file, _)| file).collect();
    assert!(unloaded.is_empty(), "nobody loads {unloaded:?}");
}

// === Mutants ===

/// One build that is broken on purpose.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Mutant {
    breaks: String,
    matters: String,
    caught_by: Vec<String>,
    #[serde(default)]
    texts: Vec<[String; 3]>,
}

fn mutants() -> BTreeMap<String, Mutant> {
    toml::from_str(&fs::read_to_string(root().join("tests/mutants.toml")).unwrap()).unwrap()
}

/// The mutants that a text has sites of.
fn sites(text: &str) -> Vec<String> {
    let named = |(at, call): (usize, &str)| {
        let name: String = text[at + call.len()..].chars().take_while(|c| c.is_lowercase() || *c == '_').collect();
        (!name.is_empty()).then_some(name)
    };
    text.match_indices("mutant!(").filter_map(named).collect()
}

#[test]
fn every_mutant_has_its_site_its_reason_and_its_tests() {
    assert_eq!(sites("a < b || mutant!(one); mutant!(two => { go(); }); mutant!($name)"), ["one", "two"]);
    let (mutants, sources) = (mutants(), files("src", ".rs"));
    let used: Vec<String> = sources.iter().flat_map(|(_, text)| sites(&code(text))).collect();
    let unlisted: Vec<_> = used.iter().filter(|name| !mutants.contains_key(*name)).collect();
    assert!(unlisted.is_empty(), "tests/mutants.toml does not list {unlisted:?}");
    let tests: String = sources.iter().chain(&files("tests", ".rs")).map(|(_, text)| text.as_str()).collect();
    for (name, Mutant { breaks, matters, caught_by, texts }) in &mutants {
        assert!(used.contains(name) || !texts.is_empty(), "{name} breaks nothing: no `mutant!({name})`, no texts");
        assert!(
            breaks.ends_with('.') && matters.ends_with('.'),
            "{name} does not say what it breaks and why it matters"
        );
        assert!(!caught_by.is_empty(), "{name} names no test that catches it");
        for test in caught_by {
            let function = test.rsplit("::").next().unwrap();
            assert!(tests.contains(&format!("fn {function}(")), "{name} names a test that is not there: {test}");
        }
        for [file, piece, instead] in texts {
            let text = fs::read_to_string(root().join(file)).unwrap_or_else(|error| panic!("{name}: {file}: {error}"));
            assert_eq!(text.matches(piece.as_str()).count(), 1, "{name}: {file} has not exactly one {piece:?}");
            assert_ne!(piece, instead, "{name} changes nothing in {file}");
            let path: Vec<&str> = file.rsplitn(4, '/').collect();
            let ends = [format!("{}/{}", path[1], path[0]), format!("{}/{}/{}", path[2], path[1], path[0])];
            let loaded =
                sources.iter().any(|(_, text)| ends.iter().any(|end| text.contains(&format!("source!(\"{end}\")"))));
            assert!(loaded, "{name}: {file} is not loaded with `source!`");
        }
    }
}

#[test]
#[cfg(not(ganger_mutants))]
fn nothing_of_a_mutant_is_in_the_program() {
    let program = fs::read(env!("CARGO_BIN_EXE_ganger")).unwrap();
    let program = String::from_utf8_lossy(&program);
    let has = |text: &str| program.contains(text);
    assert!(has("listening on"), "the texts of the program can be found in it");
    // A few stand for all: each search reads the whole program.
    for name in ["GANGER_MUTANT", "no_fence_check", "settle_before_commit", "plain_del_lock"] {
        assert!(!has(name), "the program has {name} in it");
    }
}

// === Documents ===

/// Relative links of a Markdown text.
fn links(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, _) in text.match_indices("](") {
        let target = text[at + 2..].split([')', '#', ' ']).next().unwrap_or("");
        if !target.is_empty() && !target.contains("://") {
            found.push(target.to_owned());
        }
    }
    found
}

#[test]
fn documents_have_one_title_and_no_dead_links() {
    assert_eq!(links("see [a](docs/A.md#x) and [b](https://example.org)"), ["docs/A.md"]);
    for (file, text) in files("", ".md") {
        let mut fenced = false;
        let mut titles = 0;
        for line in text.lines() {
            fenced ^= line.trim_start().starts_with("```");
            titles += usize::from(!fenced && line.starts_with("# "));
        }
        assert_eq!(titles, 1, "{file} has {titles} titles");
        for link in links(&text) {
            let target = root().join(&file).parent().unwrap().join(&link);
            assert!(target.exists(), "{file} links to {link}, which is not there");
        }
    }
}

#[test]
fn every_decision_is_listed() {
    let index = fs::read_to_string(root().join("docs/adr/README.md")).unwrap();
    for (file, _) in files("docs/adr", ".md") {
        let name = file.rsplit('/').next().unwrap().to_owned();
        assert!(name == "README.md" || index.contains(&name), "docs/adr/README.md does not list {name}");
    }
}

/// Tests that a row of a table names, as `[name](../file)`.
fn tests_named(row: &str) -> Vec<(&str, &str)> {
    let named = row.split('[').skip(1).filter_map(|rest| rest.split_once("](../"));
    named.filter_map(|(name, rest)| Some((name, rest.split_once(')')?.0))).collect()
}

#[test]
fn every_guarantee_names_a_test_that_is_there() {
    assert_eq!(tests_named("| a | [b](../c.rs), [d](../e.rs) |"), [("b", "c.rs"), ("d", "e.rs")]);
    let text = std::fs::read_to_string(root().join("docs/GUARANTEES.md")).unwrap();
    let is_row = |line: &&str| line.starts_with('|') && !line.starts_with("|---") && !line.ends_with("| Shown by |");
    let rows: Vec<&str> = text.lines().filter(is_row).collect();
    assert!(rows.len() > 20, "{} rows", rows.len());
    for row in rows {
        let named = tests_named(row);
        assert!(!named.is_empty(), "no test is named: {row}");
        for (name, file) in named {
            let source = std::fs::read_to_string(root().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
            assert!(source.contains(&format!("fn {name}(")), "{file} has no test {name}");
        }
    }
}

#[test]
fn every_metric_is_documented() {
    let text = fs::read_to_string(root().join("docs/METRICS.md")).unwrap();
    for known in ganger::telemetry::metrics::CATALOG {
        let row = format!("| `{}` | {:?} | {} | {} |", known.name, known.kind, known.labels, known.help).to_lowercase();
        assert!(text.to_lowercase().contains(&row), "docs/METRICS.md lacks or misstates:\n{row}");
    }
}

#[test]
fn every_state_is_in_the_picture() {
    let text = fs::read_to_string(root().join("docs/STATES.md")).unwrap();
    for state in ganger::job::State::ALL {
        for event in ganger::job::Event::ALL {
            if let Ok(after) = ganger::job::next(state, event) {
                let edge = format!("{state} --> {after}");
                assert!(text.contains(&edge), "docs/STATES.md lacks the edge `{edge}`");
            }
        }
    }
}
