//! `ganger verify-history` as an operator runs it.

use std::io::Write as _;
use std::process::{Command, Output, Stdio};

use ganger::history::Outcome;
use serde_json::Value;

use crate::tale::{Tale, tale};

fn text(tale: &Tale) -> String {
    tale.events.iter().map(|event| serde_json::to_string(event).unwrap() + "\n").collect()
}

fn verify(arguments: &[&str], input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_ganger"))
        .arg("verify-history")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It may refuse its arguments without reading.
    child.stdin.take().unwrap().write_all(input.as_bytes()).ok();
    child.wait_with_output().unwrap()
}

#[test]
fn a_verdict_is_told_by_status_and_words() {
    let mut good = tale();
    good.accepted(0, "a").ran(10, "a", 1, 1, Outcome::Succeeded).drained(900).read(1_000, "a", "succeeded");
    let output = verify(&["-"], &text(&good));
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stdout).contains("accepted"), "{output:?}");
    let mut bad = tale();
    bad.accepted(0, "a").ran(10, "a", 1, 1, Outcome::Succeeded).drained(900).read(1_000, "a", "failed");
    let output = verify(&["-", "-o", "json"], &text(&bad));
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let verdict: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&verdict["sound"], &verdict["summary"]["accepted"]), (&Value::Bool(false), &Value::from(1)));
    let violation = &verdict["violations"][0];
    assert_eq!((&violation["invariant"], &violation["job"]), (&Value::from("I1"), &Value::from("a")));
    assert_eq!(violation["seen"], serde_json::json!(["-:2", "-:7"]));
    let output = verify(&["-"], &text(&bad));
    assert!(String::from_utf8_lossy(&output.stdout).contains("it failed, and no run did"), "{output:?}");
}

#[test]
fn several_files_are_one_history() {
    let folder = tempfile::tempdir().unwrap();
    let mut submits = tale();
    submits.accepted(0, "a");
    let mut runs = tale();
    runs.ran(10, "a", 1, 1, Outcome::Succeeded).drained(900).read(1_000, "a", "succeeded");
    let mut names = Vec::new();
    for (name, tale) in [("submits", submits), ("runs", runs)] {
        let path = folder.path().join(name).display().to_string();
        std::fs::write(&path, text(&tale)).unwrap();
        names.push(path);
    }
    assert_eq!(verify(&[&names[0], &names[1]], "").status.code(), Some(0));
    assert_eq!(verify(&[&names[1]], "").status.code(), Some(1), "nobody has submitted it");
}

#[test]
fn what_is_no_history_is_wrong_usage() {
    let output = verify(&["-"], "nonsense\n");
    assert_eq!(output.status.code(), Some(2));
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(words.contains("-:1 is no history") && words.contains("docs/HISTORY.md"), "{words}");
    assert_eq!(verify(&["/nowhere/at/all"], "").status.code(), Some(2));
    assert_eq!(verify(&[], "").status.code(), Some(2));
}
