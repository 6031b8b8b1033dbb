package zone

import (
	"bytes"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

func TestParseName(t *testing.T) {
	label := strings.Repeat("a", 63)
	long := strings.Join([]string{label, label, label, strings.Repeat("b", 61)}, ".")
	for text, want := range map[string]Name{
		"home.dyn.example.org":   "home.dyn.example.org.",
		"HOME.Dyn.Example.ORG.":  "home.dyn.example.org.",
		"*.home.example.org":     "*.home.example.org.",
		"_acme-challenge.a.org":  "_acme-challenge.a.org.",
		"xn--mller-kva.org":      "xn--mller-kva.org.",
		label + ".org":           Name(label + ".org."),
		long:                     Name(long + "."),
		long + "b":               "",
		label + "a.org":          "",
		"":                       "",
		".":                      "",
		"..":                     "",
		"a..org":                 "",
		".a.org":                 "",
		"a.*.org":                "",
		"a*.org":                 "",
		"müller.org":             "",
		"a b.org":                "",
		`a\.b.org`:               "",
		"a.org\n":                "",
		"a.org\x00":              "",
		"home.dyn.example.org..": "",
	} {
		got, err := ParseName(text)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("ParseName(%q) = %q, %v; want %q", text, got, err, want)
		}
	}
}

func TestNamesKnowTheirPlace(t *testing.T) {
	const origin = Name("dyn.example.org.")
	for _, c := range []struct {
		name          Name
		within, below bool
	}{
		{"dyn.example.org.", true, false},
		{"home.dyn.example.org.", true, true},
		{"evildyn.example.org.", false, false},
		{"example.org.", false, false},
		{"a.b.dyn.example.org.", true, true},
	} {
		if c.name.Within(origin) != c.within || c.name.Below(origin) != c.below {
			t.Errorf("%s: within %v, below %v", c.name, c.name.Within(origin), c.name.Below(origin))
		}
		if c.within && Absolute(c.name.Relative(origin), origin) != c.name {
			t.Errorf("%s does not survive Relative and Absolute", c.name)
		}
	}
}

