use super::*;
use proptest::prelude::*;

const MINUTE: i64 = 60_000;

fn at(minute: i64) -> Timestamp {
    Timestamp(minute * MINUTE + 1)
}

fn put(book: &mut Book, measure: Measure, label: &str, minute: i64, value: f64) {
    book.add((measure, label.to_owned(), minute), Sum { count: 1, total: value });
}

/// The value and the samples of a series, by label.
fn shown(book: &Book, name: &str, now: Timestamp) -> Vec<(String, Option<f64>, u64)> {
    let all = book.measured(&Rules::default(), now).into_iter().filter(|measured| measured.series.name == name);
    all.map(|m| (m.label.map(|(_, value)| value).unwrap_or_default(), m.value, m.samples)).collect()
}

#[test]
fn without_samples_there_is_no_value() {
    for measured in Book::default().measured(&Rules::default(), at(1_000_000)) {
        assert_eq!((measured.label, measured.value, measured.samples), (None, None, 0), "{}", measured.series.name);
    }
}

#[test]
fn a_window_is_so_many_minutes_and_no_more() {
    let mut book = Book::default();
    put(&mut book, Measure::Healing, "id_match", 100, 1.0);
    put(&mut book, Measure::Healing, "text_match", 100, 0.0);
    let both = |rate: Option<f64>, samples| vec![(String::new(), rate, samples)];
    assert_eq!(shown(&book, "heal_success_rate", at(104)), both(Some(0.5), 2));
    assert_eq!(shown(&book, "heal_success_rate", at(105)), both(None, 0));
    assert_eq!(shown(&book, "healing_success_rate_24h", at(100 + 1_439)), both(Some(0.5), 2));
    assert_eq!(shown(&book, "healing_success_rate_24h", at(100 + 1_440)), both(None, 0));
    let by_strategy = [("id_match".to_owned(), Some(1.0), 1), ("text_match".to_owned(), Some(0.0), 1)];
    assert_eq!(shown(&book, "element_healing_success_rate", at(104)), by_strategy);
    assert_eq!(shown(&book, "element_healing_success_rate", at(105)), both(None, 0));
}

#[test]
fn a_clock_that_is_wrong_does_not_count() {
    let mut book = Book::default();
    put(&mut book, Measure::Feedback, "f", 101, 5.0);
    put(&mut book, Measure::Feedback, "f", 100_000, 1.0);
    assert_eq!(shown(&book, "user_satisfaction_score", at(100)), [("f".to_owned(), Some(5.0), 1)]);
    book.forget_outlived(&Rules::default(), at(100));
    assert_eq!(book.len(), 1);
}

#[test]
fn what_no_window_looks_at_is_forgotten() {
    let mut book = Book::default();
    put(&mut book, Measure::Healing, "s", 100, 1.0);
    put(&mut book, Measure::CacheLookup, "l1", 100, 1.0);
    book.forget_outlived(&Rules::default(), at(104));
    assert_eq!(book.len(), 2);
    book.forget_outlived(&Rules::default(), at(105));
    assert_eq!(book.len(), 1, "the day of the healing is not over");
    book.forget_outlived(&Rules::default(), at(100 + 1_440));
    assert!(book.is_empty());
}

#[test]
fn labels_beyond_the_most_are_other() {
    let rules = Rules { labels_max: 2, ..Rules::default() };
    let mut book = Book::default();
    for label in ["b", "c", "d", "b", "a"] {
        let sample = Sample::of(Measure::CacheLookup, label, true);
        let label = book.admit(&rules, &sample);
        put(&mut book, Measure::CacheLookup, &label, 100, sample.value);
    }
    let labels: Vec<_> =
        book.measured(&rules, at(100)).into_iter().filter_map(|m| Some((m.label?.1, m.samples))).collect();
    assert_eq!(labels, [("b".to_owned(), 2), ("c".to_owned(), 1), (OTHER.to_owned(), 2)]);
    // Another node has admitted one more meanwhile: both show the same two.
    put(&mut book, Measure::CacheLookup, "a", 100, 1.0);
    let labels: Vec<_> = book.measured(&rules, at(100)).into_iter().filter_map(|m| Some(m.label?.1)).collect();
    assert_eq!(labels, ["a", "b", OTHER]);
    // Room is made when a label has left its window.
    book.forget_outlived(&rules, at(105));
    assert_eq!(book.admit(&rules, &Sample::of(Measure::CacheLookup, "z", true)), "z");
}

#[test]
fn sums_are_taken_out_piece_by_piece_and_none_twice() {
    let mut book = Book::default();
    for minute in 0..5 {
        put(&mut book, Measure::Healing, "a", minute, 1.0);
        put(&mut book, Measure::Feedback, "b", minute, 2.0);
    }
    let (mut back, mut sizes) = (Book::default(), Vec::new());
    let whole = book.clone();
    while !book.is_empty() {
        let taken = book.take(4);
        sizes.push(taken.len());
        for (key, sum) in taken {
            back.add(key, sum);
        }
    }
    assert_eq!(sizes, [4, 4, 2]);
    assert_eq!(back, whole);
}

proptest! {
    /// Two nodes count, write their sums down and read the other's: both show what one list of all samples gives.
    #[test]
    fn nodes_that_share_their_sums_agree(
        samples in prop::collection::vec((0..2_usize, 0..3_usize, 90..110_i64, any::<bool>()), 0..60),
    ) {
        let (mut nodes, mut ledger) = ([Book::default(), Book::default()], Book::default());
        for (node, label, minute, yes) in &samples {
            put(&mut nodes[*node], Measure::CacheLookup, ["l1", "l2", "l3"][*label], *minute, f64::from(u8::from(*yes)));
        }
        for node in &mut nodes {
            for (key, sum) in node.take(usize::MAX) {
                ledger.add(key, sum);
            }
        }
        let mut views = [Book::default(), Book::default()];
        for view in &mut views {
            view.add_since(0, &ledger);
        }
        let now = at(107);
        let told = views.map(|view| shown(&view, "element_repository_hit_rate", now));
        prop_assert_eq!(&told[0], &told[1]);
        for (label, value, count) in told[0].iter().filter(|(_, value, _)| value.is_some()) {
            let of = samples.iter().filter(|(_, at, minute, _)| {
                ["l1", "l2", "l3"][*at] == label && (103..=108).contains(minute)
            });
            let (all, hits) = of.fold((0_u32, 0_u32), |(all, hits), (.., yes)| (all + 1, hits + u32::from(*yes)));
            prop_assert_eq!(*count, u64::from(all));
            prop_assert_eq!(*value, Some(f64::from(hits) / f64::from(all)));
        }
    }
}
