//! Going from page to page, and working on the one that is open.

use ego_tree::NodeId;
use scraper::ElementRef;
use serde_json::{Value, json};
use url::Url;

use super::super::fetch::Request;
use super::super::page::Page;
use super::super::reply::{ToolError, class};
use super::controls::{self, Edits, Kind};
use super::form;
use super::target::Target;
use super::validity::first_invalid;
use super::{Browser, View};

/// What a click does without scripts.
enum Click {
    Sends,
    Leads,
    Ticks(bool),
}

impl Browser {
    /// Opens a page by its address.
    pub(super) async fn load(&mut self, address: &str) -> Result<Value, ToolError> {
        let base = self.page().map(|page| page.url.clone()).or_else(|| self.base.clone());
        let url = match base.filter(|base| !base.cannot_be_a_base()) {
            Some(base) => {
                base.join(address).map_err(|error| ToolError::bad_arguments(format!("{address:?}: {error}")))?
            }
            None => self.fetcher.address(address)?,
        };
        self.go(Request::get(url)).await
    }

    /// Opens a page that is at hand.
    pub fn show(&mut self, page: Page) {
        self.view = Some(View { page, status: 200, edits: Edits::default(), form: None });
    }

    async fn go(&mut self, request: Request) -> Result<Value, ToolError> {
        let fragment = request.url.fragment().map(str::to_owned);
        let mut answer = self.fetcher.send(request, &mut self.jar).await?;
        if answer.url.fragment().is_none() {
            answer.url.set_fragment(fragment.as_deref());
        }
        let page = Page::parse_aside(answer.url, answer.html, self.limits).await?;
        self.view = Some(View { page, status: answer.status, edits: Edits::default(), form: None });
        Ok(self.whereabouts())
    }

    /// Goes where a link leads.
    pub(super) async fn follow(&mut self, target: &Target) -> Result<Value, ToolError> {
        let found = self.find(target).await?;
        self.follow_link(found.node).await
    }

    async fn follow_link(&mut self, node: NodeId) -> Result<Value, ToolError> {
        let url = self.open()?.link(node)?;
        let view = self.open_mut()?;
        if url.fragment().is_some() && is_same_page(&url, &view.page.url) {
            view.page.url = url;
            return Ok(self.whereabouts());
        }
        self.go(Request::get(url)).await
    }

    /// Does what a click does without scripts.
    pub(super) async fn click(&mut self, target: &Target) -> Result<Value, ToolError> {
        let found = self.find(target).await?;
        let node = self.clicked(found.node)?;
        match self.effect_of_click(node)? {
            Click::Sends => self.send_form(node).await,
            Click::Leads => self.follow_link(node).await,
            Click::Ticks(on) => self.set_tick(node, on),
        }
    }

    fn effect_of_click(&self, node: NodeId) -> Result<Click, ToolError> {
        let view = self.open()?;
        let element = view.element(node)?;
        match controls::kind(&element) {
            _ if controls::is_disabled(&element) => Err(disabled(&element)),
            Some(Kind::Submit) => Ok(Click::Sends),
            Some(Kind::Checkbox) => Ok(Click::Ticks(!view.edits.is_ticked(&element))),
            Some(Kind::Radio) => Ok(Click::Ticks(true)),
            None if element.value().name() == "a" => Ok(Click::Leads),
            _ => {
                let tag = element.value().name();
                Err(ToolError::bad_arguments(format!("a click on this <{tag}> does nothing without scripts")))
            }
        }
    }

    /// What a click on an element reaches: the link or button around it, the control of a label.
    fn clicked(&self, node: NodeId) -> Result<NodeId, ToolError> {
        let view = self.open()?;
        let element = view.element(node)?;
        let chain = std::iter::once(element).chain(element.ancestors().filter_map(ElementRef::wrap));
        for one in chain {
            match one.value().name() {
                "a" | "button" | "input" | "select" | "textarea" => return Ok(one.id()),
                "label" => {
                    let named = one.attr("for").and_then(|id| view.page.by_id(id));
                    let inside = || one.descendent_elements().find(|inner| controls::kind(inner).is_some());
                    return Ok(named.or_else(inside).map_or(node, |control| control.id()));
                }
                _ => {}
            }
        }
        Ok(node)
    }

