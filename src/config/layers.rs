//! The layers of a configuration, laid over each other: defaults, files, credentials, environment, flags.
//!
//! Every value keeps the name of the layer that said it, so a problem can tell where to look.

use std::path::{Path, PathBuf};

use config::{File, FileFormat, Map, Source as _, Value, ValueKind};

use super::DEFAULT_TOML;
use super::problem::Problem;

/// The origin of what no operator has said.
pub(super) const BUILT_IN: &str = "built-in default";
/// The origin of environment variables.
pub(super) const ENVIRONMENT: &str = "environment";
/// What environment variables of the configuration start with.
const ENV_PREFIX: &str = "GANGER__";
/// Credentials of a service manager that count wherever they are there, and the keys whose files they are.
const CREDENTIALS: [(&str, &[&str]); 3] = [
    ("redis-url", &["redis", "url_file"]),
    ("database-url", &["ledger", "url_file"]),
    (API_TOKEN, &["auth", "tokens", API_TOKEN, "token_file"]),
];
/// The credential that is a token for everything; the name of that token as well.
const API_TOKEN: &str = "api-token";
/// The tables whose entries an operator names.
const NAMED_TABLES: [&str; 4] = ["queues", "pools", "job_types", "mcp_servers"];

/// Values of `ganger serve`'s flags.
#[derive(Debug, Clone, Default)]
pub struct Flags {
    /// `--listen ADDR`
    pub listen: Option<String>,
    /// `--data-dir DIR`
    pub data_dir: Option<String>,
    /// `--redis-url URL`
    pub redis_url: Option<String>,
    /// `--database-url URL`
    pub database_url: Option<String>,
}

/// One configuration file.
#[derive(Debug, Clone)]
pub enum ConfigFile {
    /// To be read from here.
    Path(PathBuf),
    /// Read already.
    Text {
        /// What problems call it.
        name: String,
        /// TOML.
        text: String,
    },
}

/// Everything a configuration is made from.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// Files, each over the one before.
    pub files: Vec<ConfigFile>,
    /// The environment; only `GANGER__*` and `CREDENTIALS_DIRECTORY` are looked at.
    pub environment: Vec<(String, String)>,
    /// Flags.
    pub flags: Flags,
    /// What is wrong with a URL of Redis, as its adapter sees it, which is not named here. `None` takes any.
    pub check_redis_url: Option<UrlCheck>,
}

/// Says what is wrong with a URL, without its secrets.
pub type UrlCheck = fn(&str) -> Result<(), String>;

impl Sources {
    /// Files and flags, with the process's own environment.
    #[must_use]
    pub fn of_process(files: &[PathBuf], flags: Flags, check_redis_url: UrlCheck) -> Self {
        let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.to_string_lossy().into_owned()))
        };
        Self {
            files: files.iter().cloned().map(ConfigFile::Path).collect(),
            environment: std::env::vars_os().filter_map(text).collect(),
            flags,
            check_redis_url: Some(check_redis_url),
        }
    }

    /// Where a service manager puts secrets for this process.
    pub(super) fn credentials_directory(&self) -> Option<PathBuf> {
        let set = self.environment.iter().find(|(name, value)| name == "CREDENTIALS_DIRECTORY" && !value.is_empty());
        set.map(|(_, value)| value.into())
    }
}

