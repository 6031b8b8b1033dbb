package updateapi

import (
	"net/http"
	"net/netip"
	"strings"
)

// remoteAddr is the socket's peer.
func remoteAddr(r *http.Request) netip.Addr {
	ap, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	return ap.Addr().Unmap().WithZone("")
}

// clientAddr is the address that a request comes from: the socket's peer, or,
// when that is a trusted proxy, what the proxies before us say, walked from the
// right to the first address that is not a trusted proxy. What is malformed
// ends the walk at the last good hop.
//
// A proxy usually maintains one of X-Forwarded-For and Forwarded (RFC 7239) and
// passes the other on as the client made it up. So where both are there and
// disagree, the address is unknown: the zero Addr.
func clientAddr(r *http.Request, trusted []netip.Prefix) netip.Addr {
	peer := remoteAddr(r)
	if !contains(trusted, peer) {
		return peer
	}
	xff, hasXFF := walk(peer, xForwardedFor(r.Header), trusted)
	fwd, hasFwd := walk(peer, forwarded(r.Header), trusted)
	switch {
	case hasXFF && hasFwd && xff != fwd:
		return netip.Addr{}
	case hasXFF:
		return xff
	case hasFwd:
		return fwd
	}
	return peer
}

// walk goes through hops, the last first, and reports whether there were any.
func walk(peer netip.Addr, hops []string, trusted []netip.Prefix) (netip.Addr, bool) {
	at := peer
	for i := len(hops) - 1; i >= 0 && contains(trusted, at); i-- {
		hop, ok := parseHop(hops[i])
		if !ok {
			break
		}
		at = hop
	}
	return at, len(hops) > 0
}

func contains(prefixes []netip.Prefix, a netip.Addr) bool {
	for _, p := range prefixes {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// xForwardedFor lists the hops of all X-Forwarded-For lines, in order.
func xForwardedFor(h http.Header) []string {
	if len(h["X-Forwarded-For"]) == 0 {
		return nil
	}
	return strings.Split(strings.Join(h["X-Forwarded-For"], ","), ",")
}

// forwarded lists the for= parameter of each element of all Forwarded lines, ""
// for an element without one (RFC 7239, 4).
func forwarded(h http.Header) []string {
	if len(h["Forwarded"]) == 0 {
		return nil
	}
	var hops []string
	for _, element := range strings.Split(strings.Join(h["Forwarded"], ","), ",") {
		hop := ""
		for _, pair := range strings.Split(element, ";") {
			name, value, _ := strings.Cut(strings.TrimSpace(pair), "=")
			if strings.EqualFold(name, "for") {
				hop = value
			}
		}
		if q, ok := strings.CutPrefix(hop, `"`); ok {
			if hop, ok = strings.CutSuffix(q, `"`); !ok {
				hop = ""
			}
		}
		hops = append(hops, hop)
	}
	return hops
}

// parseHop reads an address as proxies write it: bare, with a port, or in
// brackets. Zone identifiers are refused, "unknown" and obfuscated names too.
func parseHop(s string) (netip.Addr, bool) {
	s = strings.TrimSpace(s)
	a, err := netip.ParseAddr(s)
	if err != nil {
		if inner, ok := strings.CutPrefix(s, "["); ok && strings.HasSuffix(inner, "]") {
			a, err = netip.ParseAddr(inner[:len(inner)-1])
			if err == nil && !a.Is6() {
				return netip.Addr{}, false
			}
		} else {
			var ap netip.AddrPort
			ap, err = netip.ParseAddrPort(s)
			a = ap.Addr()
		}
	}
	if err != nil || a.Zone() != "" {
		return netip.Addr{}, false
	}
	return a.Unmap(), true
}
