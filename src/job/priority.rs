//! How urgent a job is: five steps, each with a number and a name.

use std::fmt;

/// 1 is the most urgent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Priority(u8);

/// Names by number, most urgent first.
pub const PRIORITY_NAMES: [&str; 5] = ["critical", "high", "normal", "low", "background"];

impl Priority {
    /// The middle, and the default.
    pub const NORMAL: Self = Self(3);

    /// The priority with this number, 1 to 5.
    #[must_use]
    pub fn from_number(number: u64) -> Option<Self> {
        u8::try_from(number).ok().filter(|n| (1..=5).contains(n)).map(Self)
    }

    /// The priority with this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        let at = PRIORITY_NAMES.iter().position(|&known| known == name)?;
        Self::from_number(at as u64 + 1)
    }

    /// 1 to 5.
    #[must_use]
    pub fn number(self) -> u8 {
        self.0
    }

    /// `critical` to `background`.
    #[must_use]
    pub fn name(self) -> &'static str {
        PRIORITY_NAMES[usize::from(self.0 - 1)]
    }
}

impl fmt::Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names_agree() {
        for number in 1..=5 {
            let priority = Priority::from_number(number).unwrap();
            assert_eq!(Priority::from_name(priority.name()), Some(priority));
        }
        assert_eq!(Priority::from_number(0), None);
        assert_eq!(Priority::from_number(6), None);
        assert_eq!(Priority::from_name("urgent"), None);
    }
}
