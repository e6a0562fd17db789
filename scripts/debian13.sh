#!/bin/bash
# debian13.sh [COMMAND]: run the tests (or COMMAND) on PostgreSQL 17, in a Debian 13 below $ROOT that debootstrap
# makes the first time.  Root.  ROOT=/var/cache/loyalty-debian13   MIRROR=... (debootstrap's own by default)
set -euo pipefail
root=${ROOT:-/var/cache/loyalty-debian13} here=$(cd "$(dirname "$0")/.." && pwd) command=${1:-make test}
[ "$(id -u)" = 0 ] || { echo "debootstrap and chroot need root" >&2; exit 1; }
command -v debootstrap >/dev/null || apt-get -qq -y install --no-install-recommends debootstrap
[ -e "$root/etc/debian_version" ] || debootstrap --variant=minbase trixie "$root" ${MIRROR:+"$MIRROR"}
for d in proc sys dev; do mountpoint -q "$root/$d" || mount --rbind "/$d" "$root/$d"; done
work=$(mktemp -d -p "$root/tmp" loyalty.XXXXXX)
clean() { rm -rf "$work"; for d in proc sys dev; do umount -R -l "$root/$d" 2>/dev/null || true; done; }
trap clean EXIT
(cd "$here" && tar cf - --exclude=./.git --exclude='*.o' --exclude='*.so' .) | tar xf - -C "$work" --no-same-owner
[ ! -d "$here/../shared" ] || { mkdir -p "$work.shared"; cp -r "$here/../shared/data" "$work.shared/"; }
trap 'rm -rf "$work.shared"; clean' EXIT
chmod 755 "$work"
chroot "$root" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 TERM=dumb \
  LOYALTY_SHARED="/tmp/$(basename "$work").shared" \
  bash -ec "cd /tmp/$(basename "$work"); command -v make >/dev/null || { apt-get -qq update; apt-get -qq -y install make; }; $command"
