//! Patterns in which a star stands for any text.

/// Whether a text matches a pattern as a whole; `*` stands for any text, also none. Each part between two stars is
/// looked for from the left, which is exact: a later place for one part never helps the next.
#[must_use]
pub fn matches(pattern: &str, text: &str) -> bool {
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
}
