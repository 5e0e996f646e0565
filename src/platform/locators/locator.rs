//! What a locator is, and how one is written down.

use rmcp::schemars::{self, JsonSchema};
use serde::{Deserialize, Serialize};

/// The language of a locator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum By {
    /// A CSS selector.
    Css,
    /// An `XPath` 1.0 expression.
    Xpath,
    /// A role and an accessible name: `button[name="Book now"]`.
    Role,
}

/// What a locator goes by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// An attribute made for tests, such as `data-testid`.
    TestAttribute,
    /// The id.
    Id,
    /// The name of a control.
    Name,
    /// `aria-label`, or role and accessible name.
    Aria,
    /// The text of a control's label.
    Label,
    /// The text of a link or button.
    Text,
    /// Another attribute that seldom changes.
    Attribute,
    /// Classes that say what the element is.
    Class,
    /// A person said so.
    Approved,
    /// One of the above, unique within the nearest stable ancestor.
    Scoped,
    /// Steps down from the nearest stable ancestor, in CSS.
    CssPath,
    /// The same in `XPath`.
    Xpath,
    /// The how-manieth of its name.
    Position,
}

/// How to find one element of a page.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Locator {
    /// Its language.
    pub by: By,
    /// What is written in it.
    pub value: String,
}

impl Locator {
    /// A locator as people write it: what begins with `/`, `(` or `xpath=` is `XPath`, with `role=` a role, all else CSS.
    pub fn written(text: &str) -> Self {
        let text = text.trim();
        let of = |by, value: &str| Self { by, value: value.to_owned() };
        match text.split_once('=') {
            Some(("xpath", value)) => of(By::Xpath, value),
            Some(("css", value)) => of(By::Css, value),
            Some(("role", value)) => of(By::Role, value),
            _ if text.starts_with(['/', '(']) => of(By::Xpath, text),
            _ => of(By::Css, text),
        }
    }
}

impl std::fmt::Display for Locator {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let by = match self.by {
            By::Css => "css",
            By::Xpath => "xpath",
            By::Role => "role",
        };
        write!(out, "{by}={}", self.value)
    }
}

/// A locator as callers give it: as text (`#book`, `//a[2]`, `role=button[name="Book"]`), or in its two parts.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Written {
    /// As text.
    Text(String),
    /// In its parts.
    Parts {
        /// Its language.
        by: By,
        /// What is written in it.
        value: String,
    },
}

impl From<Written> for Locator {
    fn from(written: Written) -> Self {
        match written {
            Written::Text(text) => Self::written(&text),
            Written::Parts { by, value } => Self { by, value },
        }
    }
}

/// A locator with what it goes by and how likely it is to live through the next change of the page.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RankedLocator {
    /// What it goes by.
    pub strategy: Strategy,
    /// Its language.
    pub by: By,
    /// What is written in it.
    pub value: String,
    /// From 0 (will break) to 1.
    pub stability: f64,
}

impl RankedLocator {
    /// A locator that a person wrote.
    pub fn approved(locator: Locator) -> Self {
        Self { strategy: Strategy::Approved, by: locator.by, value: locator.value, stability: 0.9 }
    }

    /// The locator alone.
    pub fn locator(&self) -> Locator {
        Locator { by: self.by, value: self.value.clone() }
    }
}
