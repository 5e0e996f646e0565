//! Prints the effective configuration as TOML, without its secrets.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use config::{Value, ValueKind};

use super::Config;
use super::layers::BUILT_IN;
use super::secret::{MASK, without_password};

/// The effective configuration as TOML that can be loaded again, but for its secrets, which are
/// `***`. With `origins`, each value that is no built-in default says where it comes from.
#[must_use]
pub fn show(config: &Config, origins: bool) -> String {
    let mut out = String::new();
    table(&mut out, &mut Vec::new(), &config.effective.0, origins);
    out
}

fn table<'a>(out: &mut String, path: &mut Vec<&'a str>, value: &'a Value, origins: bool) {
    let ValueKind::Table(members) = &value.kind else { return };
    let members: BTreeMap<&String, &Value> = members.iter().collect();
    let is_table = |value: &Value| matches!(value.kind, ValueKind::Table(_));
    let own: Vec<_> = members.iter().filter(|(_, value)| !is_table(value)).collect();
    if !path.is_empty() && (!own.is_empty() || members.is_empty()) {
        let quoted: Vec<String> = path.iter().map(|segment| quoted_key(segment)).collect();
        line(out, format_args!("\n[{}]", quoted.join(".")));
    }
    for (key, value) in own {
        let origin = value.origin().filter(|origin| origins && *origin != BUILT_IN);
        let origin = origin.map(|origin| format!("  # {}", origin.replace(char::is_control, " "))).unwrap_or_default();
        let shown = shown(path.last().copied().unwrap_or_default(), key, value);
        line(out, format_args!("{} = {shown}{origin}", quoted_key(key)));
    }
    for (key, value) in members.iter().filter(|(_, value)| is_table(value)) {
        path.push(key);
        table(out, path, value, origins);
        path.pop();
    }
}

/// Writing to a text cannot fail.
fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    writeln!(out, "{text}").unwrap_or_default();
}

fn shown(parent: &str, key: &str, value: &Value) -> String {
    match &value.kind {
        ValueKind::String(text) if text.is_empty() => "\"\"".to_owned(),
        _ if matches!(key, "token" | "secret") || matches!(parent, "env" | "headers") => quoted(MASK),
        ValueKind::String(text) if key == "url" => quoted(&without_password(text)),
        ValueKind::String(text) => quoted(text),
        ValueKind::Float(number) => format!("{number:?}"),
        ValueKind::Array(items) => {
            let items: Vec<String> = items.iter().map(|item| shown(parent, key, item)).collect();
            format!("[{}]", items.join(", "))
        }
        ValueKind::Table(members) => {
            let members: BTreeMap<&String, &Value> = members.iter().collect();
            let pair =
                |(name, value): (&&String, &&Value)| format!("{} = {}", quoted_key(name), shown(key, name, value));
            format!("{{ {} }}", members.iter().map(pair).collect::<Vec<_>>().join(", "))
        }
        other => other.to_string(),
    }
}

fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

fn quoted_key(key: &str) -> String {
    let bare = !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'));
    if bare { key.to_owned() } else { quoted(key) }
}
