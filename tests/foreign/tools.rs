//! Where the programs of others are, as `scripts/foreign.sh` installs them.

use std::path::{Path, PathBuf};

use crate::support::daemon::repository;

/// A program from npm, by the name of its command.
pub fn npm(name: &str) -> String {
    installed(&Path::new("node_modules/.bin").join(name))
}

/// A program from PyPI, by the name of its command.
pub fn python(name: &str) -> String {
    installed(&Path::new("python/bin").join(name))
}

/// Debian's browser.
pub fn chromium() -> String {
    there(std::env::var_os("GANGER_TEST_CHROMIUM").map_or_else(|| PathBuf::from("/usr/bin/chromium"), PathBuf::from))
}

/// A program of the system, under the first of its names that is there.
pub fn system(names: &[&str]) -> String {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found =
        names.iter().find_map(|name| std::env::split_paths(&path).map(|in_| in_.join(name)).find(|it| it.exists()));
    let found = found.unwrap_or_else(|| panic!("{} is not there: run scripts/foreign.sh, which installs it", names[0]));
    found.to_str().expect("a path of plain text").to_owned()
}

/// The folder that they are in.
fn folder() -> PathBuf {
    std::env::var_os("GANGER_FOREIGN").map_or_else(|| repository("target/foreign"), PathBuf::from)
}

fn installed(path: &Path) -> String {
    there(folder().join(path))
}

fn there(path: PathBuf) -> String {
    assert!(path.exists(), "{} is not there: run scripts/foreign.sh, which installs it", path.display());
    path.to_str().expect("a path of plain text").to_owned()
}
