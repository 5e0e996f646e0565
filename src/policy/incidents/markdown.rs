//! Texts from outside inside Markdown: they are shown, and mean nothing.

use std::fmt::Write as _;

/// A text on one line in which nothing is markup.
pub(super) fn inline(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.trim().chars() {
        match c {
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '~' => {
                escaped.push('\\');
                escaped.push(c);
            }
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            c if c.is_whitespace() || c.is_control() => escaped.push(' '),
            c => escaped.push(c),
        }
    }
    // A line must not begin as a list, a heading or its underline does.
    let digits = escaped.bytes().take_while(u8::is_ascii_digit).count();
    if escaped.starts_with(['-', '+', '=', '#']) || (digits > 0 && escaped[digits..].starts_with(['.', ')'])) {
        escaped.insert(digits, '\\');
    }
    escaped
}

/// What a person wrote, line by line, each shown as it is; its own lists stay lists.
pub(super) fn paragraphs(text: &str) -> String {
    let mut shown = String::new();
    for line in text.lines() {
        let line = line.trim_end();
        let item = line.trim_start().strip_prefix("- ").or_else(|| line.trim_start().strip_prefix("* "));
        match item {
            Some(item) => _ = writeln!(shown, "- {}", inline(item)),
            None if line.trim().is_empty() => shown.push('\n'),
            None => _ = writeln!(shown, "{}  ", inline(line)),
        }
    }
    shown
}

/// A table; cells are markup already.
pub(super) fn table(headings: &[&str], rows: &[Vec<String>]) -> String {
    let mut shown = format!("| {} |\n|{}\n", headings.join(" | "), " --- |".repeat(headings.len()));
    for row in rows {
        _ = writeln!(shown, "| {} |", row.join(" | "));
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_from_outside_is_markup() {
        let shown = "a\\|b # c &lt;img src=x&gt; \\[d\\](e) \\`f\\` \\*g\\*";
        assert_eq!(inline("a|b\n# c <img src=x> [d](e) `f` *g*"), shown);
        assert_eq!(["- x", "12. x", "# x", "12 x\u{1b}[2J"].map(inline), ["\\- x", "12\\. x", "\\# x", "12 x \\[2J"]);
        assert_eq!(paragraphs("- buy | disks\n\nthen *rest*"), "- buy \\| disks\n\nthen \\*rest\\*  \n");
        assert_eq!(table(&["A", "B"], &[vec!["1".into(), "2".into()]]), "| A | B |\n| --- | --- |\n| 1 | 2 |\n");
    }
}
