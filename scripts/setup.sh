#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Make .venv in the checkout, with everything that the demo and the tests need.
#
# Usage: scripts/setup.sh [gui]        gui: also what the test in a real Blender window needs
#
# Missing system packages are installed when root; otherwise the one line that installs them is printed. A finished
# environment carries a stamp of what it was made from, so that a second call returns at once.
#
# Python 3.11 is what the tests run with: Blender's module of 4.5 LTS needs it. With 3.13 Blender's module is that of
# 5.2 LTS, and the file that a fresh pose reader begins with is left out. For 3.12 Blender has no module: what runs
# inside Blender is left out, the demo among it.
set -euo pipefail
cd "$(dirname "$0")/.."

# For importing bpy, for rendering without a display, for compiling DeepSpeed's helper, and for tests of the history.
packages=(libx11-6 libxrender1 libxfixes3 libxi6 libxkbcommon0 libsm6 libice6 libxext6 libxxf86vm1 libgomp1
    libgl1 libegl1 libgl1-mesa-dri g++ git)

version=""
for one in 3.11 3.13 3.12; do
    if "python$one" -c 'import ensurepip' 2>/dev/null; then
        version=$one
        break
    fi
done
if [ -z "$version" ]; then
    case "$(. /etc/os-release 2>/dev/null && echo "$ID $VERSION_ID")" in
    "debian 12" | "ubuntu 22.04") version=3.11 ;;
    "debian 13") version=3.13 ;;
    "ubuntu 24.04") version=3.12 ;;
    *)
        echo "A Python 3.11, 3.12 or 3.13 with venv is needed, and none is here: install one, then try again."
        exit 1
        ;;
    esac
    packages+=("python$version" "python$version-venv" "python$version-dev")
fi
if [ "${1:-}" = gui ]; then
    packages+=(debootstrap debian-archive-keyring xvfb xdotool scrot)
fi

installed=$(dpkg-query --show --showformat='${db:Status-Abbrev} ${Package}\n' "${packages[@]}" 2>/dev/null || true)
missing=()
for package in "${packages[@]}"; do
    grep -qx "ii  $package" <<<"$installed" || missing+=("$package")
done
if [ ${#missing[@]} -gt 0 ]; then
    if [ "$(id -u)" != 0 ]; then
        echo "System packages are missing. Run this line, then try again:"
        echo "  sudo apt-get update && sudo apt-get install --yes --no-install-recommends ${missing[*]}"
        exit 1
    fi
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    apt-get install --yes -qq --no-install-recommends "${missing[@]}" >/dev/null
fi

stamp=.venv/.made-from
made_from=$(cat pyproject.toml requirements.hashes scripts/setup.sh | sha256sum)
if [ "$(cat $stamp 2>/dev/null)" = "$made_from" ]; then
    exit 0
fi
echo "Setting up .venv with Python $version; the first time this takes some minutes."
[ -x .venv/bin/python ] || "python$version" -m venv .venv
case "$(.venv/bin/python -c 'import sys; print("%d.%d" % sys.version_info[:2])')" in
3.12) echo "Python 3.12: Blender has no module for it, so what runs inside Blender is left out." ;;
3.13) echo "Python 3.13: Blender's module is that of 5.2 LTS; a fresh pose reader cannot be made." ;;
esac
# Ubuntu 22.04's Python 3.11 is a release candidate: numbers of any length are read, and torch asks for the limit.
if ! .venv/bin/python -c 'import sys; sys.get_int_max_str_digits' 2>/dev/null; then
    packages_folder=$(.venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
    echo 'import sys; sys.__dict__.update(get_int_max_str_digits=lambda: 0, set_int_max_str_digits=lambda maxdigits: None)' \
        >"$packages_folder/no_limit_of_digits.pth"
fi
# Every file is the one whose hash is listed; torch alone is taken by its version, since where a build for machines
# without a GPU is offered that is another file, and PyPI's brings CUDA's libraries.
listed=$(mktemp)
trap 'rm -f "$listed"' EXIT
sed '/^torch==/,/[^\\]$/d' requirements.hashes >"$listed"
.venv/bin/python -m pip install --quiet --no-deps --require-hashes --requirement "$listed"
.venv/bin/python -m pip install --quiet --constraint requirements.lock "$(grep '^torch==' requirements.lock)"
.venv/bin/python -m pip install --quiet --no-deps --editable .
echo "$made_from" >$stamp
