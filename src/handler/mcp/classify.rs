//! Error texts to classes, as the operator says.

use crate::policy::wildcard;

/// One rule: the first that matches gives the class.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// What the whole text must match; `*` stands for any text, also none.
    pub pattern: String,
    /// The class.
    pub class: String,
}

/// The class that the first matching rule gives.
pub(super) fn class_of<'a>(rules: &'a [Rule], text: &str) -> Option<&'a str> {
    rules.iter().find(|rule| wildcard::matches(&rule.pattern, text)).map(|rule| rule.class.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_rule_wins() {
        let rule = |pattern: &str, class: &str| Rule { pattern: pattern.into(), class: class.into() };
        let rules = [rule("*net::*", "network_timeout"), rule("*", "other")];
        assert_eq!(class_of(&rules, "at net::ERR"), Some("network_timeout"));
        assert_eq!(class_of(&rules, "x"), Some("other"));
        assert_eq!(class_of(&rules[..1], "x"), None);
    }
}
