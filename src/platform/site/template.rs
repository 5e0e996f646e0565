//! Templates: HTML with holes.
//!
//! `{{name}}` is a value, escaped. `<!-- each name -->` repeats what follows for each item of a list, `<!-- if name -->`
//! and `<!-- unless name -->` keep it or leave it out, each up to `<!-- end name -->`. The markup of a version of the
//! site is all in its templates, so that a redesign changes nothing else.

use serde_json::Value;

/// Fills a template. Names are looked up from the innermost item outwards.
pub(super) fn fill(template: &str, values: &Value) -> Result<String, String> {
    let mut page = String::with_capacity(template.len() * 2);
    into(template, &[values], &mut page)?;
    Ok(page)
}

enum Hole {
    Value,
    Block,
}

fn into(template: &str, scopes: &[&Value], page: &mut String) -> Result<(), String> {
    let mut rest = template;
    while let Some((at, hole)) = next_hole(rest) {
        page.push_str(&rest[..at]);
        rest = match hole {
            Hole::Value => {
                let (name, after) = rest[at + 2..].split_once("}}").ok_or("a {{ has no }}")?;
                page.push_str(&escaped(&text(look_up(name, scopes))));
                after
            }
            Hole::Block => {
                let (words, after) = rest[at + 5..].split_once(" -->").ok_or("a block has no end of its comment")?;
                let (kind, name) = words.split_once(' ').ok_or_else(|| format!("<!-- {words} --> names nothing"))?;
                let end = format!("<!-- end {name} -->");
                let (body, after) = after.split_once(&end).ok_or_else(|| format!("there is no {end}"))?;
                block(kind, look_up(name, scopes), body, scopes, page)?;
                after
            }
        };
    }
    page.push_str(rest);
    Ok(())
}

fn next_hole(text: &str) -> Option<(usize, Hole)> {
    let value = text.find("{{").map(|at| (at, Hole::Value));
    let blocks = ["<!-- each ", "<!-- if ", "<!-- unless "];
    let block = blocks.iter().filter_map(|start| text.find(start)).min().map(|at| (at, Hole::Block));
    value.into_iter().chain(block).min_by_key(|(at, _)| *at)
}

fn block(kind: &str, value: &Value, body: &str, scopes: &[&Value], page: &mut String) -> Result<(), String> {
    match (kind, is_something(value)) {
        ("each", _) => {
            for item in value.as_array().into_iter().flatten() {
                into(body, &[scopes, &[item]].concat(), page)?;
            }
            Ok(())
        }
        ("if", true) | ("unless", false) => into(body, scopes, page),
        _ => Ok(()),
    }
}

fn look_up<'a>(name: &str, scopes: &[&'a Value]) -> &'a Value {
    scopes.iter().rev().find_map(|scope| scope.get(name)).unwrap_or(&Value::Null)
}

fn is_something(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => false,
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        _ => true,
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

/// A text as HTML has it, in content and in attributes.
pub(in super::super) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;").replace('\'', "&#39;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn holes_are_filled_and_values_escaped() {
        let values = json!({ "name": "<Ada>", "rows": [{ "n": 1, "seats": [{ "s": "a" }, { "s": "b", "sold": true }] }], "none": [] });
        let template = "{{name}}: <!-- each rows -->{{n}}<!-- each seats -->[{{s}}<!-- if sold -->!<!-- end sold -->{{n}}]\
                        <!-- end seats --><!-- end rows --><!-- unless none -->nothing<!-- end none -->{{missing}}<!-- plain -->";
        assert_eq!(fill(template, &values).unwrap(), "&lt;Ada&gt;: 1[a1][b!1]nothing<!-- plain -->");
    }

    #[test]
    fn a_block_without_an_end_is_an_error() {
        assert!(fill("<!-- each rows -->", &json!({})).unwrap_err().contains("end rows"));
        assert!(fill("{{a", &json!({})).is_err());
    }
}
