package ddns

import (
	"context"
	"net/netip"
	"time"

	"github.com/coredns/coredns/plugin"
	"github.com/coredns/coredns/plugin/pkg/fall"
	"github.com/coredns/coredns/request"
	"github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/coredns-ddns/ddns/plugin/index"
	"github.com/coredns-ddns/ddns/plugin/replica"
	"github.com/coredns-ddns/ddns/plugin/zone"
)

// DDNS answers for dynamic zones out of memory.
type DDNS struct {
	Next  plugin.Handler
	fall  fall.F
	names plugin.Zones // the origins
	zones map[string]*servedZone
}

// servedZone is one zone as its block of the Corefile serves it.
type servedZone struct {
	zone.Apex
	copy   *replica.Zone
	ns     []dns.RR
	fixed  []fixedName
	counts [outcomes]prometheus.Counter
}

// fixedName is a name in the zone that the Corefile speaks of. A name server
// exists, with these addresses until a host of that name has some. Others, such
// as the update listener, are only kept from wildcards, so that nobody can pose
// as them.
type fixedName struct {
	key   []byte
	addrs []netip.Addr
}

func newServedZone(apex zone.Apex, copied *replica.Zone) *servedZone {
	z := &servedZone{Apex: apex, copy: copied, ns: apex.NSRecords(), counts: lookupCounters(apex.Origin)}
	for _, s := range apex.NS {
		if s.Name.Below(apex.Origin) {
			z.fixed = append(z.fixed, fixedName{s.Name.Key(apex.Origin), s.Addrs})
		}
	}
	return z
}

// reserve keeps wildcards from answering for names, as far as they lie in the
// zone.
func (z *servedZone) reserve(names []zone.Name) {
	for _, n := range names {
		if n.Below(z.Origin) {
			z.fixed = append(z.fixed, fixedName{key: n.Key(z.Origin)})
		}
	}
}

// Name implements plugin.Handler.
func (d *DDNS) Name() string { return "ddns" }

// Ready implements the ready plugin's Readiness: every zone has something to
// answer from.
func (d *DDNS) Ready() bool {
	for _, z := range d.zones {
		if z.copy == nil || !z.copy.Ready() {
			return false
		}
	}
	return true
}

// ServeDNS implements plugin.Handler.
func (d *DDNS) ServeDNS(ctx context.Context, w dns.ResponseWriter, r *dns.Msg) (int, error) {
	state := request.Request{W: w, Req: r}
	qname := state.Name()
	origin := d.names.Matches(qname)
	if origin == "" {
		return plugin.NextOrFailure(d.Name(), d.Next, ctx, w, r)
	}
	switch {
	case r.Opcode != dns.OpcodeQuery: // NOTIFY; others do not come here
		return dns.RcodeNotImplemented, nil
	case state.QType() == dns.TypeAXFR || state.QType() == dns.TypeIXFR: // what *transfer* did not take
		return dns.RcodeRefused, nil
	}
	z := d.zones[origin]
	x := z.copy.Index()
	if x == nil {
		z.count(notReady)
		return dns.RcodeServerFailure, nil
	}
	var buf [256]byte
	key, ok := queryKey(buf[:0], qname, origin)
	if !ok {
		return dns.RcodeFormatError, nil
	}
	found, addrs := z.find(x, key)
	if found.Kind == index.None && d.Next != nil && d.fall.Through(qname) {
		z.count(passedOn)
		return plugin.NextOrFailure(d.Name(), d.Next, ctx, w, r)
	}
	m := new(dns.Msg)
	m.SetReply(r)
	m.Authoritative, m.Compress = true, true
	qtype := state.QType()
	if len(key) == 0 {
		m.Answer, m.Extra = z.apexAnswer(x, state.QName(), qtype)
	}
	m.Answer = append(m.Answer, z.addresses(state.QName(), qtype, found.State, addrs)...)
	z.count(outcomeOf(found, len(m.Answer)))
	if len(m.Answer) == 0 {
		m.Ns = []dns.RR{z.SOA(z.copy.Serial(time.Now()))}
		if found.Kind == index.None {
			m.Rcode = dns.RcodeNameError
		}
	}
	// A client that cannot be reached is no failure of ours.
	_ = w.WriteMsg(m)
	return dns.RcodeSuccess, nil
}