    /// Sends a form, if the browser finds it well filled in.
    pub(super) async fn submit(&mut self, target: Option<&Target>) -> Result<Value, ToolError> {
        let node = match target {
            Some(target) => self.find(target).await?.node,
            None => self.only_form()?,
        };
        self.send_form(node).await
    }

    /// The form that was worked on last, or the only one.
    pub(super) fn only_form(&self) -> Result<NodeId, ToolError> {
        let view = self.open()?;
        if let Some(form) = view.form {
            return Ok(form);
        }
        let mut forms = view.page.elements().filter(|element| element.value().name() == "form");
        match (forms.next(), forms.next()) {
            (Some(form), None) => Ok(form.id()),
            (None, _) => Err(ToolError::new(class::ELEMENT_NOT_FOUND, format!("{} has no form", view.page.url))),
            _ => Err(ToolError::bad_arguments("the page has several forms; say which one")),
        }
    }

    /// Sends the form that an element is, submits or belongs to.
    async fn send_form(&mut self, node: NodeId) -> Result<Value, ToolError> {
        let request = {
            let view = self.open()?;
            let element = view.element(node)?;
            let is_button = controls::kind(&element) == Some(Kind::Submit);
            let owner =
                if element.value().name() == "form" { Some(element) } else { controls::form_of(&view.page, &element) };
            let Some(form) = owner else {
                return Err(ToolError::bad_arguments(format!("this <{}> belongs to no form", element.value().name())));
            };
            let button = if is_button { Some(element) } else { form::default_button(&view.page, form) };
            if let Some(button) = button.filter(controls::is_disabled) {
                return Err(disabled(&button));
            }
            let unchecked = form.attr("novalidate").is_some()
                || button.is_some_and(|button| button.attr("formnovalidate").is_some());
            if let Some(invalid) = first_invalid(&view.page, &view.edits, form)?.filter(|_| !unchecked) {
                let message = format!("the browser does not send the form: {}: {}", invalid.control, invalid.why);
                return Err(ToolError::new(class::ASSERTION_FAILURE, message)
                    .with_evidence(json!({ "field": invalid.control, "why": invalid.why })));
            }
            form::request(&view.page, &view.edits, form, button)?
        };
        self.go(request).await
    }

    /// Types into a field.
    pub(super) async fn fill(&mut self, target: &Target, text: &str) -> Result<Value, ToolError> {
        let found = self.find(target).await?;
        let view = self.open_mut()?;
        let element = view.element(found.node)?;
        match controls::kind(&element) {
            _ if controls::is_disabled(&element) || element.attr("readonly").is_some() => {
                return Err(disabled(&element));
            }
            Some(Kind::Text) => {}
            _ => {
                let tag = element.value().name();
                return Err(ToolError::bad_arguments(format!("this <{tag}> is nothing to type into")));
            }
        }
        let id = element.id();
        view.touch(id, |_, edits, element| edits.fill(element, &text_for(element, text)))?;
        Ok(json!({ "matches": found.matches }))
    }

    /// Chooses options of a list by their values or texts.
    pub(super) async fn select(&mut self, target: &Target, wanted: &[String]) -> Result<Value, ToolError> {
        let found = self.find(target).await?;
        let view = self.open_mut()?;
        let list = view.element(found.node)?;
        if controls::kind(&list) != Some(Kind::Select) {
            return Err(ToolError::bad_arguments(format!("this <{}> is no list", list.value().name())));
        }
        if controls::is_disabled(&list) {
            return Err(disabled(&list));
        }
        if wanted.len() != 1 && list.attr("multiple").is_none() {
            return Err(ToolError::bad_arguments("the list takes exactly one option"));
        }
        let mut chosen = Vec::new();
        for text in wanted {
            let option = options_like(&list, text).find(|option| option.attr("disabled").is_none());
            chosen.push(option.map(|option| option.id()).ok_or_else(|| {
                let there: Vec<String> =
                    controls::options(&list).map(|option| controls::option_value(&option)).collect();
                let message =
                    format!("the list has no option {text:?} that may be chosen; it has {}", there.join(", "));
                ToolError::new(class::ELEMENT_NOT_FOUND, message)
            })?);
        }
        let id = list.id();
        view.touch(id, |page, edits, list| {
            let options: Vec<_> = chosen.iter().filter_map(|node| page.element(*node)).collect();
            edits.choose(list, &options);
        })?;
        Ok(json!({ "matches": found.matches }))
    }

