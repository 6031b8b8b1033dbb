package index

import "github.com/coredns-ddns/ddns/plugin/zone"

// Kind says what there is to answer for a name.
type Kind uint8

const (
	// None: the name does not exist (NXDOMAIN).
	None Kind = iota
	// Empty: the name exists without data (NODATA): an empty non-terminal, the
	// apex, or made by a wildcard that is an empty non-terminal itself.
	Empty
	// Exact: there is a host of this name. It may be withdrawn.
	Exact
	// Synthesized: the state is that of the source of synthesis (RFC 4592).
	Synthesized
)

// Answer is what Lookup found.
type Answer struct {
	Kind Kind
	// Encloser is set when a wildcard made the answer: how many octets of the
	// key stand left of the closest encloser. Otherwise it is 0.
	Encloser int
	State    zone.State // of Exact and Synthesized
}

// Lookup finds what to answer for the name key (RFC 1034, 4.3.2; RFC 4592).
// The source of synthesis is the name "*.encloser"; where that does not exist
// and the closest encloser is a host with zone.Wildcard, the encloser itself
// stands in for it.
func (x *Index) Lookup(key []byte) (a Answer) {
	var r record
	switch {
	case x.read(key, &r):
		a.set(Exact, &r)
	case len(key) == 0:
		a.Kind = Empty
	case x.wildcards.Load() > 0:
		x.synthesize(key, &a)
	}
	return a
}

// synthesize answers for a name that does not exist.
func (x *Index) synthesize(key []byte, a *Answer) {
	var encloser record
	label, cut := x.climb(key, &encloser)

	var buf [maxKey]byte
	wildcard := append(append(buf[:0], 1, '*'), key[cut:]...)
	var source record
	switch {
	case x.read(wildcard, &source):
		a.Encloser = cut
		a.set(Synthesized, &source)
	case !encloser.isHost() || encloser.flags()&zone.Wildcard == 0:
	case label > 0 && string(key[label:cut]) == "\x01*":
		// Below the "*.host" that the flag stands for, where it is the closest
		// encloser and covers nothing itself.
	default:
		a.Encloser = cut
		a.set(Synthesized, &encloser)
	}
}

// set makes the answer that of r, which exists.
func (a *Answer) set(kind Kind, r *record) {
	a.Kind = Empty
	if r.isHost() {
		a.Kind = kind
		r.fill(&a.State)
	}
}

// Encloser says how many octets of key stand left of its closest existing
// ancestor or, 0, that key itself exists. The apex always exists.
func (x *Index) Encloser(key []byte) int {
	var r record
	if len(key) == 0 || x.read(key, &r) {
		return 0
	}
	_, cut := x.climb(key, &r)
	return cut
}

// climb reads the closest ancestor of key that exists, the apex at last. It
// returns where in key that ancestor begins, and where the label before it.
func (x *Index) climb(key []byte, r *record) (label, cut int) {
	for {
		label, cut = cut, cut+1+int(key[cut])
		if x.read(key[cut:], r) || cut >= len(key) {
			return label, cut
		}
	}
}
