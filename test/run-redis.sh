#!/usr/bin/env bash
# Starts a redis-server and two nodes on it in the foreground, makes their zone, and
# says what to do next. ^C stops all three; their data stays in data-redis/.
set -euo pipefail
cd "$(dirname "$0")/.."

redis_port=6390
dns=(1053 1054)
https=(8443 8444)

listens() { # PORT
	(: >"/dev/tcp/127.0.0.1/$1") 2>/dev/null
}

command -v redis-server >/dev/null || { echo "redis-server is not installed (Debian: apt-get install redis-server)" >&2; exit 1; }
for port in $redis_port "${dns[@]}" "${https[@]}"; do
	if listens "$port"; then
		echo "port $port is in use: stop what listens there (an earlier make run or make run-redis?) first" >&2
		exit 1
	fi
done

# Of another server.
unset DDNS_URL DDNS_TOKEN DDNS_TOKEN_FILE DDNS_CA

# Children, in the order of their start; they end in the opposite one.
running=()
finish() {
	trap '' INT TERM HUP
	for ((i = ${#running[@]} - 1; i >= 0; i--)); do
		kill "${running[i]}" 2>/dev/null || true
		wait "${running[i]}" 2>/dev/null || true
	done
}
trap finish EXIT
trap 'exit 0' INT TERM HUP

ctl() { # NODE ARGUMENTS...
	local node=$1
	shift
	bin/ddnsctl --url "https://localhost:${https[node - 1]}" --token-file "data-redis/node$node/admin.token" --ca "data-redis/node$node/ca.pem" "$@"
}

mkdir -p data-redis/redis data-redis/node1 data-redis/node2
chmod 700 data-redis

# In process groups of their own, so that a ^C reaches this script alone.
set -m
redis-server --port $redis_port --bind 127.0.0.1 --dir data-redis/redis --appendonly yes --appendfsync always \
	--save '' --maxmemory-policy noeviction --loglevel warning &
running+=($!)
until listens $redis_port; do
	kill -0 "${running[0]}" 2>/dev/null || exit 1
	sleep 0.1
done

for node in 1 2; do
	cat >"data-redis/node$node/Corefile" <<-COREFILE
		dyn.example.org:${dns[node - 1]} {
		    bind 127.0.0.1
		    errors
		    reload
		    ddns {
		        redis redis://127.0.0.1:$redis_port
		        ns ns1.dyn.example.org 127.0.0.1
		        update localhost:${https[node - 1]}
		        tls internal
		        admin_token data-redis/node$node/admin.token
		    }
		}
	COREFILE
	bin/coredns -conf "data-redis/node$node/Corefile" &
	running+=($!)
done
set +m

for node in 1 2; do
	until ctl $node store init >/dev/null 2>&1 && ctl $node status --wait 1s >/dev/null 2>&1; do
		for child in "${running[@]}"; do
			kill -0 "$child" 2>/dev/null || exit 1
		done
		sleep 0.1
	done
done

cat <<STEPS

Redis and two nodes are up. In another terminal:

    cd $PWD
    export DDNS_URL=https://localhost:${https[0]} DDNS_TOKEN_FILE=data-redis/node1/admin.token DDNS_CA=data-redis/node1/ca.pem
    bin/ddnsctl token create home.dyn.example.org         # prints a TOKEN, once
    curl --cacert data-redis/node1/ca.pem -u home:TOKEN "https://localhost:${https[0]}/nic/update?hostname=home.dyn.example.org&myip=198.51.100.7"
    dig @127.0.0.1 -p ${dns[1]} home.dyn.example.org +short         # the other node knows it too
    redis-cli -p $redis_port --scan --pattern 'ddns:*'

^C stops all three; their data stays in data-redis/.

STEPS

# When one ends all do.
wait -n "${running[@]}" || true
echo "one of the three has ended: stopping the others" >&2
exit 1
