#!/usr/bin/env bash
# Compiles the plugin into a stock CoreDNS of the version in go.mod, as README
# tells its users to, starts that and asks it.
set -euo pipefail
cd "$(dirname "$0")/.."
checkout=$PWD
module=$(go list -m)
source=$(go list -m -f '{{.Dir}}' github.com/coredns/coredns)

work=$(mktemp -d)
server=
finish() {
	[ -z "$server" ] || { kill "$server" 2>/dev/null && wait "$server"; } || true
	chmod -R u+w "$work"
	rm -rf "$work"
}
trap finish EXIT

echo "== stock CoreDNS of $source"
cp -r "$source/." "$work/coredns"
chmod -R u+w "$work/coredns"
cd "$work/coredns"
awk -v line="ddns:$module" '{ print } /^transfer:/ { print line }' "$source/plugin.cfg" >plugin.cfg
go mod edit -require "$module@v0.0.0" -replace "$module=$checkout"
export GOFLAGS="${GOFLAGS:-} -mod=mod" # go.mod gets what the plugin requires
go generate coredns.go
go build -o "$work/stock" .

echo "== start it"
cd "$work"
port=$((10000 + RANDOM % 20000))
cat >Corefile <<COREFILE
dyn.example.org:$port {
	bind 127.0.0.1
	ddns {
		ns ns1.dyn.example.org 192.0.2.53
	}
}
COREFILE
./stock -conf Corefile >log 2>&1 &
server=$!
fail() {
	echo "$1" >&2
	cat log >&2
	exit 1
}
answer=
for _ in $(seq 100); do
	kill -0 "$server" 2>/dev/null || fail "it does not start"
	answer=$(dig +norecurse +tries=1 +time=1 @127.0.0.1 -p "$port" dyn.example.org SOA 2>&1) || true
	case $answer in *"status: NOERROR"*) break ;; esac
	sleep 0.1
done
case $answer in
*"flags: qr aa;"*SOA*"ns1.dyn.example.org."*) ;;
*) fail "no authoritative SOA: $answer" ;;
esac

echo "== stop it"
kill "$server"
wait "$server" || fail "it does not end well"
server=
echo "ok: a stock CoreDNS with ddns answers dyn.example.org"
