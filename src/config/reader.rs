//! Walks the merged tree and takes typed values out of it, noting every problem on the way.
//!
//! Nothing here stops at the first mistake: a bad value is noted and replaced by a harmless one, so
//! that the walk goes on; the caller throws the outcome away when anything was noted.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use config::{Map, Value, ValueKind};

use super::layers::{BUILT_IN, ENVIRONMENT, as_table};
use super::problem::{Problem, nearest};
use super::secret::SecretText;

/// The largest file that may hold a secret: more is a mistaken path.
const SECRET_BYTES_MAX: u64 = 65_536;

/// What the whole walk shares.
#[derive(Debug)]
pub(super) struct Context {
    problems: RefCell<Vec<Problem>>,
    credentials: Option<PathBuf>,
    nothing: Map<String, Value>,
}

/// One table on the walk.
#[derive(Debug)]
pub(super) struct Section<'a> {
    context: &'a Context,
    path: String,
    origin: String,
    own: &'a Map<String, Value>,
    /// What holds where `own` says nothing, and its path.
    fallback: Option<(&'a Map<String, Value>, String)>,
    known: RefCell<BTreeSet<String>>,
}

/// A value and the key that said it.
struct Found<'a> {
    value: &'a Value,
    key: String,
}

// === impl Context ===

impl Context {
    pub(super) fn new(credentials: Option<PathBuf>) -> Self {
        Self { problems: RefCell::default(), credentials, nothing: Map::new() }
    }

    /// The whole tree.
    pub(super) fn root<'a>(&'a self, tree: &'a Value) -> Section<'a> {
        self.section(String::new(), BUILT_IN.to_owned(), as_table(tree).unwrap_or(&self.nothing))
    }

    fn section<'a>(&'a self, path: String, origin: String, own: &'a Map<String, Value>) -> Section<'a> {
        Section { context: self, path, origin, own, fallback: None, known: RefCell::default() }
    }

    pub(super) fn note(&self, key: String, source: String, message: String) {
        let problem = Problem { key, source, message };
        let mut problems = self.problems.borrow_mut();
        // A bad default would otherwise be told once for each entry that relies on it.
        if !problems.contains(&problem) {
            problems.push(problem);
        }
    }

    pub(super) fn into_problems(self) -> Vec<Problem> {
        self.problems.into_inner()
    }
}

// === impl Section ===

impl<'a> Section<'a> {
    fn key(&self, name: &str) -> String {
        join(&self.path, name)
    }

