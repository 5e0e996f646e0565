//! `[measures]`: what counts as which business measure, and for how long.

use std::collections::BTreeSet;

use crate::job::TypeName;
use crate::policy::measures::{Rules, SERIES};

use super::reader::Section;

/// More labels than this nobody reads, and every one of them is a row a minute.
const LABELS_MAX: u64 = 1_000;
/// The longest window, in seconds: tallies are kept that long, minute by minute.
const WINDOW_S_MAX: u64 = 86_400;
/// No scale needs more.
const SCORE_MAX: f64 = 1_000_000.0;

pub(super) fn read(section: &Section<'_>) -> Rules {
    let windows = section.table("window_s");
    let windows_min = SERIES
        .map(|series| if series.window_is_fixed { series.window_min } else { whole_minutes(&windows, series.name) });
    windows.finish();
    let (score_min, score_max) =
        (section.number_from_zero("score_min", SCORE_MAX), section.number("score_max", 0.0, SCORE_MAX));
    if score_min >= score_max && section.is_sound(&["score_min", "score_max"]) {
        section.problem("score_max", format!("is {score_max}; expected above `score_min` = {score_min}"));
    }
    let read = Rules {
        windows_min,
        labels_max: usize::try_from(section.integer("labels_max", 1, LABELS_MAX)).unwrap_or(1),
        test_types: types(section, "test_types"),
        environment_label: section.essential_text("environment_label", "the name of a label"),
        review_types: types(section, "review_types"),
        score: (score_min, score_max),
    };
    section.finish();
    read
}

/// A window in whole minutes.
fn whole_minutes(windows: &Section<'_>, name: &str) -> i64 {
    let seconds = windows.integer(name, 60, WINDOW_S_MAX);
    if !seconds.is_multiple_of(60) {
        windows.problem(name, format!("is {seconds}; expected whole minutes, such as {}", seconds / 60 * 60));
    }
    i64::try_from(seconds / 60).unwrap_or(1)
}

/// Names of job types. One that is not configured counts nothing, so the runbook's names may stand where it is not used.
fn types(section: &Section<'_>, key: &str) -> BTreeSet<TypeName> {
    let mut types = BTreeSet::new();
    for name in section.texts(key) {
        match TypeName::new(&name) {
            Ok(name) => _ = types.insert(name),
            Err(error) => section.problem(key, format!("{name:?} {error}")),
        }
    }
    types
}

#[cfg(test)]
mod tests {
    use crate::config::{Config, ConfigErrors, ConfigFile, Sources};
    use crate::policy::measures::Rules;

    fn load(text: &str) -> Result<Config, ConfigErrors> {
        let file = ConfigFile::Text { name: "test.toml".into(), text: text.into() };
        Config::load(&Sources { files: vec![file], ..Sources::default() })
    }

    #[test]
    fn the_defaults_are_the_policys() {
        assert_eq!(load("").unwrap().measures, Rules::default());
    }

    #[test]
    fn windows_are_whole_minutes_of_at_most_a_day_and_the_days_own_is_no_key() {
        let read = load("[measures.window_s]\nheal_confidence = 7200\n").unwrap().measures;
        assert_eq!(read.windows_min[4], 120);
        for (text, words) in [
            ("[measures.window_s]\nheal_confidence = 90\n", "whole minutes, such as 60"),
            ("[measures.window_s]\nheal_confidence = 86460\n", "from 60 to 86400"),
            ("[measures.window_s]\nhealing_success_rate_24h = 60\n", "healing_success_rate_24h"),
            ("[measures]\nscore_min = 5\n", "above `score_min` = 5"),
            ("[measures]\nlabels_max = 0\n", "labels_max"),
            ("[measures]\ntest_types = [\"a b\"]\n", "\"a b\" has the character ' '"),
        ] {
            let problems = load(text).unwrap_err().to_string();
            assert!(problems.contains("measures") && problems.contains(words), "{text}: {problems}");
        }
    }
}
