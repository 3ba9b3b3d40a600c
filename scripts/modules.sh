#!/usr/bin/env bash
# Prints the folders of the workspace's modules that hold packages, as go.work
# names them.
set -euo pipefail
cd "$(dirname "$0")/.."
go work edit -json | sed -n 's/.*"DiskPath": "\(.*\)".*/\1/p' | while read -r module; do
	[ -z "$(find "$module" -name '*.go' -print -quit)" ] || echo "$module"
done