/// All layers, merged.
///
/// # Errors
/// Files that cannot be read or are not TOML.
pub(super) fn merged(sources: &Sources) -> Result<Value, Vec<Problem>> {
    let mut problems = Vec::new();
    let mut layers = Vec::new();
    let built_in = ConfigFile::Text { name: String::new(), text: DEFAULT_TOML.to_owned() };
    for file in std::iter::once(&built_in).chain(&sources.files) {
        match read(file) {
            Ok(layer) => layers.push(layer),
            Err(problem) => problems.push(problem),
        }
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    layers.extend(sources.credentials_directory().map(|folder| Layer::Tree(credentials(&folder))));
    layers.push(Layer::Environment(sources.environment.clone()));
    layers.push(Layer::Tree(flags(&sources.flags)));
    if !inherits(&layers) {
        drop_named_defaults(&mut layers[0]);
    }
    let mut tree = Value::new(None, Map::<String, Value>::new());
    for layer in layers {
        layer.lay_over(&mut tree);
    }
    Ok(tree)
}

/// One layer, ready to be laid over those below.
#[derive(Debug, Clone)]
enum Layer {
    Tree(Map<String, Value>),
    /// Its keys can be told only with the layers below at hand: `PLAN_WORKERS` may be `plan-workers`.
    Environment(Vec<(String, String)>),
}

impl Layer {
    // Not by `config`'s builder: merging there, tables forget where they come from.
    fn lay_over(self, below: &mut Value) {
        let tree = match self {
            Self::Tree(tree) => tree,
            Self::Environment(pairs) => environment(&pairs, below),
        };
        lay_over(below, Value::new(None, tree));
    }
}

/// Tables are laid over each other key by key; everything else replaces what was there.
fn lay_over(below: &mut Value, above: Value) {
    let origin = above.origin().map(str::to_owned);
    match (&mut below.kind, above.kind) {
        (ValueKind::Table(low), ValueKind::Table(high)) => {
            displace(low, &high);
            for (key, value) in high {
                match low.get_mut(&key) {
                    Some(known) => lay_over(known, value),
                    None => {
                        low.insert(key, value);
                    }
                }
            }
        }
        (_, kind) => *below = Value::new(origin.as_ref(), kind),
    }
}

/// Keys that exclude each other: saying one above takes the other away below. So does another
/// `kind` of handler with all that belonged to the former one.
fn displace(low: &mut Map<String, Value>, high: &Map<String, Value>) {
    let text = |table: &Map<String, Value>, key: &str| match &table.get(key)?.kind {
        ValueKind::String(text) => Some(text.clone()),
        _ => None,
    };
    if let (Some(was), Some(becomes)) = (text(low, "kind"), text(high, "kind"))
        && was != becomes
    {
        low.clear();
    }
    let either =
        [("url", "url_file"), ("secret", "secret_file"), ("token", "token_file"), ("command", "url"), ("tool", "mode")];
    for (one, other) in either {
        for (said, gone) in [(one, other), (other, one)] {
            if high.contains_key(said) && !high.contains_key(gone) && text(high, said).is_none_or(|it| !it.is_empty()) {
                low.remove(gone);
            }
        }
    }
}

fn read(file: &ConfigFile) -> Result<Layer, Problem> {
    let (source, text) = match file {
        ConfigFile::Text { name, text } if name.is_empty() => (BUILT_IN.to_owned(), text.clone()),
        ConfigFile::Text { name, text } => (format!("file {name}"), text.clone()),
        ConfigFile::Path(path) => {
            let source = format!("file {}", path.display());
            match std::fs::read_to_string(path) {
                Ok(text) => (source, text),
                Err(error) => {
                    return Err(Problem { key: String::new(), source, message: format!("cannot be read: {error}") });
                }
            }
        }
    };
    let problem = |message| Problem { key: String::new(), source: source.clone(), message };
    if let Err(error) = toml::de::DeTable::parse(&text) {
        let (line, column) = position(&text, error.span().map_or(0, |span| span.start));
        return Err(problem(format!("line {line}, column {column}: {}", error.message())));
    }
    let mut tree = File::from_str(&text, FileFormat::Toml).collect().map_err(|error| problem(error.to_string()))?;
    for value in tree.values_mut() {
        stamp(value, &source);
    }
    Ok(Layer::Tree(tree))
}

/// Line and column, from 1, of the byte at `offset`.
fn position(text: &str, offset: usize) -> (usize, usize) {
    let before = &text[..text.floor_char_boundary(offset)];
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}

/// Marks a value and all below it with where it comes from.
fn stamp(value: &mut Value, source: &String) {
    let mut kind = std::mem::take(&mut value.kind);
    match &mut kind {
        ValueKind::Table(table) => table.values_mut().for_each(|inner| stamp(inner, source)),
        ValueKind::Array(list) => list.iter_mut().for_each(|inner| stamp(inner, source)),
        _ => {}
    }
    *value = Value::new(Some(source), kind);
}

fn flags(flags: &Flags) -> Map<String, Value> {
    let mut tree = Value::new(None, Map::<String, Value>::new());
    let all = [
        (["server", "listen"], "--listen", &flags.listen),
        (["server", "data_dir"], "--data-dir", &flags.data_dir),
        (["redis", "url"], "--redis-url", &flags.redis_url),
        (["ledger", "url"], "--database-url", &flags.database_url),
    ];
    for (path, flag, value) in all {
        if let Some(text) = value {
            let path = path.map(str::to_owned);
            put(&mut tree, &path, Value::new(Some(&format!("flag {flag}")), text.clone()));
        }
    }
    tree.into_table().unwrap_or_default()
}

/// What stands in the folder of a service manager's credentials. An empty one is as good as none, so that a unit can
/// name them all.
fn credentials(folder: &Path) -> Map<String, Value> {
    let mut tree = Value::new(None, Map::<String, Value>::new());
    // One that cannot be read counts as there: its reader says what is wrong.
    let is_there = |name: &str| match std::fs::read(folder.join(name)) {
        Ok(text) => !text.trim_ascii().is_empty(),
        Err(error) => error.kind() != std::io::ErrorKind::NotFound,
    };
    for (name, path) in CREDENTIALS.into_iter().filter(|(name, _)| is_there(name)) {
        let origin = format!("credential {name}");
        let mut say = |path: &[&str], value: Value| {
            put(&mut tree, &path.iter().map(|segment| (*segment).to_owned()).collect::<Vec<_>>(), value);
        };
        say(path, Value::new(Some(&origin), name));
        if name == API_TOKEN {
            say(&["auth", "tokens", API_TOKEN, "roles"], Value::new(Some(&origin), vec!["submit", "read", "operate"]));
        }
    }
    tree.into_table().unwrap_or_default()
}

/// Puts a value at a path, making the tables on its way.
fn put(tree: &mut Value, path: &[String], value: Value) {
    let nested = path.iter().rev().fold(value, |inner, segment| {
        let origin = inner.origin().map(str::to_owned);
        Value::new(origin.as_ref(), Map::from([(segment.clone(), inner)]))
    });
    lay_over(tree, nested);
}

fn environment(pairs: &[(String, String)], below: &Value) -> Map<String, Value> {
    let mut ours: Vec<_> =
        pairs.iter().filter_map(|(name, text)| Some((name.strip_prefix(ENV_PREFIX)?, text))).collect();
    ours.sort();
    let mut tree = Value::new(None, Map::<String, Value>::new());
    for (name, text) in ours {
        let path = path_of(name, below);
        let value = typed(text, model(&path, below));
        put(&mut tree, &path, Value::new(Some(&ENVIRONMENT.to_owned()), value));
    }
    tree.into_table().unwrap_or_default()
}

/// The key that a variable means: each segment is an existing key where one fits, whatever its case
/// and whether it says `-` or `_`; else it is the segment in lower case.
fn path_of(name: &str, below: &Value) -> Vec<String> {
    let mut at = Some(below);
    let mut path: Vec<String> = Vec::new();
    for segment in name.split("__") {
        let table = at.and_then(as_table);
        let same = |key: &&String| key.replace('-', "_").eq_ignore_ascii_case(segment);
        // The smallest of several, so that the choice does not depend on the table's order.
        let known = table.and_then(|table| table.keys().filter(same).min());
        at = known.and_then(|key| table?.get(key));
        let is_variable = path.last().is_some_and(|parent| parent == "env");
        path.push(known.cloned().unwrap_or_else(|| if is_variable { segment.into() } else { segment.to_lowercase() }));
    }
    path
}

/// The value whose type a new value at this path should have, where there is one.
fn model<'a>(path: &[String], below: &'a Value) -> Option<&'a Value> {
    let find = |path: &[&str]| path.iter().try_fold(below, |at, segment| as_table(at)?.get(*segment));
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    find(&path).or_else(|| {
        let kind = match *path.first()? {
            "queues" => "queue",
            "pools" => "pool",
            "job_types" => "job_type",
            "mcp_servers" => "mcp_server",
            _ => return None,
        };
        find(&[&["defaults", kind], path.get(2..)?].concat())
    })
}

