//! The files of the booking site: those in the program, or a folder.

use std::collections::HashMap;
use std::path::Path;

/// A version of the site's markup.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Version {
    /// The old one: tables and ids.
    V1,
    /// After the redesign: components and generated names.
    V2,
}

impl Version {
    /// All versions.
    pub const ALL: [Self; 2] = [Self::V1, Self::V2];

    /// Its name, which is also that of its folder.
    pub fn name(self) -> &'static str {
        match self {
            Self::V1 => "v1",
            Self::V2 => "v2",
        }
    }
}

/// The files of a version.
pub(super) const PAGES: [&str; 8] = [
    "index.html",
    "search.html",
    "show.html",
    "checkout.html",
    "confirmation.html",
    "refused.html",
    "help.html",
    "style.css",
];

macro_rules! embedded {
    ($version:literal: $($file:literal)*) => {
        [$(($file, include_str!(concat!("../../../examples/booking-site/", $version, "/", $file)))),*]
    };
}

/// Everything that the site shows.
#[derive(Debug, Clone)]
pub(super) struct Files {
    pub(super) shows: String,
    pages: HashMap<(Version, &'static str), String>,
}

impl Files {
    /// The files that are in the program.
    pub(super) fn embedded() -> Self {
        let v1 = embedded!("v1": "index.html" "search.html" "show.html" "checkout.html" "confirmation.html" "refused.html" "help.html" "style.css");
        let v2 = embedded!("v2": "index.html" "search.html" "show.html" "checkout.html" "confirmation.html" "refused.html" "help.html" "style.css");
        let all = v1.map(|file| (Version::V1, file)).into_iter().chain(v2.map(|file| (Version::V2, file)));
        let pages = all.map(|(version, (name, text))| ((version, name), text.to_owned())).collect();
        Self { shows: include_str!("../../../examples/booking-site/shows.json").to_owned(), pages }
    }

    /// The files of a folder that is laid out like `examples/booking-site`.
    pub(super) fn read(folder: &Path) -> Result<Self, String> {
        let read = |path: &Path| std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()));
        let mut pages = HashMap::new();
        for version in Version::ALL {
            for name in PAGES {
                pages.insert((version, name), read(&folder.join(version.name()).join(name))?);
            }
        }
        Ok(Self { shows: read(&folder.join("shows.json"))?, pages })
    }

    pub(super) fn page(&self, version: Version, name: &'static str) -> &str {
        self.pages.get(&(version, name)).map_or("", String::as_str)
    }
}
