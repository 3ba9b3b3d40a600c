#!/usr/bin/env bash
# Runs a command in the folder of every module of the workspace that has
# packages. Goes on after a failure and tells all of them at the end.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1

failed=()
for module in $(scripts/modules.sh); do
	echo "== $module: $*"
	(cd "$module" && "$@") || failed+=("$module")
done
if [ ${#failed[@]} -gt 0 ]; then
	echo "FAILED in: ${failed[*]}" >&2
	exit 1
fi
