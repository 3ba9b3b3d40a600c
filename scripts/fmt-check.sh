#!/usr/bin/env bash
# Names the Go files that gofmt would change.
set -euo pipefail
cd "$(dirname "$0")/.."
unformatted=$(gofmt -l -s .)
if [ -n "$unformatted" ]; then
	printf 'not formatted (gofmt -s -w):\n%s\n' "$unformatted" >&2
	exit 1
fi
