#!/usr/bin/env bash
# Runs every Fuzz function of the module for the time given.
set -euo pipefail
cd "$(dirname "$0")/.."
time=${1:?usage: fuzz.sh DURATION}

go list ./... | while read -r package; do
	for name in $(go test -list '^Fuzz' "$package" | grep '^Fuzz' || true); do
		go test -run '^$' -fuzz "^$name\$" -fuzztime "$time" "$package" </dev/null
	done
done
