//! Writing: data to stdout, talk to stderr. No colours, so `NO_COLOR` holds by itself.

use std::io::{self, Write};

use clap::ValueEnum;
use comfy_table::{Table, presets};

/// How data is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// For people.
    Table,
    /// For programs: the API's own JSON.
    Json,
}

/// One line or text of data.
pub(super) fn data(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    if !text.ends_with('\n') {
        out.write_all(b"\n")?;
    }
    out.flush()
}

/// A line to the person at the terminal. If nobody can read it, nothing is lost.
pub(super) fn talk(text: &str) {
    writeln!(io::stderr().lock(), "{text}").ok();
}

/// Columns under headings, without lines that a pipe would have to strip.
pub(super) fn table(headings: &[&str], rows: Vec<Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(headings.iter().map(|heading| (*heading).to_owned()).collect::<Vec<_>>());
    for row in rows {
        table.add_row(row.iter().map(|cell| printable(cell)).collect::<Vec<_>>());
    }
    table.lines().map(|line| line.trim_end().strip_prefix(' ').map_or_else(String::new, str::to_owned) + "\n").collect()
}

/// A text without control characters: names and messages come from outside and must not steer the terminal.
pub(super) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// The same for a text of several lines.
pub(super) fn printable_lines(text: &str) -> String {
    text.lines().map(|line| printable(line) + "\n").collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_has_columns_and_no_lines() {
        let text = table(&["QUEUE", "READY"], vec![vec!["plan".into(), "3".into()], vec!["exec".into(), "12".into()]]);
        let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines, [vec!["QUEUE", "READY"], vec!["plan", "3"], vec!["exec", "12"]]);
        assert!(text.starts_with("QUEUE"), "{text:?}");
    }

    #[test]
    fn escape_sequences_do_not_reach_the_terminal() {
        assert_eq!(printable("a\u{1b}[2Jb"), "a\u{fffd}[2Jb");
    }
}
