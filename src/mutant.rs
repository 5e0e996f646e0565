//! Deliberately broken builds, by which the tests are tested.
//!
//! `mutant!(name)` marks what a mutant breaks. It is the literal `false`, and so nothing of it is left in the
//! program, unless the crate is built with `--cfg ganger_mutants`: then it asks whether `GANGER_MUTANT` names this
//! one. What a mutant does beside the product's own steps stands in `mutant!(name => { ... })`. Scripts and statements are loaded with `source!`, which replaces the pieces that a mutant breaks.
//! `tests/mutants.toml` lists every mutant with the tests that catch it; `scripts/mutants.sh` shows that they do.

/// Whether the mutant of this name is alive; with `=> { ... }`, what it does if it is.
#[cfg(not(ganger_mutants))]
macro_rules! mutant {
    ($name:ident) => {
        false
    };
    ($name:ident => $body:block) => {};
}

/// The text of a file beside the caller's.
#[cfg(not(ganger_mutants))]
macro_rules! source {
    ($path:literal) => {
        include_str!($path)
    };
}

#[cfg(ganger_mutants)]
macro_rules! mutant {
    ($name:ident) => {
        $crate::mutant::broken::is_alive(stringify!($name))
    };
    ($name:ident => $body:block) => {
        if $crate::mutant::mutant!($name) $body
    };
}

#[cfg(ganger_mutants)]
macro_rules! source {
    ($path:literal) => {
        $crate::mutant::broken::source(file!(), $path, include_str!($path))
    };
}

pub(crate) use {mutant, source};

/// The mutant that is alive.
#[cfg(ganger_mutants)]
pub(crate) mod broken {
    use std::collections::BTreeMap;
    use std::path::Path;
    use std::sync::LazyLock;

    use serde::Deserialize;

    const CATALOGUE: &str = include_str!("../tests/mutants.toml");

    /// The part of a catalogue entry that the program needs.
    #[derive(Debug, Deserialize)]
    struct Entry {
        /// File, piece of its text, what stands there instead.
        #[serde(default)]
        texts: Vec<[String; 3]>,
    }

    static ALIVE: LazyLock<Option<(String, Entry)>> = LazyLock::new(|| {
        let name = std::env::var("GANGER_MUTANT").ok().filter(|name| !name.is_empty())?;
        let catalogue: Result<BTreeMap<String, Entry>, _> = toml::from_str(CATALOGUE);
        match catalogue.map(|mut entries| entries.remove(&name)) {
            Ok(Some(entry)) => Some((name, entry)),
            Ok(None) => abort(&format!("tests/mutants.toml lists no {name:?}")),
            Err(error) => abort(&format!("tests/mutants.toml cannot be read: {error}")),
        }
    });

    pub(crate) fn is_alive(name: &str) -> bool {
        ALIVE.as_ref().is_some_and(|(alive, _)| alive == name)
    }

    /// The text at `path`, seen from the file `caller`, as the mutant has it.
    pub(crate) fn source(caller: &str, path: &str, text: &'static str) -> &'static str {
        let place = Path::new(caller).with_file_name(path);
        let texts = ALIVE.iter().flat_map(|(_, entry)| &entry.texts);
        texts.filter(|[file, ..]| *file == place.to_string_lossy()).fold(text, |text, [file, piece, instead]| {
            if text.matches(piece.as_str()).count() != 1 {
                abort(&format!("{file} has not exactly one {piece:?}"));
            }
            // A broken build may leak: it lives for one test.
            Box::leak(text.replace(piece.as_str(), instead).into_boxed_str())
        })
    }

    /// A panic could be taken for a test that fails.
    #[expect(clippy::print_stderr, reason = "there is nobody else to tell")]
    fn abort(why: &str) -> ! {
        eprintln!("GANGER_MUTANT: {why}");
        std::process::abort()
    }
}
