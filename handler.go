package ddns

import (
	"context"
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
	copy     *replica.Zone
	ns, glue []dns.RR
	servers  []inZoneServer
	counts   [outcomes]prometheus.Counter
}

// inZoneServer is a name server with a name in the zone. It exists by the
// Corefile, whatever the index holds.
type inZoneServer struct {
	key   []byte
	addrs []dns.RR
}

func newServedZone(apex zone.Apex, copied *replica.Zone) *servedZone {
	z := &servedZone{Apex: apex, copy: copied, counts: lookupCounters(apex.Origin)}
	z.ns, z.glue = apex.NSRecords()
	for _, s := range apex.NS {
		if !s.Name.Within(apex.Origin) {
			continue
		}
		in := inZoneServer{key: s.Name.Key(apex.Origin)}
		for _, a := range s.Addrs {
			in.addrs = append(in.addrs, zone.AddressRR(string(s.Name), a, apex.TTL))
		}
		z.servers = append(z.servers, in)
	}
	return z
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
	found := z.find(x, key)
	if found.Kind == index.None && d.Next != nil && d.fall.Through(qname) {
		z.count(passedOn)
		return plugin.NextOrFailure(d.Name(), d.Next, ctx, w, r)
	}
	m := new(dns.Msg)
	m.SetReply(r)
	m.Authoritative, m.Compress = true, true
	m.Answer, m.Extra = z.answer(state.QName(), state.QType(), key, found)
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

// find looks key up in the index and among the Corefile's name servers, whose
// names and those above them exist too.
func (z *servedZone) find(x *index.Index, key []byte) index.Answer {
	found := x.Lookup(key)
	for i := range z.servers {
		s := &z.servers[i]
		cut := encloser(key, s.key)
		switch {
		case cut == len(key): // they share the apex only
		case cut == 0 && len(key) == len(s.key):
			return index.Answer{Kind: index.Empty}
		case cut == 0 && (found.Kind == index.None || found.Encloser > 0):
			found = index.Answer{Kind: index.Empty} // an empty non-terminal (RFC 8020)
		case found.Encloser > cut:
			// The wildcard is above the closest encloser (RFC 4592, 3.3.1).
			found = index.Answer{Kind: index.None}
		}
	}
	return found
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

// answer makes the answer section, and for NS the addresses that go with it.
func (z *servedZone) answer(qname string, qtype uint16, key []byte, found index.Answer) (answer, extra []dns.RR) {
	if len(key) == 0 {
		if qtype == dns.TypeSOA || qtype == dns.TypeANY {
			soa := z.SOA(z.copy.Serial(time.Now()))
			soa.Hdr.Name = qname
			answer = append(answer, soa)
		}
		if qtype == dns.TypeNS || qtype == dns.TypeANY {
			answer, extra = append(answer, owned(z.ns, qname)...), z.glue
		}
	}
	for i := range z.servers {
		if s := &z.servers[i]; string(s.key) == string(key) {
			for _, rr := range s.addrs {
				if t := rr.Header().Rrtype; t == qtype || qtype == dns.TypeANY {
					answer = append(answer, owned([]dns.RR{rr}, qname)...)
				}
			}
			return answer, nil
		}
	}
	st := found.State
	if st.Revision == 0 || st.Flags&zone.Withdrawn != 0 {
		return answer, extra
	}
	ttl := st.TTL
	if ttl == 0 {
		ttl = z.TTL
	}
	if st.A.IsValid() && (qtype == dns.TypeA || qtype == dns.TypeANY) {
		answer = append(answer, zone.AddressRR(qname, st.A, ttl))
	}
	if st.AAAA.IsValid() && (qtype == dns.TypeAAAA || qtype == dns.TypeANY) {
		answer = append(answer, zone.AddressRR(qname, st.AAAA, ttl))
	}
	return answer, extra
}

// owned copies rrs with the owner name spelled as it was asked for.
func owned(rrs []dns.RR, owner string) []dns.RR {
	out := make([]dns.RR, len(rrs))
	for i, rr := range rrs {
		out[i] = dns.Copy(rr)
		out[i].Header().Name = owner
	}
	return out
}
