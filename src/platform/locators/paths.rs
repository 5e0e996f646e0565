//! Steps down to an element from the nearest ancestor that is likely to stay.

use super::candidates::{TEST_ATTRIBUTES, css, name_lives, xpath};
use super::locator::{RankedLocator, Strategy};
use super::quoting::{css_identifier, css_string, is_writable, xpath_string};
use super::stability::generated;
use super::survey::Survey;

/// Longer paths break with every change; the place of the element in the page says as much.
const STEPS_MAX: usize = 24;

/// Parts of a page that mostly occur once.
const LANDMARKS: &[&str] = &["main", "nav", "header", "footer", "aside", "form", "search", "dialog", "table"];

/// An ancestor that is likely to stay.
#[derive(Debug, Clone)]
pub(super) struct Anchor {
    pub(super) at: usize,
    pub(super) css: String,
    pub(super) xpath: String,
    /// How likely, from 0 to 1.
    pub(super) life: f64,
}

/// The anchors of a page.
pub(super) struct Anchors<'s, 'p> {
    survey: &'s Survey<'p>,
    /// Of each element, the number of the nearest ancestor that is one.
    nearest: Vec<Option<usize>>,
}

impl<'s, 'p> Anchors<'s, 'p> {
    pub(super) fn of(survey: &'s Survey<'p>) -> Self {
        let mut nearest: Vec<Option<usize>> = Vec::with_capacity(survey.len());
        let mut is_anchor = Vec::with_capacity(survey.len());
        for at in 0..survey.len() {
            let above = survey.at(at).parent;
            nearest.push(above.and_then(|above| if is_anchor[above] { Some(above) } else { nearest[above] }));
            is_anchor.push(anchor(survey, at).is_some());
        }
        Self { survey, nearest }
    }

    /// The nearest stable ancestor of an element.
    pub(super) fn above(&self, at: usize) -> Option<Anchor> {
        self.nearest[at].and_then(|above| anchor(self.survey, above))
    }

    /// The structural locators of an element; there is always one as long as its names can be written.
    pub(super) fn paths(&self, at: usize) -> Vec<RankedLocator> {
        let mut found = Vec::new();
        let anchor = self.above(at);
        let from = anchor.as_ref().map(|anchor| anchor.at);
        let mut steps: Vec<usize> = std::iter::once(at)
            .chain(self.survey.ancestors(at))
            .take_while(|at| Some(*at) != from)
            .take(STEPS_MAX + 1)
            .collect();
        steps.reverse();
        if steps.len() <= STEPS_MAX {
            let life = anchor.as_ref().map_or(0.55, |anchor| anchor.life)
                * 0.97_f64.powf(f64::from(u8::try_from(steps.len()).unwrap_or(u8::MAX)));
            let css_steps: Vec<String> = steps.iter().map(|at| self.css_step(*at)).collect();
            let xpath_steps: Vec<String> = steps.iter().map(|at| self.xpath_step(*at)).collect();
            let (css_start, xpath_start) =
                anchor.map_or((String::new(), String::new()), |anchor| (format!("{} > ", anchor.css), anchor.xpath));
            found.push(css(Strategy::CssPath, format!("{css_start}{}", css_steps.join(" > ")), 0.5 * life));
            found.push(xpath(Strategy::Xpath, format!("{xpath_start}/{}", xpath_steps.join("/")), 0.48 * life));
        }
        let element = self.survey.at(at);
        if element.has_plain_name()
            && let Ok(before) = self.survey.with_tag(element.tag()).binary_search(&at)
        {
            found.push(xpath(Strategy::Position, format!("(//{})[{}]", element.tag(), before + 1), 0.1));
        }
        found
    }

    fn css_step(&self, at: usize) -> String {
        let element = self.survey.at(at);
        match (element.parent, element.has_plain_name()) {
            (None, true) => element.tag().to_owned(),
            (_, true) if self.survey.is_only_of_type(at) => element.tag().to_owned(),
            (_, true) => format!("{}:nth-of-type({})", element.tag(), element.of_type),
            (_, false) => format!(":nth-child({})", element.child),
        }
    }

    fn xpath_step(&self, at: usize) -> String {
        let element = self.survey.at(at);
        match (element.has_plain_name(), self.survey.is_only_of_type(at)) {
            (true, true) => element.tag().to_owned(),
            (true, false) => format!("{}[{}]", element.tag(), element.of_type),
            // Names of SVG and of inventors mean other things in other engines.
            (false, _) => format!("*[{}]", element.child),
        }
    }
}

/// The element as an anchor, if it is one.
fn anchor(survey: &Survey<'_>, at: usize) -> Option<Anchor> {
    let element = survey.at(at);
    for name in TEST_ATTRIBUTES {
        if let Some(value) =
            element.attribute(name).filter(|value| is_writable(value) && survey.with_attribute(name, value) == [at])
        {
            let (css, xpath) =
                (format!("[{name}={}]", css_string(value)), format!("//*[@{name}={}]", xpath_string(value)));
            return Some(Anchor { at, css, xpath, life: name_lives(value) });
        }
    }
    if let Some(id) = element
        .attribute("id")
        .filter(|id| is_writable(id) && generated(id) < 0.3 && survey.with_attribute("id", id) == [at])
    {
        let (css, xpath) = (format!("#{}", css_identifier(id)), format!("//*[@id={}]", xpath_string(id)));
        return Some(Anchor { at, css, xpath, life: name_lives(id) });
    }
    let tag = element.tag();
    (LANDMARKS.contains(&tag) && element.has_plain_name() && survey.with_tag(tag) == [at]).then(|| Anchor {
        at,
        css: tag.to_owned(),
        xpath: format!("//{tag}"),
        life: 0.85,
    })
}
