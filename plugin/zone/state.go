package zone

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// Revision counts a store's commits to one zone, from 1. Zero stands for a host
// that does not exist.
type Revision uint64

// Flags says what is uncommon about a host.
type Flags uint16

const (
	// Withdrawn hosts keep their name and addresses and are answered NODATA.
	Withdrawn Flags = 1 << iota
	// Wildcard hosts answer for every name below them that does not exist.
	Wildcard
	// HasSettings marks a host that has settings beside its state in the store.
	HasSettings
)

// flagLetters spells Flags in a state's text, bit by bit.
const flagLetters = "wxs"

// State is all that a node needs to know to answer for a host. An address that
// is not set is the zero Addr.
type State struct {
	Revision Revision // of the commit that made it
	A, AAAA  netip.Addr
	TTL      uint32 // seconds; 0: the zone's
	Flags    Flags
}

// Same says whether t answers as s does; revisions do not matter.
func (s State) Same(t State) bool {
	s.Revision = t.Revision
	return s == t
}

// Published says whether addresses of the host are answered at all.
func (s State) Published() bool {
	return s.Flags&Withdrawn == 0 && (s.A.IsValid() || s.AAAA.IsValid())
}

// Host is a dynamic owner name and its state.
type Host struct {
	Name Name
	State
}

// ErrState is returned by ParseState, wrapped with the text.
var ErrState = errors.New("not a host state (REVISION A AAAA TTL FLAGS)")

// Append writes the state as stores keep it: "REVISION A AAAA TTL FLAGS", with
// "-" for what is not set.
func (s State) Append(dst []byte) []byte {
	dst = strconv.AppendUint(dst, uint64(s.Revision), 10)
	dst = appendAddr(append(dst, ' '), s.A)
	dst = appendAddr(append(dst, ' '), s.AAAA)
	dst = strconv.AppendUint(append(dst, ' '), uint64(s.TTL), 10)
	dst = append(dst, ' ')
	if s.Flags == 0 {
		return append(dst, '-')
	}
	for i := range flagLetters {
		if s.Flags&(1<<i) != 0 {
			dst = append(dst, flagLetters[i])
		}
	}
	return dst
}

func appendAddr(dst []byte, a netip.Addr) []byte {
	if !a.IsValid() {
		return append(dst, '-')
	}
	return a.AppendTo(dst)
}

func (s State) String() string { return string(s.Append(nil)) }

// ParseState reads what Append wrote.
func ParseState(text string) (State, error) {
	var s State
	bad := func() (State, error) { return State{}, fmt.Errorf("%q: %w", clip(text), ErrState) }
	rest, ok := text, true
	var field [5]string
	for i := range 4 {
		if field[i], rest, ok = strings.Cut(rest, " "); !ok {
			return bad()
		}
	}
	field[4] = rest
	rev, err := strconv.ParseUint(field[0], 10, 64)
	if err != nil {
		return bad()
	}
	ttl, err := strconv.ParseUint(field[3], 10, 32)
	if err != nil {
		return bad()
	}
	s.Revision, s.TTL = Revision(rev), uint32(ttl)
	if field[1] != "-" {
		if s.A, err = netip.ParseAddr(field[1]); err != nil || !s.A.Is4() {
			return bad()
		}
	}
	if field[2] != "-" {
		if s.AAAA, err = netip.ParseAddr(field[2]); err != nil || !s.AAAA.Is6() || s.AAAA.Zone() != "" {
			return bad()
		}
	}
	if s.Flags, ok = parseFlags(field[4]); !ok {
		return bad()
	}
	return s, nil
}

func parseFlags(text string) (Flags, bool) {
	var f Flags
	if text == "-" {
		return 0, true
	}
	for i := range len(text) {
		bit := strings.IndexByte(flagLetters, text[i])
		if bit < 0 {
			return 0, false
		}
		f |= 1 << bit
	}
	return f, text != ""
}