/// A variable's text in the type of its model; as it is where it does not fit, for the decoder to say.
fn typed(text: &str, model: Option<&Value>) -> ValueKind {
    let text = text.trim();
    let converted = match model.map(|model| &model.kind) {
        Some(ValueKind::Boolean(_)) => text.parse().ok().map(ValueKind::Boolean),
        Some(ValueKind::I64(_)) => text.parse().ok().map(ValueKind::I64),
        Some(ValueKind::Float(_)) => text.parse().ok().map(ValueKind::Float),
        _ => None,
    };
    converted.unwrap_or_else(|| ValueKind::String(text.to_owned()))
}

pub(super) fn as_table(value: &Value) -> Option<&Map<String, Value>> {
    match &value.kind {
        ValueKind::Table(table) => Some(table),
        _ => None,
    }
}

/// What the topmost layer that says it says of `inherit_defaults`.
fn inherits(layers: &[Layer]) -> bool {
    let said = layers.iter().rev().find_map(|layer| match layer {
        Layer::Tree(tree) => match tree.get("inherit_defaults")?.kind {
            ValueKind::Boolean(said) => Some(said),
            _ => None,
        },
        Layer::Environment(pairs) => {
            pairs.iter().find(|(name, _)| name.eq_ignore_ascii_case("GANGER__INHERIT_DEFAULTS"))?.1.trim().parse().ok()
        }
    });
    said.unwrap_or(true)
}

fn drop_named_defaults(built_in: &mut Layer) {
    if let Layer::Tree(tree) = built_in {
        let nothing = || Value::new(Some(&BUILT_IN.to_owned()), Map::<String, Value>::new());
        for name in NAMED_TABLES {
            tree.insert(name.to_owned(), nothing());
        }
        if let Some(Value { kind: ValueKind::Table(remediation), .. }) = tree.get_mut("remediation") {
            for name in ["actions", "alerts"] {
                remediation.insert(name.to_owned(), nothing());
            }
        }
        if let Some(Value { kind: ValueKind::Table(shedding), .. }) = tree.get_mut("shedding") {
            shedding.insert("first".to_owned(), Value::new(Some(&BUILT_IN.to_owned()), Vec::<Value>::new()));
        }
    }
}
