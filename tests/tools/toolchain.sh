#!/usr/bin/env bash
# The Go toolchain that builds the test servers: installed by us only where asked (INSTALL=1) or on CI, never otherwise.
set -euo pipefail

if command -v go >/dev/null || command -v vault >/dev/null; then
    exit 0
fi
if { [ "${CI:-}" = true ] || [ "${INSTALL:-}" = 1 ]; } && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    apt-get update -qq >&2
    DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends golang-go ca-certificates >&2
fi
