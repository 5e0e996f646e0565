//! Values written into selectors so that every engine reads them as they were.

/// A CSS identifier, escaped as the CSSOM says.
pub fn css_identifier(name: &str) -> String {
    let mut out = String::with_capacity(name.len() + 4);
    for (at, c) in name.chars().enumerate() {
        let second = at == 1 && name.starts_with('-');
        match c {
            '\0' => out.push('\u{fffd}'),
            '\u{1}'..='\u{1f}' | '\u{7f}' => out.push_str(&by_number(c)),
            '0'..='9' if at == 0 || second => out.push_str(&by_number(c)),
            '-' if name.len() == 1 => out.push_str("\\-"),
            '-' | '_' | '\u{80}'.. | 'a'..='z' | 'A'..='Z' | '0'..='9' => out.push(c),
            _ => {
                out.push('\\');
                out.push(c);
            }
        }
    }
    out
}

/// A character by its number.
fn by_number(c: char) -> String {
    format!("\\{:x} ", u32::from(c))
}

/// A CSS string with its quotes.
pub fn css_string(value: &str) -> String {
    format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\""))
}

/// An `XPath` string; it knows no escapes, so one with both kinds of quotes is joined from parts.
pub fn xpath_string(value: &str) -> String {
    match (value.contains('"'), value.contains('\'')) {
        (false, _) => format!("\"{value}\""),
        (true, false) => format!("'{value}'"),
        (true, true) => {
            let parts: Vec<String> = value.split('"').map(|part| format!("\"{part}\"")).collect();
            format!("concat({})", parts.join(", '\"', "))
        }
    }
}

/// Whether a value can be written on one line of a selector and is short enough to be looked at.
pub fn is_writable(value: &str) -> bool {
    !value.is_empty() && value.len() <= 300 && !value.contains(char::is_control) && value.trim() == value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_values_stay_what_they_are() {
        assert_eq!(css_identifier("1a"), "\\31 a");
        assert_eq!(css_identifier("a.b:c"), "a\\.b\\:c");
        assert_eq!(css_identifier("-"), "\\-");
        assert_eq!(css_identifier("-1"), "-\\31 ");
        assert_eq!(css_string("a\"b\\"), "\"a\\\"b\\\\\"");
        assert_eq!(xpath_string("it's"), "\"it's\"");
        assert_eq!(xpath_string("a\"b"), "'a\"b'");
        assert_eq!(xpath_string("'\""), "concat(\"'\", '\"', \"\")");
    }
}
