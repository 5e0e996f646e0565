//! What the repository keeps of an element, and how elements are named.

use std::collections::HashMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use url::Url;

use crate::platform::locators::{Fingerprint, RankedLocator};
use crate::platform::reply::ToolError;

/// Which element: of which page of which site, by the name it has there. Written `http://site/page#name`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ElementId {
    /// The origin of the page, such as `http://127.0.0.1:8080`; `file://` for files.
    pub site: String,
    /// Its path. Queries are left out: they say what a page shows, not which page it is.
    pub page: String,
    /// The name of the element.
    pub name: String,
}

impl ElementId {
    /// An element of this page.
    pub fn on(url: &Url, name: &str) -> Self {
        let site = if url.has_host() { url.origin().ascii_serialization() } else { format!("{}://", url.scheme()) };
        Self { site, page: url.path().to_owned(), name: name.to_owned() }
    }

    /// Reads an id as it is written; a bare name is none.
    pub fn written(text: &str) -> Option<Self> {
        let url = Url::parse(text).ok()?;
        let name = percent_decoded(url.fragment().filter(|name| !name.is_empty())?);
        Some(Self::on(&url, &name))
    }
}

/// Fragments come out of a URL with their blanks encoded.
fn percent_decoded(text: &str) -> String {
    url::form_urlencoded::parse(format!("n={}", text.replace('+', "%2B")).as_bytes())
        .next()
        .map(|(_, name)| name.into_owned())
        .unwrap_or_default()
}

impl fmt::Display for ElementId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}{}#{}", self.site, self.page, self.name)
    }
}

/// An element as it is kept.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// Its number in the file.
    pub row: i64,
    /// Which element it is.
    pub id: ElementId,
    /// How often its locators changed, from 1.
    pub version: i64,
    /// What is remembered of it.
    pub fingerprint: Fingerprint,
    /// Its locators, the best first.
    pub locators: Vec<RankedLocator>,
    /// How often it was asked for.
    pub uses: i64,
}

/// What is to be kept of an element.
#[derive(Debug, Clone)]
pub struct Keep {
    /// Which element.
    pub id: ElementId,
    /// What is remembered of it.
    pub fingerprint: Fingerprint,
    /// Its locators, the best first.
    pub locators: Vec<RankedLocator>,
}

/// Who made a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MadeBy {
    /// `generate_locators`.
    Generated,
    /// A healing that was sure enough.
    Healed,
    /// A healing that a person approved.
    Approved,
    /// `warm_cache` looked at the page again.
    Warmed,
}

impl MadeBy {
    /// The word in the file.
    pub fn name(self) -> &'static str {
        match self {
            Self::Generated => "generated",
            Self::Healed => "healed",
            Self::Approved => "approved",
            Self::Warmed => "warmed",
        }
    }
}

/// How a version came about.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Origin {
    /// Who made it.
    pub made_by: MadeBy,
    /// By which strategy, if by healing.
    pub strategy: Option<super::super::healing::Strategy>,
    /// How sure that was.
    pub confidence: Option<f64>,
}

impl Origin {
    /// Made without any healing.
    pub fn plain(made_by: MadeBy) -> Self {
        Self { made_by, strategy: None, confidence: None }
    }
}

/// A version of an element.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Version {
    /// Its number, from 1.
    pub version: i64,
    /// The locators.
    pub locators: Vec<RankedLocator>,
    /// Who made it.
    pub made_by: String,
    /// By which strategy, if by healing.
    pub strategy: Option<String>,
    /// How sure that was.
    pub confidence: Option<f64>,
    /// When, in milliseconds since 1970.
    pub made_at_ms: i64,
}

/// Gives names to the elements of one page: what they are called and of which kind they are, such as `book-now-button`.
#[derive(Debug, Default)]
pub struct Names {
    taken: HashMap<String, usize>,
}

impl Names {
    /// A name that no other element was given.
    pub fn give(&mut self, print: &Fingerprint) -> String {
        let address = print.attribute("href").and_then(|href| href.trim_end_matches('/').rsplit(['/', '#']).next());
        let said = [
            Some(print.label.as_str()),
            Some(&print.name),
            Some(&print.text),
            print.attribute("name"),
            print.attribute("id"),
            address,
        ];
        let word = said.into_iter().flatten().map(slug).find(|slug| !slug.is_empty()).unwrap_or_default();
        let kind = match (print.tag.as_str(), print.role.as_str()) {
            ("a", _) => "link",
            ("input" | "textarea", "textbox" | "searchbox" | "spinbutton" | "") => "field",
            (_, "") => &print.tag,
            (_, role) => role,
        };
        let base = if word.is_empty() { kind.to_owned() } else { format!("{word}-{kind}") };
        let count = self.taken.entry(base.clone()).or_insert(0);
        *count += 1;
        if *count == 1 { base } else { format!("{base}-{count}") }
    }

    /// Keeps a name for an element that has it already.
    pub fn take(&mut self, name: &str) -> Result<(), ToolError> {
        if self.taken.insert(name.to_owned(), 1).is_some() {
            return Err(ToolError::bad_arguments(format!("two elements are to be called {name:?}")));
        }
        Ok(())
    }
}

/// The first words of a text, small, with hyphens between.
fn slug(text: &str) -> String {
    let mut slug = String::new();
    for word in text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()) {
        if slug.len() + word.len() > 40 {
            break;
        }
        if !slug.is_empty() {
            slug.push('-');
        }
        slug.extend(word.chars().flat_map(char::to_lowercase));
    }
    slug
}