// queryKey is qname, which lies within origin, as a key of the index.
func queryKey(buf []byte, qname, origin string) ([]byte, bool) {
	if len(qname) == len(origin) {
		return buf, true
	}
	return zone.AppendKey(buf, qname[:len(qname)-len(origin)])
}

// find looks key up in the index and among the fixed names, which together with
// the names above them exist too. addrs is what the Corefile has for key.
func (z *servedZone) find(x *index.Index, key []byte) (found index.Answer, addrs []netip.Addr) {
	found = x.Lookup(key)
	for i := range z.fixed {
		f := &z.fixed[i]
		isServer := len(f.addrs) > 0
		if !isServer && !within(key, f.key) {
			continue
		}
		if string(key) == string(f.key) && isServer {
			addrs = f.addrs
		}
		cut := encloser(key, f.key)
		switch {
		case cut == len(key): // they share the apex only
		case found.Kind != index.None && found.Encloser <= cut: // it exists, or a wildcard below covers it
		case cut == 0 && isServer:
			found = index.Answer{Kind: index.Empty} // the server itself, or an empty non-terminal (RFC 8020)
		default:
			// A wildcard above the closest encloser does not count (RFC 4592, 3.3.1).
			found = index.Answer{Kind: index.None}
		}
	}
	return found, addrs
}

// encloser says how many octets of key stand left of the longest name that is
// key, or an ancestor of it, and also other or an ancestor of other.
func encloser(key, other []byte) int {
	cut := 0
	for cut < len(key) && !within(other, key[cut:]) {
		cut += int(key[cut]) + 1
	}
	return cut
}

// within says whether key is top or lies below it.
func within(key, top []byte) bool {
	at := 0
	for len(key)-at > len(top) {
		at += int(key[at]) + 1
	}
	return string(key[at:]) == string(top)
}

// apexAnswer is what stands at the apex beside addresses: SOA, NS and with NS
// the addresses of the servers in the zone.
func (z *servedZone) apexAnswer(x *index.Index, qname string, qtype uint16) (answer, extra []dns.RR) {
	if qtype == dns.TypeSOA || qtype == dns.TypeANY {
		answer = append(answer, owned(z.SOA(z.copy.Serial(time.Now())), qname))
	}
	if qtype == dns.TypeNS || qtype == dns.TypeANY {
		for _, rr := range z.ns {
			answer = append(answer, owned(dns.Copy(rr), qname))
		}
		for _, s := range z.NS {
			if s.Name.Below(z.Origin) {
				st, _ := x.Get(s.Name.Key(z.Origin))
				extra = append(extra, z.addresses(string(s.Name), dns.TypeANY, st, s.Addrs)...)
			}
		}
	}
	return answer, extra
}

// addresses makes the A and AAAA that qtype asks for: those of the host, else
// those that the Corefile has.
func (z *servedZone) addresses(owner string, qtype uint16, st zone.State, fixed []netip.Addr) (rrs []dns.RR) {
	addrs, ttl := fixed, z.TTL
	if st.Published() {
		addrs = []netip.Addr{st.A, st.AAAA}
		if st.TTL != 0 {
			ttl = st.TTL
		}
	}
	for _, a := range addrs {
		asked := qtype == dns.TypeANY || qtype == dns.TypeA && a.Is4() || qtype == dns.TypeAAAA && a.Is6()
		if a.IsValid() && asked {
			rrs = append(rrs, zone.AddressRR(owner, a, ttl))
		}
	}
	return rrs
}

// owned gives rr the owner name as it was asked for.
func owned(rr dns.RR, owner string) dns.RR {
	rr.Header().Name = owner
	return rr
}
