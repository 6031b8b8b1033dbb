#!/bin/sh
# Starts bin/coredns with Corefile.example in the foreground, in this process,
# and says what to do next once it serves.
set -eu
cd "$(dirname "$0")/.."

unset DDNS_URL DDNS_TOKEN DDNS_TOKEN_FILE DDNS_CA # those of another server
if bin/ddnsctl status >/dev/null 2>&1; then
	echo "a server is running on this directory's data already: stop it first" >&2
	exit 1
fi

steps() {
	cat <<-STEPS

	The server is up. In another terminal:

	    cd $PWD
	    bin/ddnsctl token create home.dyn.example.org         # prints a TOKEN, once
	    curl --cacert data/ca.pem -u home:TOKEN "https://localhost:8443/nic/update?hostname=home.dyn.example.org&myip=198.51.100.7"
	    dig @127.0.0.1 -p 1053 home.dyn.example.org +short

	^C stops it; its data stays in data/.

	STEPS
}

# Ends when the server does, which has the process id of this shell.
announce() {
	while kill -0 $$ 2>/dev/null; do
		if bin/ddnsctl status --wait 1s >/dev/null 2>&1; then
			steps
			return
		fi
		sleep 0.1
	done
}

mkdir -p data
chmod 700 data
(announce &) # not a child of the server, which would not wait for it
exec bin/coredns -conf Corefile.example
