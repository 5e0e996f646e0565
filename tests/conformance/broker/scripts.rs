//! The scripts' headers against the table of moves: a script may not take a move that the table does
//! not know, and every move that is the broker's to make is made by some script.

use std::collections::BTreeSet;
use std::path::Path;

use ganger::job::{Event, State, next};

/// No entry: the job is not in the broker, or not any more.
const ABSENT: &str = "absent";

fn headers() -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/broker/redis/lua");
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let scripts = files.filter(|path| path.extension().is_some_and(|ending| ending == "lua"));
    scripts
        .map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), std::fs::read_to_string(&path).unwrap()))
        .collect()
}

fn moves(text: &str) -> Vec<&str> {
    text.lines().filter_map(|line| line.strip_prefix("-- Move: ")).collect()
}

#[test]
fn every_script_has_its_header_in_order() {
    for (name, text) in headers() {
        let parts = [&format!("-- {name}\n"), "\n--\n-- Move: ", "\n-- Keys: ", "\n-- Args:\n", "\n-- Returns: "];
        let mut from = 0;
        for part in parts {
            let at = text[from..].find(part);
            from += at.unwrap_or_else(|| panic!("{name}: {part:?} is missing or out of order"));
        }
    }
}

#[test]
fn every_move_of_a_script_is_legal() {
    for (name, text) in headers() {
        let moves = moves(&text);
        assert!(!moves.is_empty(), "{name} declares no move");
        for step in moves.into_iter().filter(|&step| step != "-") {
            let (from, to) = step.split_once(" -> ").unwrap_or_else(|| panic!("{name}: {step}"));
            let state = |word: &str| State::from_name(word).unwrap_or_else(|| panic!("{name}: no state {word}"));
            if from == ABSENT || to == ABSENT {
                assert!(from != to && !state(if from == ABSENT { to } else { from }).is_at_rest(), "{name}: {step}");
                continue;
            }
            let is_legal = Event::ALL.iter().any(|&event| next(state(from), event) == Ok(state(to)));
            assert!(is_legal, "{name}: {step} is not in the table");
        }
    }
}

#[test]
fn every_move_of_the_broker_is_taken_by_a_script() {
    let headers = headers();
    let taken: BTreeSet<&str> = headers.iter().flat_map(|(_, text)| moves(text)).collect();
    let live = |state: &State| !state.is_at_rest();
    let mut owned = Vec::new();
    for from in State::ALL.into_iter().filter(live) {
        owned.extend(Event::ALL.iter().filter_map(|&event| next(from, event).ok()).filter(live).map(|to| (from, to)));
    }
    assert_eq!(owned.len(), 6, "the table has moves that nobody thought of here: {owned:?}");
    for (from, to) in owned {
        assert!(taken.contains(format!("{from} -> {to}").as_str()), "no script takes {from} -> {to}");
    }
}
