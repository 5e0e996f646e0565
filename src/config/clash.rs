//! Two keys that do not go together.
//!
//! Told of the one that an operator set: nobody finds a mistake of their own in the line of a default.

use std::fmt::Display;

use super::reader::Section;

/// A key and what it says.
pub(super) struct Said<'s, 'a> {
    section: &'s Section<'a>,
    name: &'s str,
    value: String,
}

impl<'a> Section<'a> {
    /// What `name` says, for [`clash`].
    pub(super) fn says<'s>(&'s self, name: &'s str, value: impl Display) -> Said<'s, 'a> {
        Said { section: self, name, value: value.to_string() }
    }
}

impl Said<'_, '_> {
    /// How it is called in a message about `blamed`: by its bare name if it stands in the same table.
    fn name_beside(&self, blamed: &Self) -> String {
        let (own, others) = (self.section.place(self.name).0, blamed.section.place(blamed.name).0);
        let table = |key: &str| key.strip_suffix(self.name).map(str::to_owned);
        let is_beside = others.strip_suffix(blamed.name).map(str::to_owned) == table(&own);
        if is_beside { self.name.to_owned() } else { own }
    }
}

/// Notes that `one` does not go together with `other`, unless something is wrong with either anyway. `relations` say
/// how they stand, seen from `one` and seen from `other`; `remark` ends the sentence.
pub(super) fn clash(one: &Said<'_, '_>, relations: [&str; 2], other: &Said<'_, '_>, remark: &str) {
    let is_sound = |said: &Said<'_, '_>| said.section.is_sound(&[said.name]);
    if !is_sound(one) || !is_sound(other) {
        return;
    }
    let is_default = |said: &Said<'_, '_>| said.section.is_default(said.name);
    let [from_one, from_other] = relations;
    let (blamed, relation, against) =
        if is_default(one) && !is_default(other) { (other, from_other, one) } else { (one, from_one, other) };
    let (name, bound) = (against.name_beside(blamed), &against.value);
    let whose = if is_default(against) { " (a default)" } else { "" };
    let message = format!("is {}, {relation} `{name}` = {bound}{whose}{remark}", blamed.value);
    blamed.section.problem(blamed.name, message);
}

#[cfg(test)]
mod tests {
    use crate::config::{Config, ConfigErrors, ConfigFile, Sources};

    fn load(text: &str) -> Result<Config, ConfigErrors> {
        let file = ConfigFile::Text { name: "test.toml".into(), text: text.into() };
        Config::load(&Sources { files: vec![file], ..Sources::default() })
    }

    #[test]
    fn of_two_keys_that_clash_the_one_that_was_set_is_named() {
        for (text, expected) in [
            (
                "pools.plan-workers.max = 1",
                "pools.plan-workers.max: is 1, below `min` = 2 (a default) (file test.toml)",
            ),
            (
                "pools.plan-workers = { min = 5, max = 4 }",
                "pools.plan-workers.min: is 5, above `max` = 4 (file test.toml)",
            ),
            (
                "[pools.p]\nqueue = 'plan'\nmax = 3\n[defaults.pool]\nmin = 4",
                "defaults.pool.min: is 4, above `pools.p.max` = 3 (file test.toml)",
            ),
            ("lease.renew_ms = 20000", "lease.renew_ms: is 20000, not less than half of `ttl_ms` = 30000 (a default)"),
            (
                "handlers.term_grace_ms = 60000",
                "handlers.term_grace_ms: is 60000, not below `health.hung_after_ms` = 12000 (a default): a command",
            ),
            (
                "queues.exec.priorities = 2",
                "queues.exec.priorities: is 2, below `job_types.analytics_queries.priority` = 4 (a default) (file test.toml)",
            ),
            (
                "job_types.plan_generation.retry.max_delay_ms = 1",
                "job_types.plan_generation.retry.max_delay_ms: is 1, below `base_delay_ms` = 1000 (a default)",
            ),
            (
                "shedding = { cpu = 0.5, cpu_exit = 0.5 }",
                "shedding.cpu_exit: is 0.5, not below `cpu` = 0.5; 0 in `cpu_exit` stands for a share of `cpu` (file",
            ),
        ] {
            let told = load(text).unwrap_err().to_string();
            assert!(told.starts_with(expected), "{text}: {told}");
            assert_eq!(told.lines().count(), 1, "{text}: {told}");
        }
        let pair = ("GANGER__POOLS__PLAN_WORKERS__MAX".into(), "1".into());
        let environment = Sources { environment: vec![pair], ..Sources::default() };
        let told = Config::load(&environment).unwrap_err().to_string();
        assert!(told.starts_with("pools.plan-workers.max: is 1") && told.ends_with("(environment)"), "{told}");
    }
}