    fn find(&self, name: &str) -> Option<Found<'a>> {
        self.known.borrow_mut().insert(name.to_owned());
        if let Some(value) = self.own.get(name) {
            return Some(Found { value, key: self.key(name) });
        }
        let (table, path) = self.fallback.as_ref()?;
        table.get(name).map(|value| Found { value, key: join(path, name) })
    }

    fn need(&self, name: &str, expected: &str) -> Option<Found<'a>> {
        let found = self.find(name);
        if found.is_none() {
            self.context.note(self.key(name), self.origin.clone(), format!("is missing; expected {expected}"));
        }
        found
    }

    fn wrong(&self, found: &Found<'_>, expected: &str) {
        let message = format!("expected {expected}, found {}", describe(found));
        self.context.note(found.key.clone(), source(found.value), message);
    }

    /// Notes a problem with the value of `name`, be it its own, a default or missing.
    pub(super) fn problem(&self, name: &str, message: impl Into<String>) {
        let (key, source) = self.place(name);
        self.context.note(key, source, message.into());
    }

    /// The key that says what `name` is, and where it was said.
    pub(super) fn place(&self, name: &str) -> (String, String) {
        match self.find(name) {
            Some(found) => (found.key, source(found.value)),
            None => (self.key(name), self.origin.clone()),
        }
    }

    /// Whether no operator said what `name` is.
    pub(super) fn is_default(&self, name: &str) -> bool {
        self.place(name).1 == BUILT_IN
    }

    /// Whether nothing was wrong with these keys so far, so that it makes sense to compare them.
    pub(super) fn is_sound(&self, names: &[&str]) -> bool {
        let problems = self.context.problems.borrow();
        names.iter().filter_map(|name| self.find(name)).all(|found| problems.iter().all(|it| it.key != found.key))
    }

    /// Whether anything is said, here or by default.
    pub(super) fn has(&self, name: &str) -> bool {
        self.find(name).is_some_and(|found| !matches!(&found.value.kind, ValueKind::String(text) if text.is_empty()))
    }

    /// A whole number from `min` to `max`.
    pub(super) fn integer(&self, name: &str, min: u64, max: u64) -> u64 {
        let expected = format!("a whole number from {min} to {max}");
        let Some(found) = self.need(name, &expected) else { return min };
        whole(found.value).filter(|number| (min..=max).contains(number)).unwrap_or_else(|| {
            self.wrong(&found, &expected);
            min
        })
    }

    /// A number above `above`, at most `max`.
    pub(super) fn number(&self, name: &str, above: f64, max: f64) -> f64 {
        let expected = format!("a number above {above}, at most {max}");
        self.number_that(name, &expected, |number| number > above && number <= max).unwrap_or(max)
    }

    /// A number from 0 to `max`.
    pub(super) fn number_from_zero(&self, name: &str, max: f64) -> f64 {
        let expected = format!("a number from 0 to {max}");
        self.number_that(name, &expected, |number| (0.0..=max).contains(&number)).unwrap_or(0.0)
    }

    fn number_that(&self, name: &str, expected: &str, fits: impl Fn(f64) -> bool) -> Option<f64> {
        let found = self.need(name, expected)?;
        let number = match &found.value.kind {
            ValueKind::Float(number) => Some(*number),
            #[expect(clippy::cast_precision_loss, reason = "bounded far below 2^52 by every caller")]
            ValueKind::I64(number) => Some(*number as f64),
            ValueKind::String(text) if is_text_only(found.value) => text.trim().parse().ok(),
            _ => None,
        };
        let number = number.filter(|number| fits(*number));
        if number.is_none() {
            self.wrong(&found, expected);
        }
        number
    }

    /// Yes or no.
    pub(super) fn flag(&self, name: &str) -> bool {
        let Some(found) = self.need(name, "true or false") else { return false };
        match &found.value.kind {
            ValueKind::Boolean(said) => return *said,
            ValueKind::String(text) if is_text_only(found.value) && text.trim() == "true" => return true,
            ValueKind::String(text) if is_text_only(found.value) && text.trim() == "false" => return false,
            _ => self.wrong(&found, "true or false"),
        }
        false
    }

    /// A text; missing is a problem, empty is not.
    pub(super) fn text(&self, name: &str) -> String {
        let Some(found) = self.need(name, "a text") else { return String::new() };
        self.as_text(&found).unwrap_or_default()
    }

    /// A text that may be missing; empty is missing.
    pub(super) fn optional_text(&self, name: &str) -> Option<String> {
        let found = self.find(name)?;
        self.as_text(&found).filter(|text| !text.is_empty())
    }

    /// A text that must be there; empty is a problem.
    pub(super) fn essential_text(&self, name: &str, expected: &str) -> String {
        let Some(found) = self.need(name, expected) else { return String::new() };
        let text = self.as_text(&found).unwrap_or_default();
        if text.is_empty() && matches!(found.value.kind, ValueKind::String(_)) {
            self.wrong(&found, expected);
        }
        text
    }

    /// A word or a whole number, as text.
    pub(super) fn word(&self, name: &str) -> String {
        let Some(found) = self.need(name, "a word or a number") else { return String::new() };
        match &found.value.kind {
            ValueKind::I64(number) => number.to_string(),
            _ => self.as_text(&found).unwrap_or_default(),
        }
    }

    /// A number, a text or a flag, as JSON has it.
    pub(super) fn scalar(&self, name: &str) -> serde_json::Value {
        let expected = "a number, a text, true or false";
        let Some(found) = self.need(name, expected) else { return serde_json::Value::Null };
        match &found.value.kind {
            ValueKind::Boolean(flag) => (*flag).into(),
            ValueKind::I64(number) => (*number).into(),
            ValueKind::Float(number) if number.is_finite() => (*number).into(),
            // From the environment everything is a text, also what was meant as a number.
            ValueKind::String(text) if is_text_only(found.value) => {
                serde_json::from_str(text).unwrap_or_else(|_plain| text.as_str().into())
            }
            ValueKind::String(text) => text.as_str().into(),
            _ => {
                self.wrong(&found, expected);
                serde_json::Value::Null
            }
        }
    }

    fn as_text(&self, found: &Found<'_>) -> Option<String> {
        if let ValueKind::String(text) = &found.value.kind {
            return Some(text.clone());
        }
        self.wrong(found, "a text in quotes");
        None
    }

    /// One of a few words.
    pub(super) fn choice<T: Copy>(&self, name: &str, words: &[(&str, T)]) -> T {
        let expected = one_of(words.iter().map(|(word, _)| *word));
        let chosen = |found: &Found<'_>| match &found.value.kind {
            ValueKind::String(text) => words.iter().find(|(word, _)| word == text).map(|(_, chosen)| *chosen),
            _ => None,
        };
        let Some(found) = self.need(name, &expected) else { return words[0].1 };
        chosen(&found).unwrap_or_else(|| {
            self.wrong(&found, &expected);
            words[0].1
        })
    }

    /// A list of texts. From the environment: separated by commas.
    pub(super) fn texts(&self, name: &str) -> Vec<String> {
        let expected = "a list of texts";
        let Some(found) = self.need(name, expected) else { return Vec::new() };
        let read = |item: &Value| match &item.kind {
            ValueKind::String(text) => Some(text.clone()),
            _ => None,
        };
        self.items(&found, expected, read)
    }

    /// A list of whole numbers. From the environment: separated by commas.
    pub(super) fn integers(&self, name: &str) -> Vec<u64> {
        let expected = "a list of whole numbers";
        let Some(found) = self.need(name, expected) else { return Vec::new() };
        self.items(&found, expected, whole)
    }

    fn items<T>(&self, found: &Found<'_>, expected: &str, read: impl Fn(&Value) -> Option<T>) -> Vec<T> {
        let all: Option<Vec<T>> = match &found.value.kind {
            ValueKind::Array(list) => list.iter().map(read).collect(),
            ValueKind::String(text) if is_text_only(found.value) => {
                let words = text.split(',').map(str::trim).filter(|word| !word.is_empty());
                words.map(|word| read(&Value::new(Some(&ENVIRONMENT.to_owned()), word))).collect()
            }
            _ => None,
        };
        all.unwrap_or_else(|| {
            self.wrong(found, expected);
            Vec::new()
        })
    }

    /// A table of texts with names of the operator's choice; none when it is missing.
    pub(super) fn text_table(&self, name: &str) -> BTreeMap<String, String> {
        let table = self.table(name);
        let names: BTreeSet<&String> = table.own.keys().collect();
        names.into_iter().map(|key| (key.clone(), table.text(key))).collect()
    }

    /// A table; an empty one when it is missing.
    pub(super) fn table(&self, name: &str) -> Section<'a> {
        let nothing = || self.context.section(self.key(name), self.origin.clone(), &self.context.nothing);
        let Some(found) = self.find(name) else { return nothing() };
        let Some(table) = as_table(found.value) else {
            self.wrong(&found, "a table");
            return nothing();
        };
        self.context.section(found.key, source(found.value), table)
    }

    /// The tables in a table, by the names that the operator gave them.
    pub(super) fn tables(&self, name: &str) -> Vec<(String, Section<'a>)> {
        let outer = self.table(name);
        let names: BTreeSet<&'a String> = outer.own.keys().collect();
        names.into_iter().map(|inner| (inner.clone(), outer.table(inner))).collect()
    }

    /// The tables in a list of tables, each with its place in the path; none when it is missing.
    pub(super) fn list_of_tables(&self, name: &str) -> Vec<Section<'a>> {
        let Some(found) = self.find(name) else { return Vec::new() };
        let ValueKind::Array(list) = &found.value.kind else {
            self.wrong(&found, "a list of tables");
            return Vec::new();
        };
        let mut sections = Vec::new();
        for (at, item) in list.iter().enumerate() {
            let found = Found { value: item, key: format!("{}[{at}]", found.key) };
            match as_table(item) {
                Some(table) => sections.push(self.context.section(found.key, source(item), table)),
                None => self.wrong(&found, "a table"),
            }
        }
        sections
    }

    /// Falls back to another table's values.
    #[must_use]
    pub(super) fn with_fallback(mut self, fallback: &Section<'a>) -> Self {
        self.fallback = Some((fallback.own, fallback.path.clone()));
        self
    }

    /// A secret: the text of `name`, or the content of the file that `file_name` names, without the
    /// line end that editors leave.
    pub(super) fn secret(&self, name: &str, file_name: &str) -> Option<SecretText> {
        let (direct, file) = (self.optional_text(name), self.optional_text(file_name));
        match (direct, file) {
            (Some(_), Some(_)) => {
                self.problem(file_name, format!("excludes `{name}`, which is set too; keep one of them"));
                None
            }
            (direct, None) => direct.map(SecretText::new),
            (None, Some(file)) => match self.read_secret(&file) {
                Ok(text) => Some(SecretText::new(text)),
                Err(message) => {
                    self.problem(file_name, message);
                    None
                }
            },
        }
    }

    fn read_secret(&self, file: &str) -> Result<String, String> {
        let credential = self.context.credentials.as_ref().map(|folder| folder.join(file)).filter(|path| path.exists());
        let path = credential.unwrap_or_else(|| PathBuf::from(file));
        let shown = path.display();
        let facts = std::fs::metadata(&path).map_err(|error| format!("{shown} cannot be read: {error}"))?;
        if facts.len() > SECRET_BYTES_MAX {
            return Err(format!("{shown} has {} bytes; a secret has at most {SECRET_BYTES_MAX}", facts.len()));
        }
        let text = std::fs::read_to_string(&path).map_err(|error| format!("{shown} cannot be read: {error}"))?;
        let text = text.trim_end_matches(['\r', '\n']);
        if text.is_empty() {
            return Err(format!("{shown} is empty"));
        }
        Ok(text.to_owned())
    }

    /// Notes every key that nothing has asked for.
    pub(super) fn finish(&self) {
        let known = self.known.borrow();
        let unknown: BTreeSet<&String> = self.own.keys().filter(|key| !known.contains(*key)).collect();
        for key in unknown {
            let value = &self.own[key];
            let hint = match nearest(key, known.iter().map(String::as_str)) {
                Some(meant) => format!("; did you mean `{meant}`?"),
                None => String::new(),
            };
            self.context.note(self.key(key), source(value), format!("is not a known key{hint}"));
        }
    }
}

