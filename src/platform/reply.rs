//! What a tool answers: a result or an error, and beside it what the daemon is told.
//!
//! On the wire the result is `structuredContent` (and the same as text), and the rest stands in
//! `_meta.ganger`, where Ganger's handler looks for it. An error is `isError` with its class in
//! `_meta.ganger.error`.

use serde::Serialize;
use serde_json::Value;
use url::Url;

/// The classes of errors that tools answer with; retry policies name them.
pub mod class {
    /// No element of the page is the one that was asked for.
    pub const ELEMENT_NOT_FOUND: &str = "element_not_found";
    /// The page is not as the test says it should be.
    pub const ASSERTION_FAILURE: &str = "assertion_failure";
    /// A page did not come in time.
    pub const NETWORK_TIMEOUT: &str = "network_timeout";
    /// Refused, reset, broken off, or a name that is not found.
    pub const CONNECTION: &str = "connection";
    /// The browser of a session is gone.
    pub const BROWSER_CRASH: &str = "browser_crash";
    /// A test or a tool used up its time.
    pub const TIMEOUT: &str = "timeout";
    /// A page took too long to take apart.
    pub const DOM_ANALYSIS_TIMEOUT: &str = "dom_analysis_timeout";
    /// What was read is no HTML.
    pub const NOT_HTML: &str = "not_html";
    /// A page has too many bytes, too many elements, or too many of them inside each other.
    pub const PAGE_TOO_LARGE: &str = "page_too_large";
    /// The site wants fewer requests.
    pub const RATE_LIMIT: &str = "rate_limit";
    /// The site says that it will be back: 502 and 503.
    pub const TEMPORARY_FAILURE: &str = "temporary_failure";
    /// The arguments make no sense; the same call will fail again.
    pub const BAD_ARGUMENTS: &str = "bad_arguments";
    /// A defect of the tool itself.
    pub const INTERNAL: &str = "internal";
}

/// What the daemon is told beside a result.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Envelope {
    /// Measures of what happened, see [`super::observation`].
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub observations: Vec<Value>,
    /// Why a person should look at the result: `{"reason": ...}` and whatever helps them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub review: Option<Value>,
    /// Jobs to accept together with the success of this one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub enqueue: Vec<Value>,
}

impl Envelope {
    /// Whether there is nothing to tell.
    pub fn is_empty(&self) -> bool {
        self.observations.is_empty() && self.review.is_none() && self.enqueue.is_empty()
    }
}

/// What a tool answers when it did what it was asked for.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Reply {
    /// The result.
    pub result: Value,
    /// What the daemon is told beside it.
    pub ganger: Envelope,
}

impl Reply {
    /// A result and nothing beside it.
    pub fn new(result: Value) -> Self {
        Self { result, ganger: Envelope::default() }
    }

    /// Adds observations.
    #[must_use]
    pub fn observing(mut self, observations: impl IntoIterator<Item = Value>) -> Self {
        self.ganger.observations.extend(observations);
        self
    }
}

/// What a tool answers when it could not.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct ToolError {
    /// One of [`class`], or `http_4xx` and `http_5xx`.
    pub class: String,
    /// What was wrong, where, and what to do.
    pub message: String,
    /// Which site failed, where it was not the tool: `http:HOST:PORT`, as the daemon names its breakers.
    pub dependency: Option<Box<str>>,
    /// What a person or `heal_element` needs to look into it; becomes `structuredContent`.
    pub evidence: Option<Box<Value>>,
    /// Observations count on failures too; the rest does not.
    pub ganger: Box<Envelope>,
}

impl ToolError {
    /// An error without evidence.
    pub fn new(class: &str, message: impl Into<String>) -> Self {
        Self {
            class: class.to_owned(),
            message: message.into(),
            dependency: None,
            evidence: None,
            ganger: Box::default(),
        }
    }

    /// The caller's mistake.
    pub fn bad_arguments(message: impl Into<String>) -> Self {
        Self::new(class::BAD_ARGUMENTS, message)
    }

    /// A failure of the site at this address.
    pub fn of_site(class: &str, url: &Url, message: impl Into<String>) -> Self {
        let place = url.host_str().zip(url.port_or_known_default());
        let dependency = place.map(|(host, port)| format!("{}:{host}:{port}", url.scheme()).into());
        Self { dependency, ..Self::new(class, message) }
    }

    /// Adds what helps to look into it.
    #[must_use]
    pub fn with_evidence(mut self, evidence: Value) -> Self {
        self.evidence = Some(Box::new(evidence));
        self
    }

    /// Adds observations.
    #[must_use]
    pub fn observing(mut self, observations: impl IntoIterator<Item = Value>) -> Self {
        self.ganger.observations.extend(observations);
        self
    }
}

/// What every tool answers.
pub type ToolResult = Result<Reply, ToolError>;
