//! Locators: several ways to find each element of a page, checked to select it and nothing else.

mod candidates;
mod fingerprint;
mod generate;
mod locator;
mod naming;
mod paths;
pub mod quoting;
mod resolve;
pub mod stability;
pub mod survey;
pub mod tool;
mod walk;
pub mod xpath;

pub use candidates::{TEST_ATTRIBUTES, rounded};
pub use fingerprint::{Ancestor, Fingerprint, Position};
pub use generate::{Batch, Located, deadline_in, generate};
pub use locator::{By, Locator, RankedLocator, Strategy, Written};
pub use resolve::{check, resolve};

#[cfg(test)]
mod tests;
