#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Make .venv in the checkout, with everything that the demo and the tests need.
#
# Usage: scripts/setup.sh [gui]        gui: also what the test in a real Blender window needs
#
# Missing system packages are installed when root; otherwise the one line that installs them is printed. A finished
# environment carries a stamp of what it was made from, so that a second call returns at once.
set -euo pipefail
cd "$(dirname "$0")/.."

# For importing bpy, for rendering without a display, and for compiling DeepSpeed's helper.
packages=(libx11-6 libxrender1 libxfixes3 libxi6 libxkbcommon0 libsm6 libice6 libxext6 libxxf86vm1 libgomp1
    libgl1 libegl1 libgl1-mesa-dri g++)
python=$(command -v python3.11 || true)
if [ -z "$python" ] || ! "$python" -c 'import ensurepip' 2>/dev/null; then
    packages+=(python3.11 python3.11-venv python3.11-dev)
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
    python=$(command -v python3.11)
fi

stamp=.venv/.made-from
made_from=$(cat pyproject.toml requirements.lock scripts/setup.sh | sha256sum)
if [ "$(cat $stamp 2>/dev/null)" = "$made_from" ]; then
    exit 0
fi
echo "Setting up .venv; the first time this takes some minutes."
[ -x .venv/bin/python ] || "$python" -m venv .venv
# torch first and alone: exactly this version has a build for machines without a GPU where one is offered.
.venv/bin/python -m pip install --quiet --constraint requirements.lock "$(grep '^torch==' requirements.lock)"
.venv/bin/python -m pip install --quiet --constraint requirements.lock --editable '.[train,metrics,dev,blender]'
# Of MediaPipe one file of weights is read, so nothing that it needs to run is installed.
.venv/bin/python -m pip install --quiet --constraint requirements.lock --no-deps mediapipe
echo "$made_from" >$stamp
