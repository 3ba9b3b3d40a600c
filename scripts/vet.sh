#!/usr/bin/env bash
# Runs go vet over every module as it is built for each of the systems that
# users have, and for one where int has 32 bits.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/each-module.sh go vet ./...
for target in windows/amd64 darwin/arm64 linux/386; do
	echo "== for $target"
	GOOS=${target%/*} GOARCH=${target#*/} CGO_ENABLED=0 scripts/each-module.sh go vet ./...
done
