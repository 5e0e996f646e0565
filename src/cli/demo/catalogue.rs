//! The elements of the site, as the locator jobs found them.

use serde::Deserialize;
use url::Url;

use crate::cli::waiting::JobBody;

/// The most elements of one page that are tested for: a seat map has more than a hundred boxes that are all alike.
const ELEMENTS_OF_PAGE: usize = 12;

/// An element.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(super) struct Element {
    /// Its id in the repository.
    #[serde(rename = "element")]
    pub(super) id: String,
    /// What people call it.
    pub(super) name: String,
}

/// Pages, each with its elements.
#[derive(Debug, Clone, Default)]
pub(super) struct Catalogue(Vec<(String, Vec<Element>)>);

#[derive(Deserialize)]
struct Asked {
    page: String,
}

#[derive(Deserialize)]
struct Found {
    elements: Vec<Element>,
}

impl Catalogue {
    /// What these jobs of type `batch_locator_generation` found.
    pub(super) fn of(jobs: &[JobBody]) -> Self {
        let read = |job: &JobBody| {
            let asked: Asked = serde_json::from_str(job.payload.as_ref()?.get()).ok()?;
            let found: Found = serde_json::from_str(job.result.as_ref()?.get()).ok()?;
            Some((asked.page, found.elements))
        };
        let mut pages: Vec<_> = jobs.iter().filter_map(read).collect();
        pages.sort_by(|one, other| one.0.cmp(&other.0));
        Self(pages)
    }

    /// Each page with the elements that are tested for: seats are chosen by a policy.
    pub(super) fn pages(&self) -> impl Iterator<Item = (&str, Vec<&Element>)> {
        self.0.iter().map(|(page, elements)| {
            let is_seat = |element: &&Element| page.contains("/shows/") && element.id.contains("-checkbox");
            (page.as_str(), elements.iter().filter(|element| !is_seat(element)).take(ELEMENTS_OF_PAGE).collect())
        })
    }

    /// The id of the element of this path that people call so.
    pub(super) fn find(&self, path: &str, name: &str) -> Result<&str, String> {
        let is_there = |page: &str| Url::parse(page).is_ok_and(|url| url.path() == path);
        let mut elements = self.0.iter().filter(|(page, _)| is_there(page)).flat_map(|(_, elements)| elements);
        let found = elements.find(|element| element.name == name);
        found.map(|element| element.id.as_str()).ok_or_else(|| format!("no element of {path} is called {name:?}"))
    }

    /// The page where an element was found.
    pub(super) fn page_of(&self, id: &str) -> Option<&str> {
        let has = |elements: &[Element]| elements.iter().any(|element| element.id == id);
        self.0.iter().find(|(_, elements)| has(elements)).map(|(page, _)| page.as_str())
    }
}
