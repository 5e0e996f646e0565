//! Notes: small texts that all nodes share, written by compare-and-set.

use ganger::broker::{Note, Noted};

use super::fixture::{EPOCH, Fixture, queue};
use super::on_every_broker;

on_every_broker! {
    a_note_is_written_only_over_what_its_writer_saw
    notes_belong_to_no_epoch
    of_two_writers_one_comes_first
}

fn note(name: &str, version: u64, text: &str) -> Note {
    Note { name: name.to_owned(), version, text: text.to_owned() }
}

fn version(noted: Noted) -> u64 {
    match noted {
        Noted::Written(version) => version,
        Noted::Differs(found) => panic!("{found:?} stands there"),
    }
}

async fn a_note_is_written_only_over_what_its_writer_saw(f: Fixture) {
    assert_eq!(f.broker.notes().await.unwrap(), []);
    let unseen = f.broker.write_note("http:x:80", Some(7), "late").await.unwrap();
    assert_eq!(unseen, Noted::Differs(None));
    let first = version(f.broker.write_note("http:x:80", None, r#"{"a":"1;2"}"#).await.unwrap());
    let other = version(f.broker.write_note("db", None, "").await.unwrap());
    let again = f.broker.write_note("http:x:80", None, "late").await.unwrap();
    assert_eq!(again, Noted::Differs(Some(note("http:x:80", first, r#"{"a":"1;2"}"#))));
    let second = version(f.broker.write_note("http:x:80", Some(first), "é;").await.unwrap());
    assert!(second > first);
    let late = f.broker.write_note("http:x:80", Some(first), "late").await.unwrap();
    assert_eq!(late, Noted::Differs(Some(note("http:x:80", second, "é;"))));
    assert_eq!(f.broker.notes().await.unwrap(), [note("db", other, ""), note("http:x:80", second, "é;")]);
}

async fn notes_belong_to_no_epoch(f: Fixture) {
    let first = version(f.broker.write_note("db", None, "open").await.unwrap());
    f.broker.reset("ledger-1", EPOCH + 1, &[queue()]).await.unwrap();
    let second = version(f.broker.write_note("db", Some(first), "closed").await.unwrap());
    f.broker.adopt(EPOCH + 1);
    assert_eq!(f.broker.notes().await.unwrap(), [note("db", second, "closed")]);
}

async fn of_two_writers_one_comes_first(f: Fixture) {
    let mut seen = None;
    for round in 0..20 {
        let (one, other) = (format!("{round} one"), format!("{round} other"));
        let (one, other) = tokio::join!(f.broker.write_note("db", seen, &one), f.broker.write_note("db", seen, &other));
        let written = [one.unwrap(), other.unwrap()];
        let winners: Vec<u64> = written
            .iter()
            .filter_map(|noted| if let Noted::Written(version) = noted { Some(*version) } else { None })
            .collect();
        assert_eq!(winners.len(), 1, "{written:?}");
        assert!(Some(winners[0]) > seen);
        seen = Some(winners[0]);
    }
}
