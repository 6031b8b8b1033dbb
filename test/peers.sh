#!/usr/bin/env bash
# Installs what is missing of the programs that the tests drive, on Debian and
# its kin. Elsewhere it says what is missing. Nothing it installs is started.
set -euo pipefail

# program or Perl module, and Debian's package of it
wanted='
gcc            gcc
ddclient       ddclient
IO::Socket::SSL libio-socket-ssl-perl
inadyn         inadyn
dig            bind9-dnsutils
nsupdate       bind9-dnsutils
curl           curl
openssl        openssl
ip             iproute2
redis-server   redis-server
redis-sentinel redis-sentinel
redis-cli      redis-tools
'

have() {
	case $1 in
	*::*) perl -M"$1" -e 1 2>/dev/null ;;
	*) PATH=$PATH:/usr/sbin:/sbin command -v "$1" >/dev/null ;;
	esac
}

missing() {
	while read -r program package; do
		[ -z "$program" ] || have "$program" || echo "$package"
	done <<<"$wanted" | sort -u
}

packages=$(missing)
[ -n "$packages" ] || exit 0
echo "missing:" $packages

if ! command -v apt-get >/dev/null; then
	echo "install by hand the programs of these Debian packages:" $packages >&2
	exit 1
fi
root=
if [ "$(id -u)" -ne 0 ]; then
	command -v sudo >/dev/null || { echo "as root: apt-get install" $packages >&2; exit 1; }
	root=sudo
fi

# Debian starts a service as soon as its package is installed, unless this says no.
policy=/usr/sbin/policy-rc.d
if [ ! -e $policy ]; then
	trap '$root rm -f $policy' EXIT
	printf '#!/bin/sh\nexit 101\n' | $root tee $policy >/dev/null
	$root chmod 755 $policy
fi

install="$root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends"
$install $packages || { $root apt-get update && $install $packages; }

still=$(missing)
[ -z "$still" ] || { echo "still missing after the installation:" $still >&2; exit 1; }
