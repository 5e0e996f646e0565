//! How breakers are called.
//!
//! One for each thing that can be down by itself: `mcp:SERVER`, `http:HOST:PORT` or `https:HOST:PORT` with the port
//! always written out, `command:JOBTYPE`, and whatever a type names in `depends_on`.

use crate::policy::catalog::{HandlerSpec, JobType};

/// What the handler of a type calls; `None` where it calls nothing.
#[must_use]
pub fn target(known: &JobType) -> Option<String> {
    match &known.handler {
        HandlerSpec::Http { url, .. } => origin(url),
        HandlerSpec::Command { .. } => Some(format!("command:{}", known.name)),
        HandlerSpec::Mcp { server, .. } => Some(format!("mcp:{server}")),
        HandlerSpec::Builtin(_) => None,
    }
}

/// All breakers that gate a type: its own target first, then what it depends on, each once.
#[must_use]
pub fn gates(known: &JobType) -> Vec<String> {
    let mut all: Vec<String> = target(known).into_iter().collect();
    for name in &known.depends_on {
        if !all.contains(name) {
            all.push(name.clone());
        }
    }
    all
}

/// Scheme, host and port of a URL that the configuration has checked.
fn origin(url: &str) -> Option<String> {
    let url = url::Url::parse(url).ok()?;
    Some(format!("{}:{}:{}", url.scheme(), url.host_str()?, url.port_or_known_default()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_names_its_port_and_nothing_else() {
        let named = |url| origin(url).unwrap();
        assert_eq!(named("http://user:secret@Example.org/a?b=c"), "http:example.org:80");
        assert_eq!(named("https://example.org/x"), "https:example.org:443");
        assert_eq!(named("http://127.0.0.1:8080/"), "http:127.0.0.1:8080");
        assert_eq!(named("http://[::1]:9/"), "http:[::1]:9");
    }
}
