//! Error texts to classes, as the operator says.

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
    rules.iter().find(|rule| matches(&rule.pattern, text)).map(|rule| rule.class.as_str())
}

/// Whether a text matches a pattern. Each part between two stars is looked for from the left, which is exact: a
/// later place for one part never helps the next.
fn matches(pattern: &str, text: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(mut text) = text.strip_prefix(first) else { return false };
    let mut parts: Vec<&str> = rest.split('*').collect();
    let last = parts.pop().unwrap_or_default();
    for part in parts {
        let Some(at) = text.find(part) else { return false };
        text = &text[at + part.len()..];
    }
    text.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_text() {
        for (pattern, text) in [
            ("*Timeout*", "TimeoutError: 30 s"),
            ("*Timeout*", "locator.click: Timeout 5000ms"),
            ("*", ""),
            ("a*b*c", "a-b-b-c"),
            ("*ab", "aab"),
            ("exact", "exact"),
            ("a**b", "ab"),
        ] {
            assert!(matches(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in
            [("*Timeout*", "timeout"), ("a*b", "a-b-"), ("ab*ba", "aba"), ("exact", "exactly"), ("a*", "ba")]
        {
            assert!(!matches(pattern, text), "{pattern} {text}");
        }
    }

    #[test]
    fn the_first_rule_wins() {
        let rule = |pattern: &str, class: &str| Rule { pattern: pattern.into(), class: class.into() };
        let rules = [rule("*net::*", "network_timeout"), rule("*", "other")];
        assert_eq!(class_of(&rules, "at net::ERR"), Some("network_timeout"));
        assert_eq!(class_of(&rules, "x"), Some("other"));
        assert_eq!(class_of(&rules[..1], "x"), None);
    }
}
