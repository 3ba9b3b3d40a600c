#!/usr/bin/env bash
# Prints how the exported API of the root module differs from that of a base,
# a commit or a tag; the newest tag by default, or the first commit without one.
set -euo pipefail
cd "$(dirname "$0")/.."
base=${1:-$(git describe --tags --abbrev=0 2>/dev/null || git rev-list --max-parents=0 HEAD | tail -n 1)}
work=$(mktemp -d)
trap 'git worktree remove --force "$work/base" 2>/dev/null; rm -rf "$work"' EXIT
(cd tools && GOWORK=off go build -o "$work" golang.org/x/exp/cmd/apidiff)
git worktree add -q --detach "$work/base" "$base"
(cd "$work/base" && GOWORK=off "$work/apidiff" -m -w "$work/base.api" github.com/postern-mail/postern)
GOWORK=off "$work/apidiff" -m "$work/base.api" github.com/postern-mail/postern
