//! Fixture trees with exact figures, and one real group.

mod real_group;
mod trees;
