//! `[incidents]`: how alerts become incidents, and how long these are kept.

use crate::policy::incidents::Rules;

use super::reader::Section;

/// The longest that an alert may be quiet or silent: a week, in seconds.
const SECONDS_MAX: u64 = 604_800;
/// A thousand days.
const DAYS_MAX: u64 = 1_000;
/// Ten million rows are some gigabytes.
const EVENTS_MAX: u64 = 10_000_000;

pub(super) fn read(section: &Section<'_>) -> Rules {
    let ms = |seconds: u64| i64::try_from(seconds.saturating_mul(1_000)).unwrap_or(i64::MAX);
    let read = Rules {
        quiet_ms: ms(section.integer("quiet_s", 1, SECONDS_MAX)),
        lapse_ms: ms(section.integer("lapse_s", 60, SECONDS_MAX)),
        ignore: section.texts("ignore"),
        retention_ms: ms(section.integer("retention_days", 1, DAYS_MAX).saturating_mul(86_400)),
        events_max: section.integer("events_max", 100, EVENTS_MAX),
    };
    section.finish();
    read
}

#[cfg(test)]
mod tests {
    use crate::config::{Config, ConfigErrors, ConfigFile, Sources};
    use crate::policy::incidents::Rules;

    fn load(text: &str) -> Result<Config, ConfigErrors> {
        let file = ConfigFile::Text { name: "test.toml".into(), text: text.into() };
        Config::load(&Sources { files: vec![file], ..Sources::default() })
    }

    #[test]
    fn the_defaults_are_the_policys() {
        assert_eq!(load("").unwrap().incidents, Rules::default());
    }

    #[test]
    fn what_is_set_is_read_within_its_bounds() {
        let read = load("[incidents]\nquiet_s = 60\nignore = [\"Test\"]\nretention_days = 2\n").unwrap().incidents;
        assert_eq!((read.quiet_ms, read.retention_ms, read.ignore), (60_000, 172_800_000, vec!["Test".to_owned()]));
        for (text, words) in [
            ("[incidents]\nquiet_s = 0\n", "quiet_s"),
            ("[incidents]\nlapse_s = 59\n", "lapse_s"),
            ("[incidents]\nevents_max = 1\n", "events_max"),
            ("[incidents]\nmood = 1\n", "mood"),
        ] {
            let problems = load(text).unwrap_err().to_string();
            assert!(problems.contains(words), "{text}: {problems}");
        }
    }
}
