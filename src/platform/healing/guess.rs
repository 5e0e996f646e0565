//! What a locator itself says of the element that it was written for: all there is when nothing is remembered.

use crate::platform::locators::{By, Fingerprint, Locator};

/// A fingerprint from the words of a locator. It is thin, so what is found by it is seldom sure.
pub fn from_locator(locator: &Locator) -> Fingerprint {
    let text = match locator.by {
        By::Role => return from_role(&locator.value),
        // What stands before the last step is about ancestors.
        By::Css => last_step(&locator.value, &[' ', '>', '+', '~']),
        By::Xpath => last_step(&locator.value, &['/']),
    };
    let mut print = Fingerprint { interactive: true, ..Fingerprint::default() };
    let tag: String = text.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '-').collect();
    print.interactive =
        matches!(tag.as_str(), "" | "a" | "button" | "input" | "select" | "textarea" | "summary" | "area");
    print.tag = tag;
    let mut rest = text;
    while let Some(at) = rest.find(['#', '.', '[', '"', '\'']) {
        let sign = rest[at..].chars().next();
        let behind = &rest[at + 1..];
        let name: String = behind.chars().take_while(|c| c.is_alphanumeric() || matches!(c, '-' | '_')).collect();
        match sign {
            Some('#') if !name.is_empty() => drop(print.attributes.insert("id".to_owned(), name)),
            Some('.') if !name.is_empty() => print.classes.push(name),
            Some('[') => rest = attribute(behind, &mut print),
            Some(quote @ ('"' | '\'')) => {
                let said = behind.split(quote).next().unwrap_or("");
                print.text = said.to_owned();
                rest = behind.get(said.len() + 1..).unwrap_or("");
            }
            _ => {}
        }
        if !matches!(sign, Some('[' | '"' | '\'')) {
            rest = behind;
        }
    }
    print
}

/// Reads `name="value"]` or what `XPath` has in its brackets; gives back what follows.
fn attribute<'t>(text: &'t str, print: &mut Fingerprint) -> &'t str {
    let text = text.trim_start_matches('@');
    let name: String = text.chars().take_while(|c| c.is_alphanumeric() || matches!(c, '-' | '_')).collect();
    let behind = &text[name.len()..];
    let value = behind.trim_start_matches(['*', '^', '$', '~', '|', '=']);
    let Some(quote) = value.chars().next().filter(|c| matches!(c, '"' | '\'')) else { return behind };
    if value.len() == behind.len() || name.is_empty() {
        return behind;
    }
    let said = value[1..].split(quote).next().unwrap_or("");
    if name == "class" {
        print.classes.extend(said.split_ascii_whitespace().map(str::to_owned));
    } else {
        print.attributes.insert(name, said.to_owned());
    }
    value.get(said.len() + 2..).unwrap_or("")
}

fn from_role(value: &str) -> Fingerprint {
    let (role, rest) = value.split_once('[').unwrap_or((value, ""));
    let name = rest.split('"').nth(1).unwrap_or("").to_owned();
    Fingerprint { role: role.to_owned(), interactive: true, text: name.clone(), name, ..Fingerprint::default() }
}

/// What follows the last of these signs that stands outside of brackets and quotes.
fn last_step<'t>(text: &'t str, signs: &[char]) -> &'t str {
    let (mut depth, mut quote, mut start) = (0_usize, None, 0);
    for (at, c) in text.char_indices() {
        match (quote, c) {
            (Some(open), _) if open == c => quote = None,
            (None, '"' | '\'') => quote = Some(c),
            (None, '[' | '(') => depth += 1,
            (None, ']' | ')') => depth = depth.saturating_sub(1),
            (None, c) if depth == 0 && signs.contains(&c) => start = at + c.len_utf8(),
            _ => {}
        }
    }
    text[start..].trim()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locators_tell_of_their_element() {
        let print = from_locator(&Locator::written("#nav > a.buy-now[href=\"/buy\"]"));
        assert_eq!((print.tag.as_str(), print.classes.as_slice()), ("a", ["buy-now".to_owned()].as_slice()));
        assert_eq!(print.attribute("href"), Some("/buy"));
        assert_eq!(from_locator(&Locator::written("input#e-mail")).attribute("id"), Some("e-mail"));
        let print =
            from_locator(&Locator::written("//form[@id='f']//button[@name=\"go\" and normalize-space()='Book / now']"));
        assert_eq!(
            (print.tag.as_str(), print.text.as_str(), print.attribute("name")),
            ("button", "Book / now", Some("go"))
        );
        assert_eq!(from_locator(&Locator::written("role=link[name=\"Home\"]")).name, "Home");
        for odd in ["", "[", "#", ".", "a[", "\"", "a[b=\"", "é#é.é[é='é"] {
            from_locator(&Locator::written(odd));
        }
    }
}
