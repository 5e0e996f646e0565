#!/usr/bin/env bash
# Builds the Debian package and names it on stdout.
#
#   scripts/package.sh             target/debian/ganger_VERSION_ARCH.deb
#
# Manual pages and completions are written by the very program that is packed. GANGER_PACKAGE_BINARY is taken instead of
# a build, for one that was built elsewhere. cargo-deb is installed where it is missing.
set -euo pipefail
cd "$(dirname "$0")/.."

cargo deb --version >/dev/null 2>&1 || cargo install cargo-deb --locked >&2

target=${CARGO_TARGET_DIR:-target}
if [ -n "${GANGER_PACKAGE_BINARY:-}" ]; then
  [ "$GANGER_PACKAGE_BINARY" -ef "$target/release/ganger" ] ||
    install -D "$GANGER_PACKAGE_BINARY" "$target/release/ganger"
else
  cargo build --release --locked --bin ganger >&2
fi

# The manifest names this folder, wherever the target folder is.
rm -rf target/package
mkdir -p target/package
"$target/release/ganger" man --dir target/package/man
"$target/release/ganger" completions bash >target/package/ganger.bash
"$target/release/ganger" completions zsh >target/package/_ganger
"$target/release/ganger" completions fish >target/package/ganger.fish

cargo deb --no-build --locked | tail -n 1