/// `"a", "b" or "c"`.
pub(super) fn one_of<'a>(words: impl Iterator<Item = &'a str>) -> String {
    let quoted: Vec<String> = words.map(|word| format!("{word:?}")).collect();
    match quoted.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        Some((only, _)) => only.clone(),
        None => "nothing".to_owned(),
    }
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

fn source(value: &Value) -> String {
    value.origin().unwrap_or(BUILT_IN).to_owned()
}

/// Whether the layer knows no other type than text, so that a number may stand in one.
fn is_text_only(value: &Value) -> bool {
    value.origin().is_some_and(|origin| origin == ENVIRONMENT || origin.starts_with("flag "))
}

fn whole(value: &Value) -> Option<u64> {
    match &value.kind {
        ValueKind::I64(number) => u64::try_from(*number).ok(),
        ValueKind::U64(number) => Some(*number),
        ValueKind::String(text) if is_text_only(value) => text.trim().parse().ok(),
        _ => None,
    }
}

/// A value for people. What may be a secret is not shown, and a whole table never is.
fn describe(found: &Found<'_>) -> String {
    let name = found.key.rsplit('.').next().unwrap_or_default();
    let secret =
        ["token", "secret", "url"].contains(&name) || found.key.contains(".env.") || found.key.contains(".headers.");
    match &found.value.kind {
        ValueKind::Table(_) => "a table".to_owned(),
        ValueKind::Array(_) => "a list".to_owned(),
        ValueKind::Nil => "nothing".to_owned(),
        ValueKind::String(text) if text.is_empty() => "an empty text".to_owned(),
        _ if secret => "something else".to_owned(),
        ValueKind::String(text) => format!("{text:?}"),
        other => other.to_string(),
    }
}
