#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Make a Debian 13 root with Blender 4.3 in the folder given: a real Blender with a window for the GUI test, and a
# Python 3.13 with all that a bpy module needs for the test matrix.
#
# Usage: scripts/debian_root.sh FOLDER        (needs root and debootstrap; about four minutes and 1.8 GB)
#
# The mirror is the one that this machine's own apt uses, Debian's public one where it names none. A finished root
# carries a stamp with what is in it, so that a second call returns at once, an interrupted one starts over, and one for
# more packages adds them.
set -euo pipefail

root=${1:?usage: scripts/debian_root.sh FOLDER}
stamp="$root/.posellava-ready"
packages=(blender python3-numpy libegl1 libgl1-mesa-dri mesa-vulkan-drivers fonts-dejavu-core libsm6 libice6)
[ "$(cat "$stamp" 2>/dev/null)" = "${packages[*]}" ] && exit 0

if [ "$(id -u)" != 0 ]; then
    echo "A Debian root for the GUI test needs root: run 'sudo $0 $root'." >&2
    exit 1
fi

sources=$(cat /etc/apt/sources.list.d/*.sources /etc/apt/sources.list.d/*.list /etc/apt/sources.list 2>/dev/null || true)
mirror=$(sed -nE 's/^(URIs:|deb( \[[^]]*\])?) *([^ ]*\/debian)\/?( .*)?$/\3/p' <<<"$sources" | head -n 1)
mirror=${mirror:-http://deb.debian.org/debian}
keyring=/usr/share/keyrings/debian-archive-keyring.gpg

if [ ! -e "$stamp" ]; then
    rm -rf "$root"
    mkdir -p "$root"
    debootstrap --variant=minbase --include=ca-certificates --keyring="$keyring" trixie "$root" "$mirror"
fi

# Whatever this machine needs to reach its mirror (a proxy, a login, certificates) is needed in there too.
cp -a /etc/apt/apt.conf.d/. "$root/etc/apt/apt.conf.d/"
cp -a /etc/apt/auth.conf.d/. "$root/etc/apt/auth.conf.d/" 2>/dev/null || true
cp -L --remove-destination /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/" 2>/dev/null || true
cp -L --remove-destination /etc/resolv.conf "$root/etc/resolv.conf"
rm -f "$root"/etc/apt/apt.conf.d/*appstream* "$root"/etc/apt/apt.conf.d/*packagekit*

export DEBIAN_FRONTEND=noninteractive
chroot "$root" apt-get update
chroot "$root" apt-get install --yes --no-install-recommends "${packages[@]}"
chroot "$root" apt-get clean
echo "${packages[*]}" >"$stamp"
