#!/usr/bin/env bash
# Installs what the tests need and this machine lacks: Debian's redis-server, chromium, Node and python-socketio, and the Node packages
# of the lock file.
# Without root it installs nothing of the system and says what is missing.
set -euo pipefail
cd "$(dirname "$0")/.."

missing=()
command -v redis-server >/dev/null || missing+=(redis-server)
command -v redis-cli >/dev/null || missing+=(redis-tools)
command -v node >/dev/null || missing+=(nodejs)
command -v npm >/dev/null || missing+=(npm)
command -v openssl >/dev/null || missing+=(openssl)
command -v cc >/dev/null || missing+=(build-essential)
command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null || missing+=(chromium)
# Another Python on the PATH has packages of its own, so the tests take Debian's.
for package in socketio websocket requests aiohttp; do
    /usr/bin/python3 -I -c "import $package" 2>/dev/null || missing+=("python3-$package")
done

if [ ${#missing[@]} -gt 0 ]; then
    if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
        echo "The tests need these Debian packages, which are not installed: ${missing[*]}" >&2
        echo "Install them with: sudo apt-get install --no-install-recommends ${missing[*]}" >&2
        exit 1
    fi
    echo "Installing ${missing[*]}"
    apt-get update -q >/dev/null
    DEBIAN_FRONTEND=noninteractive apt-get install -yq --no-install-recommends "${missing[@]}" >/dev/null
fi

node_version=$(node --version)
node_major=${node_version#v}
if [ "${node_major%%.*}" -lt 20 ]; then
    echo "The tests need Node 20 or later, and this is $node_version. Debian 13 has it as its package nodejs." >&2
    exit 1
fi

# The lock file decides; a folder that fits it already is left alone.
if ! cmp -s tests/interop/package-lock.json tests/interop/node_modules/.installed-lock.json; then
    (cd tests/interop && npm ci --no-audit --no-fund)
    cp tests/interop/package-lock.json tests/interop/node_modules/.installed-lock.json
fi
