#!/usr/bin/env bash
# Runs the linter that tools/go.mod pins over every module; staticcheck.conf configures it.
set -euo pipefail
cd "$(dirname "$0")/.."
bin=$(mktemp -d)
trap 'rm -rf "$bin"' EXIT
(cd tools && GOWORK=off go build -o "$bin" honnef.co/go/tools/cmd/staticcheck)
scripts/each-module.sh "$bin/staticcheck" ./...
