package zone

import (
	"net/netip"

	"github.com/miekg/dns"
)

// NameServer is one of a zone's authoritative servers.
type NameServer struct {
	Name  Name
	Addrs []netip.Addr // when Name lies in the zone
}

// Apex is what a zone's own records are made of. It comes from the Corefile.
type Apex struct {
	Origin Name
	NS     []NameServer // at least one; the first is the SOA's MNAME
	Mbox   Name
	TTL    uint32 // seconds, of all records and for negative answers
}

// Secondaries learn of changes by NOTIFY; these are for when that is lost.
const (
	soaRefresh = 600
	soaRetry   = 120
	soaExpire  = 14 * 24 * 3600
)

// SOA is the zone's SOA record. Its TTL equals its minimum (RFC 2308, 3).
func (a *Apex) SOA(serial uint32) *dns.SOA {
	return &dns.SOA{
		Hdr: a.header(string(a.Origin), dns.TypeSOA), Ns: string(a.NS[0].Name), Mbox: string(a.Mbox),
		Serial: serial, Refresh: soaRefresh, Retry: soaRetry, Expire: soaExpire, Minttl: a.TTL,
	}
}

// NSRecords is the zone's NS RRset.
func (a *Apex) NSRecords() []dns.RR {
	var ns []dns.RR
	for _, s := range a.NS {
		ns = append(ns, &dns.NS{Hdr: a.header(string(a.Origin), dns.TypeNS), Ns: string(s.Name)})
	}
	return ns
}

func (a *Apex) header(owner string, rrtype uint16) dns.RR_Header {
	return dns.RR_Header{Name: owner, Rrtype: rrtype, Class: dns.ClassINET, Ttl: a.TTL}
}

// AddressRR is the A or AAAA record of addr, by its family.
func AddressRR(owner string, addr netip.Addr, ttl uint32) dns.RR {
	h := dns.RR_Header{Name: owner, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: ttl}
	if addr.Is4() {
		return &dns.A{Hdr: h, A: addr.AsSlice()}
	}
	h.Rrtype = dns.TypeAAAA
	return &dns.AAAA{Hdr: h, AAAA: addr.AsSlice()}
}
