#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Run a command in the Debian root of scripts/debian_root.sh, with this folder and /tmp at the same places in there.
#
# Usage: scripts/in_debian_root.sh ROOT COMMAND [ARGUMENT…]        (needs root)
#
# Mounts are made in a mount namespace of the command's own, so that nothing is left behind.
set -euo pipefail

root=$(realpath "$1")
shift
export IN_ROOT_FOLDER=$PWD
exec unshare --mount bash -euo pipefail -c '
    root=$1
    shift
    mount --bind /proc "$root/proc"
    mount --rbind /dev "$root/dev"
    mount --bind /tmp "$root/tmp"
    mkdir -p "$root$IN_ROOT_FOLDER"
    mount --rbind "$IN_ROOT_FOLDER" "$root$IN_ROOT_FOLDER"
    exec chroot "$root" /usr/bin/env --chdir "$IN_ROOT_FOLDER" "$@"
' in_debian_root "$root" "$@"
