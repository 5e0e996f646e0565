//! Taking HTML apart in small pieces, with a look at its size after each.
//!
//! A parser that gets a hostile page in one piece can be kept busy for hours: deep nesting and long
//! lists of attributes cost their square, and a few open `<b id=...>` are repeated in every paragraph
//! after them.

use html5ever::tendril::{StrTendril, TendrilSink};
use html5ever::tree_builder::TreeBuilderOpts;
use html5ever::{ParseOpts, parse_document};
use scraper::{Html, HtmlTreeSink};
use url::Url;

use super::super::reply::{ToolError, class};
use super::{Budget, Limits};

/// Bytes between two looks: so few that no piece can do much harm, so many that the looks cost nothing.
const PIECE_BYTES: usize = 1024;

/// The elements of a text, or why it is refused.
pub(super) fn within(url: &Url, html: &str, limits: &Limits) -> Result<Html, ToolError> {
    if html.len() > limits.bytes {
        return Err(too_large(url, &format!("{} bytes, more than {}", html.len(), limits.bytes)));
    }
    if let Some(why) = not_html(html) {
        return Err(ToolError::new(class::NOT_HTML, format!("{url} is no HTML: {why}")));
    }
    let budget = Budget::new(limits.analysis);
    // There are no scripts here, so what stands in <noscript> is what a person sees.
    let tree_builder = TreeBuilderOpts { scripting_enabled: false, ..TreeBuilderOpts::default() };
    let options = ParseOpts { tree_builder, ..ParseOpts::default() };
    let mut parser = parse_document(HtmlTreeSink::new(Html::new_document()), options);
    let mut rest = html;
    while !rest.is_empty() {
        let (piece, later) = rest.split_at(rest.floor_char_boundary(PIECE_BYTES.min(rest.len())));
        parser.process(StrTendril::from_slice(piece));
        rest = later;
        budget.check(&format!("taking {url} apart"))?;
        let sink = parser.tokenizer.sink.sink.0.borrow();
        if sink.tree.values().len() > limits.nodes {
            return Err(too_large(url, &format!("more than {} nodes", limits.nodes)));
        }
        if depth(&sink) > limits.depth {
            return Err(too_large(url, &format!("elements more than {} deep", limits.depth)));
        }
    }
    Ok(parser.finish())
}

fn too_large(url: &Url, what: &str) -> ToolError {
    ToolError::new(class::PAGE_TOO_LARGE, format!("{url} has {what}"))
}

/// How deep the newest element is: that is where a page grows.
fn depth(dom: &Html) -> usize {
    let (mut node, mut depth) = (dom.tree.root(), 0);
    while let Some(last) = node.last_child() {
        (node, depth) = (last, depth + 1);
    }
    depth
}

/// Why a text is no HTML, if it is none. Parsers take any text, so somebody has to look.
fn not_html(text: &str) -> Option<&'static str> {
    let head = &text[..text.floor_char_boundary(PIECE_BYTES.min(text.len()))];
    let start = text.trim_start_matches('\u{feff}').trim_start();
    if head.contains('\0') {
        Some("it has binary data")
    } else if start.is_empty() {
        Some("it is empty")
    } else if start.starts_with(['{', '[']) && serde_json::from_str::<serde::de::IgnoredAny>(start).is_ok() {
        Some("it is JSON")
    } else if start.starts_with("<?xml") && !start.contains("<html") {
        Some("it is XML")
    } else if !has_tag(text) {
        Some("it has no tag")
    } else {
        None
    }
}

/// Whether anything looks like a tag: `<` and a letter, `/` or `!` behind it.
fn has_tag(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.windows(2).any(|pair| pair[0] == b'<' && (pair[1].is_ascii_alphabetic() || pair[1] == b'!'))
}
