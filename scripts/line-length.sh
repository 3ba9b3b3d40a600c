#!/usr/bin/env bash
# Names the lines of Go files that are too long: code beyond column 100,
# comments beyond column 80, a tab counted as four. What cannot be broken is
# left alone: addresses, directives, expected output and texts of many lines in
# back quotes.
set -euo pipefail
cd "$(dirname "$0")/.."
git ls-files '*.go' | xargs awk '
FNR == 1 { raw = output = 0 }
{
	line = $0
	sub(/\/\/\t/, "//  ", line) # the tab ends at column 4
	gsub(/\t/, "    ", line)
	text = line
	sub(/^ +/, "", text)
	comment = text ~ /^\/\//
	if (!comment) output = 0
	if (comment && text ~ /^\/\/ (Unordered output|Output):/) output = 1
	limit = comment ? 80 : 100
	if (length(line) > limit && !raw && !output && text !~ /https?:\/\/|^\/\/go:/) {
		printf "%s:%d: %d columns, at most %d\n", FILENAME, FNR, length(line), limit
		bad = 1
	}
	rest = $0
	if (!comment && gsub(/`/, "", rest) % 2) raw = !raw
}
END { exit bad }
'
