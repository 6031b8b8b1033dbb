package updateapi

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/coredns-ddns/ddns/plugin/zone"
)

// Publish says which addresses devices may publish.
type Publish uint8

const (
	PublishPublic Publish = iota // what the internet routes
	PublishAny                   // all but unspecified, multicast and broadcast
)

// errAddress is the outcome of an address that cannot be read or may not be
// published.
var errAddress = errors.New("address refused")

var broadcast = netip.AddrFrom4([4]byte{255, 255, 255, 255})

// notPublic are the ranges that net/netip has no word for.
var notPublic = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"),     // this network, RFC 1122
	netip.MustParsePrefix("100.64.0.0/10"), // shared, RFC 6598
	netip.MustParsePrefix("240.0.0.0/4"),   // reserved, RFC 1112
	netip.MustParsePrefix("::/96"),         // IPv4-compatible, RFC 4291
	netip.MustParsePrefix("fec0::/10"),     // site-local, RFC 3879
	netip.MustParsePrefix("64:ff9b::/96"),  // translated IPv4, RFC 6052
}

// check returns nil when a, unmapped, may be published.
func (p Publish) check(a netip.Addr) error {
	switch {
	case !a.IsValid() || a.IsUnspecified() || a.IsMulticast() || a == broadcast:
		return fmt.Errorf("%w: %v is no address of a host", errAddress, a)
	case p == PublishAny:
		return nil
	case a.IsLoopback() || a.IsPrivate() || a.IsLinkLocalUnicast() || contains(notPublic, a):
		return fmt.Errorf("%w: %v is not a public address", errAddress, a)
	}
	return nil
}

// parseAddr reads an address that shall be published.
func parseAddr(s string) (netip.Addr, error) {
	a, err := netip.ParseAddr(strings.TrimSpace(s))
	if err != nil || a.Zone() != "" {
		return netip.Addr{}, fmt.Errorf("%w: %.64q is neither an IPv4 nor an IPv6 address", errAddress, s)
	}
	return a.Unmap(), nil
}

// parsePrefix reads an IPv6 prefix of a LAN. Fritz!Box sends /59 and the like;
// longer than /64 leaves no room for an interface identifier, and shorter than
// /16 does not tell whether what lies below is public.
func parsePrefix(s string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(strings.TrimSpace(s))
	if err != nil || !p.Addr().Is6() || p.Addr().Is4In6() || p.Bits() > 64 || p.Bits() < 16 {
		return netip.Prefix{}, fmt.Errorf("%w: %.64q is not an IPv6 prefix of /16 to /64", errAddress, s)
	}
	return p.Masked(), nil
}

// setTo is what shall become of a host's address of one family. The zero setTo
// keeps it.
type setTo struct {
	op     setOp
	addr   netip.Addr
	prefix netip.Prefix // with op move
}

type setOp uint8

const (
	keep   setOp = iota
	remove       // no address of the family
	set          // addr
	move         // the address there is, under prefix
)

// of returns what becomes of the address there is.
func (t setTo) of(there netip.Addr) netip.Addr {
	switch t.op {
	case remove:
		return netip.Addr{}
	case set:
		return t.addr
	case move:
		return underPrefix(there, t.prefix)
	}
	return there
}

// check returns nil when what t sets may be published.
func (t setTo) check(p Publish) error {
	switch t.op {
	case set:
		return p.check(t.addr)
	case move:
		return p.check(t.prefix.Addr())
	}
	return nil
}

// underPrefix keeps a's bits below p. A host without address has none to keep.
func underPrefix(a netip.Addr, p netip.Prefix) netip.Addr {
	if !a.Is6() {
		return a
	}
	bits, top := a.As16(), p.Addr().As16()
	for i := range bits {
		mask := byte(0xff << (8 - min(8, max(0, p.Bits()-8*i))))
		bits[i] = top[i]&mask | bits[i]&^mask
	}
	return netip.AddrFrom16(bits)
}

// edit is what a request wants of one host.
type edit struct {
	given    string    // the name as the client spelled it
	refuse   error     // what is wrong with it, found when decoding
	name     zone.Name // "" when given is no name
	a, aaaa  setTo
	ttl      *uint32 // seconds; 0: the zone's
	offline  bool
	wildcard *bool
	note     *string
	delete   bool
	shy      bool                     // does not make a host that would have no address
	ifMatch  func(zone.Revision) bool // of the host as it is, 0 when there is none; nil: whatever it is
}

// types lists the record types that e sets.
func (e *edit) types() []string {
	var types []string
	if e.a.op != keep {
		types = append(types, "A")
	}
	if e.aaaa.op != keep {
		types = append(types, "AAAA")
	}
	return types
}

// spokenFor lists the types of the addresses that a change of flags from before
// to after publishes or withdraws.
func spokenFor(before, after zone.State) []string {
	var types []string
	if (before.Flags^after.Flags)&(zone.Withdrawn|zone.Wildcard) == 0 {
		return nil
	}
	if before.A.IsValid() {
		types = append(types, "A")
	}
	if before.AAAA.IsValid() {
		types = append(types, "AAAA")
	}
	return types
}

// of returns what becomes of a host's state.
func (e *edit) of(st zone.State) zone.State {
	st.A, st.AAAA = e.a.of(st.A), e.aaaa.of(st.AAAA)
	if e.ttl != nil {
		st.TTL = *e.ttl
	}
	st.Flags = flag(st.Flags, zone.Withdrawn, e.offline)
	if e.wildcard != nil {
		st.Flags = flag(st.Flags, zone.Wildcard, *e.wildcard)
	}
	return st
}

func flag(f, bit zone.Flags, on bool) zone.Flags {
	if on {
		return f | bit
	}
	return f &^ bit
}
