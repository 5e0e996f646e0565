//! What the browser asks the element repository for.
//!
//! A seam, so that the browser needs to know neither where elements are kept nor how one is healed.

use std::fmt::Debug;

use async_trait::async_trait;
use serde_json::Value;
use url::Url;

use super::reply::ToolError;

/// How an element can be found.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Known {
    /// CSS selectors, the most stable first.
    pub selectors: Vec<String>,
    /// What is to be reported of the look-up.
    pub observations: Vec<Value>,
}

/// An element that was looked for in vain.
#[derive(Debug, Clone, PartialEq)]
pub struct Broken {
    /// The page that it should be on.
    pub url: Url,
    /// Its HTML.
    pub html: std::sync::Arc<str>,
    /// The selector that selects nothing.
    pub selector: String,
    /// Its id in the repository, if it has one.
    pub element: Option<String>,
}

/// What came of a healing.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Healed {
    /// A selector for the element, if it was found again with enough confidence.
    pub selector: Option<String>,
    /// How sure that is, 0 to 1.
    pub confidence: f64,
    /// How it was found.
    pub strategy: String,
    /// What is to be reported of the healing.
    pub observations: Vec<Value>,
}

/// The element repository, as far as the browser uses it.
#[async_trait]
pub trait Elements: Debug + Send + Sync {
    /// How the element with this id can be found; nothing if it is not known.
    async fn locate(&self, element: &str) -> Result<Option<Known>, ToolError>;

    /// Looks for an element that its selector no longer finds.
    async fn heal(&self, broken: Broken) -> Result<Healed, ToolError>;
}