func TestKeysAreWhatTheWireHas(t *testing.T) {
	for _, name := range []string{
		"home.", "HoMe.", "a.b.c.", `a\.b.c.`, `\000\255.x.`, `\\.y.`, "*.home.", "x.y", strings.Repeat("a", 63) + ".",
		`\097.`, `\".`, `\@.`,
	} {
		wire := make([]byte, 300)
		n, err := dns.PackDomainName(dns.Fqdn(name), wire, 0, nil, false)
		if err != nil {
			t.Fatalf("%q: %v", name, err)
		}
		want := lower(wire[:n-1])
		got, ok := AppendKey(nil, name)
		if !ok || !bytes.Equal(got, want) {
			t.Errorf("AppendKey(%q) = %q, %v; want %q", name, got, ok, want)
		}
	}
	for _, name := range []string{"", ".", "a..b.", `\`, `\25`, `\256`, strings.Repeat("a", 64) + ".", strings.Repeat("a.", 128)} {
		if got, ok := AppendKey(nil, name); ok {
			t.Errorf("AppendKey(%q) = %q, want a refusal", name, got)
		}
	}
}

// lower is for wire format, which is no UTF-8.
func lower(wire []byte) []byte {
	out := bytes.Clone(wire)
	for i, c := range out {
		if 'A' <= c && c <= 'Z' {
			out[i] = c + 'a' - 'A'
		}
	}
	return out
}

func FuzzAppendKey(f *testing.F) {
	f.Add("home.dyn.")
	f.Add(`a\.b\000.C`)
	f.Add(`\`)
	f.Fuzz(func(t *testing.T, name string) {
		key, ok := AppendKey(nil, name)
		if !ok || strings.ContainsFunc(name, func(r rune) bool { return r >= 0x80 }) {
			return // of the latter miekg/dns loses count; it writes them as \DDD itself
		}
		wire := make([]byte, 300)
		n, err := dns.PackDomainName(dns.Fqdn(name), wire, 0, nil, false)
		if err == nil && !bytes.Equal(key, lower(wire[:n-1])) {
			t.Errorf("AppendKey(%q) = %q, the wire has %q", name, key, wire[:n-1])
		}
		if len(key) > 254 {
			t.Errorf("a key of %d octets", len(key))
		}
	})
}

func TestStatesSurviveTheirText(t *testing.T) {
	states := []State{
		{},
		{Revision: 1, A: netip.MustParseAddr("198.51.100.7")},
		{Revision: 1<<64 - 1, AAAA: netip.MustParseAddr("2001:db8::7"), TTL: 1<<32 - 1},
		{Revision: 7, A: netip.MustParseAddr("0.0.0.0"), AAAA: netip.MustParseAddr("::"), Flags: Withdrawn | Wildcard | HasSettings},
	}
	for _, s := range states {
		got, err := ParseState(s.String())
		if err != nil || got != s {
			t.Errorf("%q comes back as %+v, %v", s, got, err)
		}
	}
	for _, text := range []string{
		"", "1", "1 - - 0", "x - - 0 -", "1 x - 0 -", "1 2001:db8::1 - 0 -", "1 - 1.2.3.4 0 -", "1 - - -1 -",
		"1 - - 0 q", "1 - - 0 ", "1 - - 0 - -", "1 - fe80::1%eth0 0 -", "1 - - 4294967296 -",
	} {
		if s, err := ParseState(text); err == nil {
			t.Errorf("ParseState(%q) = %+v, want an error", text, s)
		}
	}
}

// A zone of one writer under a clock that jumps, with commits that take their
// time to become known, and restarts.
func TestSerialsNeverGoBackAndTellOfEveryChange(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	stored := uint32(now.Unix())
	var s Serial
	s.Load(stored, true)
	var published uint32
	var late []uint32 // stored, and not known yet
	known := func() {
		for _, serial := range late {
			before := s.At(now)
			s.Commit(serial)
			if later := s; later.At(now.Add(24*time.Hour)) == before {
				t.Fatalf("a change with serial %d hides behind %d, which is published", serial, before)
			}
		}
		late = nil
	}
	for range 200_000 {
		switch rand.IntN(12) {
		case 0, 1, 2, 3:
			now = now.Add(time.Duration(rand.IntN(700)) * time.Millisecond)
		case 4:
			if rand.IntN(100) == 0 {
				now = now.Add(-time.Duration(rand.IntN(20)) * time.Second) // the clock is set back
			}
		case 5:
			known()
			if rand.IntN(10) == 0 {
				s = Serial{} // a restart
				s.Load(stored, true)
			}
		case 6, 7:
			next := NextSerial(stored, s.At(now), now)
			if SerialLess(next, stored) {
				t.Fatalf("a commit got serial %d after %d", next, stored)
			}
			stored = next
			late = append(late, next)
		}
		at := s.At(now)
		if published != 0 && SerialLess(at, published) {
			t.Fatalf("serial %d was published after %d", at, published)
		}
		published = at
	}
}

// Nodes that hear from a store now and then what its clock says, and of all
// commits until then, publish one serial, whether they were there from the start,
// were started again or came later.
func TestNodesOfOneStorePublishOneSerial(t *testing.T) {
	clock := time.Unix(1_800_000_000, 0)
	commits := []uint32{uint32(clock.Unix())} // what the zone was made with
	type node struct {
		serial    Serial
		heard     int
		published uint32
	}
	var nodes [4]node
	hear := func(n *node, anew bool) {
		if anew {
			n.serial, n.heard = Serial{}, len(commits)
			n.serial.Load(commits[len(commits)-1], false)
		}
		for ; n.heard < len(commits); n.heard++ {
			n.serial.Commit(commits[n.heard])
		}
		at := n.serial.At(clock)
		if n.published != 0 && SerialLess(at, n.published) {
			t.Fatalf("serial %d was published after %d", at, n.published)
		}
		n.published = at
	}
	for i := range nodes {
		hear(&nodes[i], true)
	}
	for range 100_000 {
		switch rand.IntN(6) {
		case 0, 1:
			clock = clock.Add(time.Duration(rand.IntN(700)) * time.Millisecond)
		case 2, 3:
			writer := &nodes[rand.IntN(len(nodes))]
			commits = append(commits, NextSerial(commits[len(commits)-1], writer.published, clock))
		case 4:
			hear(&nodes[rand.IntN(len(nodes))], rand.IntN(10) == 0)
		case 5:
			last := commits[len(commits)-1]
			for i := range nodes {
				hear(&nodes[i], false)
				if over := last != uint32(clock.Unix()); over && nodes[i].published != last {
					t.Fatalf("node %d publishes %d, the latest commit is %d", i, nodes[i].published, last)
				}
			}
		}
	}
}

func TestSerialsWrapAround(t *testing.T) {
	for _, c := range []struct {
		a, b uint32
		less bool
	}{{1, 2, true}, {2, 1, false}, {1<<32 - 1, 0, true}, {0, 1<<32 - 1, false}, {5, 5, false}} {
		if SerialLess(c.a, c.b) != c.less {
			t.Errorf("SerialLess(%d, %d) = %v", c.a, c.b, !c.less)
		}
	}
}
