//! The part of `XPath` 1.0 that locators are written in.
//!
//! Paths with the axes `child`, `descendant`, `self`, `parent`, `ancestor`, `following-sibling` and
//! `preceding-sibling`; predicates with positions, comparisons, `and`, `or`, `not()`, `contains()`,
//! `starts-with()`, `normalize-space()`, `concat()`, `string()`, `text()`, `last()`, `position()`, `count()`. Anything else is
//! refused by name, never taken for something else.

mod evaluate;
mod parse;

pub use evaluate::select;
pub use parse::{Expression, parse};

/// What a step goes along.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Axis {
    /// Children.
    Child,
    /// Everything below.
    Descendant,
    /// Everything below, and the element itself.
    DescendantOrSelf,
    /// The element itself.
    Itself,
    /// What it stands in.
    Parent,
    /// Everything it stands in, nearest first.
    Ancestor,
    /// Siblings behind it.
    FollowingSibling,
    /// Siblings before it, nearest first.
    PrecedingSibling,
}

/// One step of a path.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// What it goes along.
    pub axis: Axis,
    /// The name that elements must have; nothing for `*`.
    pub name: Option<String>,
    /// What must hold, in order.
    pub predicates: Vec<Expression>,
}

/// A path, from the root of the page or from the element that is looked at.
#[derive(Debug, Clone, PartialEq)]
pub struct Path {
    /// Whether it starts at the root.
    pub is_absolute: bool,
    /// Its steps.
    pub steps: Vec<Step>,
    /// The attribute of the elements that it ends with.
    pub attribute: Option<String>,
    /// Whether it ends with their text nodes.
    pub ends_in_text: bool,
}

#[cfg(test)]
mod tests;
