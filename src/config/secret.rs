//! Secrets: texts that can be used but not printed.

use std::fmt;

/// What stands in for a secret wherever a configuration is printed.
pub(super) const MASK: &str = "***";

/// A secret text, such as a token.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretText(String);

impl SecretText {
    pub(super) fn new(text: String) -> Self {
        Self(text)
    }

    /// The text itself.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

/// A URL that may carry a password. It prints without it.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretUrl(String);

impl SecretUrl {
    pub(super) fn new(url: String) -> Self {
        Self(url)
    }

    /// The URL with its password.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&without_password(&self.0))
    }
}

impl fmt::Debug for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The URL with [`MASK`] for its password, be it before the host or in the query. What is no URL is
/// masked whole, unless nothing in it can be a password.
pub(super) fn without_password(text: &str) -> String {
    let Ok(mut url) = url::Url::parse(text) else {
        return if text.contains('@') || text.contains('?') { MASK.to_owned() } else { text.to_owned() };
    };
    let is_secret = |key: &str| matches!(key, "pass" | "token" | "secret" | "key") || key.ends_with("password");
    let asked: Vec<(String, String)> = url.query_pairs().into_owned().collect();
    let in_query = asked.iter().any(|(key, _)| is_secret(key));
    if url.password().is_none() && !in_query {
        return text.to_owned();
    }
    if url.password().is_some() && url.set_password(Some(MASK)).is_err() {
        return MASK.to_owned();
    }
    if in_query {
        let shown = asked.iter().map(|(key, value)| (key, if is_secret(key) { MASK } else { value }));
        url.query_pairs_mut().clear().extend_pairs(shown);
    }
    url.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_prints_without_its_password() {
        let shown = |url: &str| format!("{0} {0:?}", SecretUrl::new(url.to_owned()));
        for secret in [
            "postgres://ganger:hunter2@db:5432/jobs",
            "rediss://:hunter2@cache:6380/0",
            "postgres://db/jobs?user=ganger&password=hunter2",
            "not a url@hunter2",
            "redis+sentinel://:hunter2@a:1,b:2/jobs",
            "redis+sentinel://a:1/jobs?sentinel_password=hunter2",
            "redis+sentinel://a:1,b:2/jobs?sentinel_password=hunter2",
        ] {
            assert!(!shown(secret).contains("hunter2"), "{}", shown(secret));
        }
        assert_eq!(SecretUrl::new("redis://cache:6379/0".into()).to_string(), "redis://cache:6379/0");
        assert_eq!(format!("{:?}", SecretText::new("hunter2".into())), "***");
    }
}
