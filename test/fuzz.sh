#!/usr/bin/env bash
# Runs every Fuzz function of the module for the time given.
set -euo pipefail
cd "$(dirname "$0")/.."
time=${1:?usage: fuzz.sh DURATION}

# Not by `go test -list`: that would compile and link the tests of every package.
go list -f '{{.Dir}} {{.ImportPath}}' ./... | while read -r dir package; do
	for name in $(cat "$dir"/*_test.go 2>/dev/null | sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\)(.*/\1/p'); do
		echo "== $package $name"
		go test -run '^$' -fuzz "^$name\$" -fuzztime "$time" "$package" </dev/null
	done
done
