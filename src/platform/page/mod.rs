//! A page of HTML: taken apart within bounds, with the look-ups that all tools need.

mod names;
mod parse;
mod text;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ego_tree::NodeId;
use scraper::{ElementRef, Html, Selector};
use tokio::time::Instant;
use url::Url;

use super::reply::{ToolError, class};

pub use names::{accessible_name, label_of, role_of};
pub use text::{excerpt, is_visible, shortened, squeeze, visible_text};

/// What a page may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one page. Real pages have up to a few megabytes.
    pub bytes: usize,
    /// Nodes of one page; each takes about 200 bytes.
    pub nodes: usize,
    /// Elements inside each other. Browsers stop at 512 as well.
    pub depth: usize,
    /// Time to take one page apart, and for one analysis of it.
    pub analysis: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { bytes: 8 << 20, nodes: 300_000, depth: 512, analysis: Duration::from_secs(4) }
    }
}

/// The time that an analysis may take.
#[derive(Debug, Clone, Copy)]
pub struct Budget {
    begun: Instant,
    allowed: Duration,
}

impl Budget {
    /// A budget that runs from now.
    pub fn new(allowed: Duration) -> Self {
        Self { begun: Instant::now(), allowed }
    }

    /// How much of it is used.
    pub fn spent(&self) -> Duration {
        self.begun.elapsed()
    }

    /// An error once it is used up; `what` says what was done.
    pub fn check(&self, what: &str) -> Result<(), ToolError> {
        if self.spent() < self.allowed {
            return Ok(());
        }
        let message = format!("{what} took more than {} ms", self.allowed.as_millis());
        Err(ToolError::new(class::DOM_ANALYSIS_TIMEOUT, message))
    }
}

/// A page. It may be sent to another thread, but not shared between two.
pub struct Page {
    /// Where it came from, after redirects; relative links start there.
    pub url: Url,
    /// The HTML as it came.
    pub html: Arc<str>,
    /// The elements.
    pub dom: Html,
    /// Time that one look through them may take.
    analysis: Duration,
    /// The first element of each `id`.
    ids: HashMap<String, NodeId>,
    /// The labels that name an element by its `id`.
    labels: HashMap<String, Vec<NodeId>>,
}

impl fmt::Debug for Page {
    /// Without the elements: they would fill every log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Page").field("url", &self.url.as_str()).field("bytes", &self.html.len()).finish_non_exhaustive()
    }
}

impl Page {
    /// Takes a page apart. It takes time, so async code calls [`Page::parse_aside`].
    pub fn parse(url: Url, html: impl Into<Arc<str>>, limits: &Limits) -> Result<Self, ToolError> {
        let html = html.into();
        let dom = parse::within(&url, &html, limits)?;
        let (mut ids, mut labels) = (HashMap::new(), HashMap::<String, Vec<NodeId>>::new());
        for element in dom.root_element().descendent_elements() {
            if let Some(id) = element.attr("id").filter(|id| !id.is_empty()) {
                ids.entry(id.to_owned()).or_insert(element.id());
            }
            if let Some(named) = element.attr("for").filter(|_| element.value().name() == "label") {
                labels.entry(named.to_owned()).or_default().push(element.id());
            }
        }
        Ok(Self { url, html, dom, analysis: limits.analysis, ids, labels })
    }

    /// The same on a thread that may be busy.
    pub async fn parse_aside(url: Url, html: impl Into<Arc<str>>, limits: Limits) -> Result<Self, ToolError> {
        let html = html.into();
        let parsed = tokio::task::spawn_blocking(move || Self::parse(url, html, &limits)).await;
        parsed.unwrap_or_else(|error| Err(ToolError::new(class::INTERNAL, format!("the parser failed: {error}"))))
    }

    /// All elements, in the order of the page.
    pub fn elements(&self) -> impl Iterator<Item = ElementRef<'_>> {
        self.dom.root_element().descendent_elements()
    }

    /// The time that a look through the page may take, from now.
    pub fn budget(&self) -> Budget {
        Budget::new(self.analysis)
    }

    /// The element with this node id.
    pub fn element(&self, id: NodeId) -> Option<ElementRef<'_>> {
        self.dom.tree.get(id).and_then(ElementRef::wrap)
    }

    /// The element with this `id` attribute.
    pub fn by_id(&self, id: &str) -> Option<ElementRef<'_>> {
        self.ids.get(id).and_then(|node| self.element(*node))
    }

    /// The elements that a CSS selector selects.
    pub fn select<'a, 'b>(&'a self, selector: &'b Selector) -> impl Iterator<Item = ElementRef<'a>> + use<'a, 'b> {
        self.dom.select(selector)
    }

    /// The labels that name an element by its `id`.
    fn labels_for(&self, id: &str) -> impl Iterator<Item = ElementRef<'_>> {
        self.labels.get(id).into_iter().flatten().filter_map(|node| self.element(*node))
    }

    /// The title, or nothing.
    pub fn title(&self) -> String {
        let title = self.elements().find(|element| element.value().name() == "title");
        title.map_or_else(String::new, |title| squeeze(&title.text().collect::<String>()))
    }

    /// The address that relative links start from: `<base href>` or the page's own.
    pub fn base(&self) -> Url {
        let base = self.elements().find(|element| element.value().name() == "base").and_then(|base| base.attr("href"));
        base.and_then(|href| self.url.join(href).ok()).unwrap_or_else(|| self.url.clone())
    }

    /// The visible elements that a person can act on.
    pub fn interactive(&self) -> Vec<ElementRef<'_>> {
        self.elements().filter(is_interactive).filter(is_visible).collect()
    }
}

/// A CSS selector, or what is wrong with it.
pub fn selector(text: &str) -> Result<Selector, ToolError> {
    Selector::parse(text).map_err(|error| ToolError::bad_arguments(format!("{text:?} is no CSS selector: {error}")))
}

/// Whether a person can act on an element: links, controls, and what scripts make one.
pub fn is_interactive(element: &ElementRef<'_>) -> bool {
    const ROLES: [&str; 13] = [
        "button",
        "link",
        "checkbox",
        "radio",
        "switch",
        "tab",
        "menuitem",
        "option",
        "textbox",
        "searchbox",
        "combobox",
        "slider",
        "spinbutton",
    ];
    match element.value().name() {
        "a" | "area" => element.attr("href").is_some() || acts_by_attribute(element, &ROLES),
        "input" => !element.attr("type").is_some_and(|kind| kind.eq_ignore_ascii_case("hidden")),
        "button" | "select" | "textarea" | "summary" => true,
        _ => acts_by_attribute(element, &ROLES),
    }
}

fn acts_by_attribute(element: &ElementRef<'_>, roles: &[&str]) -> bool {
    let focusable =
        element.attr("tabindex").and_then(|index| index.trim().parse::<i32>().ok()).is_some_and(|at| at >= 0);
    focusable
        || element.attr("onclick").is_some()
        || element.attr("role").is_some_and(|role| roles.contains(&role.trim()))
}

#[cfg(test)]
mod tests;
