#!/usr/bin/env bash
# Installs, upgrades, removes and purges the Debian package in a fresh Debian 12 in a folder.
#
#   scripts/try-package.sh target/debian/ganger_VERSION_ARCH.deb
#
# There is no service manager in there, so the unit is installed and enabled and not started. Needs root and debootstrap.
set -euo pipefail
cd "$(dirname "$0")/.."

fail() { echo "try-package: $*" >&2; exit 1; }
say() { printf '\n== %s\n' "$*" >&2; }

package=$(realpath "$1")
if [ "$(id -u)" != 0 ] || ! command -v debootstrap >/dev/null; then
  echo "try-package: skipped: a Debian in a folder needs root and debootstrap" >&2
  exit 0
fi
if [ -z "${GANGER_IN_NAMESPACE:-}" ]; then
  GANGER_IN_NAMESPACE=1 exec unshare --mount --propagation private "$0" "$@"
fi
root=$(mktemp -d)
trap 'umount "$root/proc" 2>/dev/null || true; rm -rf "$root"' EXIT

say "a fresh Debian"
base=target/foreign/debian
if [ ! -e "$base.done" ]; then
  rm -rf "$base"
  debootstrap --variant=minbase --include=systemd,procps,ca-certificates,man-db bookworm "$base" >"$base.log"
  touch "$base.done"
fi
cp -a "$base/." "$root/"
printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d" # nothing is to be started in there
chmod +x "$root/usr/sbin/policy-rc.d"
cp "$package" "$root/ganger.deb"
mount -t proc none "$root/proc"
inside() { chroot "$root" env DEBIAN_FRONTEND=noninteractive PATH=/usr/sbin:/usr/bin:/sbin:/bin "$@"; }

say "install"
inside dpkg --install /ganger.deb
inside id ganger
[ "$(stat -c %a:%U "$root/etc/ganger/credentials")" = 700:root ] || fail "the secrets' folder is open"
[ -L "$root/etc/systemd/system/multi-user.target.wants/ganger.service" ] || fail "the unit is not enabled"
inside ganger config check --config /etc/ganger/ganger.toml
inside systemd-analyze verify --man=no ganger.service
inside man --where ganger ganger-jobs-list >/dev/null || fail "no manual pages"
[ -s "$root/usr/share/bash-completion/completions/ganger" ] || fail "no completions"

say "an upgrade keeps what was changed"
echo '# mine' >>"$root/etc/ganger/ganger.toml"
inside dpkg --force-confold --install /ganger.deb
grep -q '# mine' "$root/etc/ganger/ganger.toml" || fail "the configuration was overwritten"

say "a removal keeps configuration, secrets and ledger"
install -d "$root/var/lib/ganger"
touch "$root/var/lib/ganger/ganger.db" "$root/etc/ganger/credentials/api-token"
inside dpkg --remove ganger
[ ! -e "$root/usr/bin/ganger" ] || fail "the program is still there"
for kept in etc/ganger/ganger.toml etc/ganger/credentials/api-token var/lib/ganger/ganger.db; do
  [ -e "$root/$kept" ] || fail "$kept is gone"
done

say "a purge leaves nothing"
inside dpkg --purge ganger
left=$(find "$root/etc" "$root/usr/lib/systemd" "$root/var/lib/ganger" -name "*ganger*" 2>/dev/null || true)
# The user stays, as its files elsewhere may.
[ -z "$left" ] || fail "left behind: $left"
say "the package holds"