    /// Ticks a box, or takes the tick away.
    pub(super) async fn tick(&mut self, target: &Target, on: bool) -> Result<Value, ToolError> {
        let found = self.find(target).await?;
        let node = self.clicked(found.node)?;
        self.set_tick(node, on)
    }

    pub(super) fn set_tick(&mut self, node: NodeId, on: bool) -> Result<Value, ToolError> {
        let view = self.open_mut()?;
        let element = view.element(node)?;
        match controls::kind(&element) {
            Some(Kind::Checkbox | Kind::Radio) if controls::is_disabled(&element) => return Err(disabled(&element)),
            Some(Kind::Checkbox) => {}
            Some(Kind::Radio) if on => {}
            _ => {
                let tag = element.value().name();
                return Err(ToolError::bad_arguments(format!("this <{tag}> is nothing to tick")));
            }
        }
        view.touch(node, |page, edits, element| edits.tick(page, element, on))?;
        Ok(json!({}))
    }
}

impl View {
    /// Where a link leads.
    fn link(&self, node: NodeId) -> Result<Url, ToolError> {
        let link = self.element(node)?;
        let Some(href) = link.attr("href").filter(|_| matches!(link.value().name(), "a" | "area")) else {
            return Err(ToolError::bad_arguments(format!("<{}> is no link", link.value().name())));
        };
        let joined = self.page.base().join(href.trim());
        let url =
            joined.map_err(|error| ToolError::bad_arguments(format!("the link {href:?} leads nowhere: {error}")))?;
        if !matches!(url.scheme(), "http" | "https" | "file") {
            return Err(ToolError::bad_arguments(format!("the link {href:?} leads to no page")));
        }
        Ok(url)
    }

    /// Changes what stands in a control, and remembers its form.
    fn touch(
        &mut self,
        node: NodeId,
        change: impl FnOnce(&Page, &mut Edits, &ElementRef<'_>),
    ) -> Result<(), ToolError> {
        let Some(element) = self.page.element(node) else {
            return Err(ToolError::new(class::INTERNAL, "an element left its page"));
        };
        self.form = controls::form_of(&self.page, &element).map(|form| form.id()).or(self.form);
        change(&self.page, &mut self.edits, &element);
        Ok(())
    }
}

/// One-line fields take no line breaks.
fn text_for(element: &ElementRef<'_>, text: &str) -> String {
    if element.value().name() == "textarea" { text.to_owned() } else { text.replace(['\r', '\n'], "") }
}

/// Options by their value, and by their text where no value fits.
fn options_like<'a>(list: &ElementRef<'a>, text: &str) -> impl Iterator<Item = ElementRef<'a>> {
    let by_value: Vec<_> = controls::options(list).filter(|option| controls::option_value(option) == text).collect();
    let found = if by_value.is_empty() {
        let is_text = |option: &ElementRef<'_>| super::super::page::visible_text(option) == text.trim();
        controls::options(list).filter(is_text).collect()
    } else {
        by_value
    };
    found.into_iter()
}

/// An element that cannot be used is as good as none.
fn disabled(element: &ElementRef<'_>) -> ToolError {
    let name = element.attr("name").or_else(|| element.attr("id")).unwrap_or("");
    let message = format!("this <{}> {name:?} is disabled or read-only", element.value().name());
    ToolError::new(class::ELEMENT_NOT_FOUND, message)
}

/// Whether two addresses differ at most in what follows `#`.
pub(super) fn is_same_page(one: &Url, other: &Url) -> bool {
    let bare = |url: &Url| {
        let mut url = url.clone();
        url.set_fragment(None);
        url
    };
    bare(one) == bare(other)
}
