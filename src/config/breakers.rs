//! `[breakers]` and `[retry_budget]`.

use crate::policy::breaker::Rules;
use crate::policy::budget::BudgetRules;

use super::DURATION_MS_MAX;
use super::catalog::classes;
use super::clash::clash;
use super::reader::Section;

/// More probes at once than this are no probes.
const PROBES_MAX: u64 = 3;
/// Openings that grow faster than this reach their maximum with the second one.
const MULTIPLIER_MAX: f64 = 10.0;

pub(super) fn breakers(section: &Section<'_>) -> Rules {
    let ms = |key: &str, min: u64| i64::try_from(section.integer(key, min, DURATION_MS_MAX)).unwrap_or(i64::MAX);
    let slow_call_ms = ms("slow_call_ms", 0);
    let read = Rules {
        failures: u32::try_from(section.integer("failures", 1, 1_000_000)).unwrap_or(u32::MAX),
        open_ms: ms("open_ms", 1),
        open_multiplier: section.number("open_multiplier", 0.0, MULTIPLIER_MAX),
        open_ms_max: ms("open_ms_max", 1),
        forgive_ms: ms("forgive_ms", 0),
        probes: u32::try_from(section.integer("probes", 1, PROBES_MAX)).unwrap_or(1),
        probe_ms_max: ms("probe_ms_max", 1),
        slow_start_ms: ms("slow_start_ms", 0),
        slow_call_ms: (slow_call_ms > 0).then_some(slow_call_ms),
        slow_call_share: section.number("slow_call_share", 0.0, 1.0),
        errors: classes(section, "errors"),
    };
    if read.open_multiplier < 1.0 && section.is_sound(&["open_multiplier"]) {
        section.problem("open_multiplier", format!("is {}; below 1 openings would shrink", read.open_multiplier));
    }
    if read.open_ms > read.open_ms_max {
        let (first, most) = (section.says("open_ms", read.open_ms), section.says("open_ms_max", read.open_ms_max));
        clash(&first, ["above", "below"], &most, "");
    }
    if read.errors.is_empty() && section.is_sound(&["errors"]) {
        section.problem("errors", "is empty: no failure would ever open a breaker");
    }
    section.finish();
    read
}

pub(super) fn retry_budget(section: &Section<'_>) -> BudgetRules {
    let read = BudgetRules {
        share: section.number("share", 0.0, 1.0),
        floor: u32::try_from(section.integer("floor", 0, 1_000_000)).unwrap_or(u32::MAX),
    };
    section.finish();
    read
}

#[cfg(test)]
mod tests {
    use crate::config::{Config, ConfigErrors, ConfigFile, Sources};
    use crate::policy::breaker::Rules;
    use crate::policy::budget::BudgetRules;

    fn load(text: &str) -> Result<Config, ConfigErrors> {
        let file = ConfigFile::Text { name: "test.toml".into(), text: text.into() };
        Config::load(&Sources { files: vec![file], ..Sources::default() })
    }

    #[test]
    fn the_default_file_says_what_the_rules_are_by_default() {
        let config = load("").unwrap();
        assert_eq!((config.breakers, config.retry_budget), (Rules::default(), BudgetRules::default()));
    }

    #[test]
    fn absurd_numbers_are_told_with_their_key() {
        for (text, key, bound) in [
            ("breakers.failures = 0", "breakers.failures", "from 1"),
            ("breakers.open_ms = -1", "breakers.open_ms", "from 1"),
            ("breakers.open_ms = 700000", "breakers.open_ms", "above `open_ms_max` = 600000"),
            ("breakers.open_ms_max = 700", "breakers.open_ms_max", "is 700, below `open_ms` = 60000 (a default)"),
            ("breakers.open_multiplier = 0.5", "breakers.open_multiplier", "would shrink"),
            ("breakers.open_multiplier = 11", "breakers.open_multiplier", "at most 10"),
            ("breakers.probes = 4", "breakers.probes", "from 1 to 3"),
            ("breakers.probe_ms_max = 0", "breakers.probe_ms_max", "from 1"),
            ("breakers.slow_start_ms = 'soon'", "breakers.slow_start_ms", "a whole number"),
            ("breakers.slow_call_share = 1.5", "breakers.slow_call_share", "at most 1"),
            ("breakers.errors = []", "breakers.errors", "is empty"),
            ("breakers.errors = ['no class']", "breakers.errors", "cannot be an error class"),
            ("breakers.open_s = 60", "breakers.open_s", ""),
            ("retry_budget.share = -0.1", "retry_budget.share", "above 0"),
            ("retry_budget.floor = -1", "retry_budget.floor", "from 0"),
        ] {
            let told = load(text).unwrap_err().to_string();
            assert!(told.starts_with(key) && told.contains(bound), "{text}: {told}");
            assert_eq!(told.lines().count(), 1, "{text}: {told}");
        }
    }
}
