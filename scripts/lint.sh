#!/usr/bin/env bash
# Runs the linter that tools/go.mod pins over every module (staticcheck.conf
# configures it), and looks for lines that are too long.
set -euo pipefail
cd "$(dirname "$0")/.."
bin=$(mktemp -d)
trap 'rm -rf "$bin"' EXIT
(cd tools && GOWORK=off go build -o "$bin" honnef.co/go/tools/cmd/staticcheck)
scripts/each-module.sh "$bin/staticcheck" ./...
LC_ALL=C.UTF-8 scripts/line-length.sh
