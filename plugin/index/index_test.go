package index

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"runtime/debug"
	"testing"
	"time"

	"github.com/coredns-ddns/ddns/plugin/zone"
)

// key is the key of a name relative to the zone, "@" for the apex.
func key(t testing.TB, name string) []byte {
	t.Helper()
	if name == "@" {
		return nil
	}
	k, ok := zone.AppendKey(nil, name)
	if !ok {
		t.Fatalf("%q is no name", name)
	}
	return k
}

// state is one that says n in each of its fields.
func state(n uint64) zone.State {
	return zone.State{Revision: zone.Revision(n), A: a4(n), AAAA: a6(n), TTL: uint32(n)}
}

func a4(n uint64) netip.Addr {
	return netip.AddrFrom4([4]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)})
}

func a6(n uint64) netip.Addr {
	b := [16]byte{0: 0x20, 1: 0x01}
	for i := range 8 {
		b[15-i] = byte(n >> (8 * i))
		b[14-i] ^= byte(n >> (8 * i)) // the upper half tells, too
	}
	return netip.AddrFrom16(b)
}

func TestStateComesBackAsItWasSet(t *testing.T) {
	for name, st := range map[string]zone.State{
		"zero":           {},
		"IPv4 only":      {Revision: 1, A: netip.MustParseAddr("198.51.100.7"), TTL: 60},
		"IPv6 only":      {Revision: 1, AAAA: netip.MustParseAddr("2001:db8::7")},
		"zero addresses": {A: netip.MustParseAddr("0.0.0.0"), AAAA: netip.MustParseAddr("::")},
		"largest": {
			Revision: 1<<64 - 1, A: netip.MustParseAddr("255.255.255.255"),
			AAAA: netip.MustParseAddr("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"), TTL: 1<<32 - 1, Flags: 1<<16 - 1,
		},
		"IPv4-mapped": {AAAA: netip.MustParseAddr("::ffff:192.0.2.1")},
		"withdrawn":   {Revision: 9, A: netip.MustParseAddr("192.0.2.1"), Flags: zone.Withdrawn},
	} {
		x := New()
		for _, k := range [][]byte{nil, key(t, "a"), key(t, "host"), key(t, "h000001"), key(t, "h0000001"), longest()} {
			x.Set(k, state(77)) // replaced at once
			x.Set(k, st)
			if got, ok := x.Get(k); !ok || got != st {
				t.Errorf("%s: host %q: got %v, %v, want %v", name, k, got, ok, st)
			}
			if got := x.Lookup(k); got.Kind != Exact || got.State != st {
				t.Errorf("%s: host %q: got %v, want %v exactly", name, k, got, st)
			}
		}
	}
}

// longest is a key of 254 octets.
func longest() []byte {
	var k []byte
	for _, n := range []int{63, 63, 63, 61} {
		k = append(append(k, byte(n)), bytes.Repeat([]byte{'x'}, n)...)
	}
	return k
}

func TestKeyTooLongIsRefused(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	New().Set(append(longest(), 'x'), zone.State{})
}

func TestLookup(t *testing.T) {
	const none = ""
	wild := zone.State{Revision: 3, Flags: zone.Wildcard}
	gone := zone.State{Revision: 4, Flags: zone.Withdrawn}
	cases := []struct {
		name  string
		hosts map[string]zone.State
		ask   string
		kind  Kind
		from  string // whose state
	}{
		{"the apex exists without a host", nil, "@", Empty, none},
		{"the apex may be a host", map[string]zone.State{"@": state(1)}, "@", Exact, "@"},
		{"no such name", map[string]zone.State{"a": state(1)}, "b", None, none},
		{"nothing below a host", map[string]zone.State{"a": state(1)}, "x.a", None, none},
		{"empty non-terminal", map[string]zone.State{"a.b.c": state(1)}, "b.c", Empty, none},
		{"empty non-terminal further up", map[string]zone.State{"a.b.c": state(1)}, "c", Empty, none},
		{"withdrawn host", map[string]zone.State{"a": gone, "*": state(1)}, "a", Exact, "a"},
		{"wildcard", map[string]zone.State{"*": state(1)}, "a", Synthesized, "*"},
		{"wildcard, many labels", map[string]zone.State{"*": state(1)}, "a.b.c", Synthesized, "*"},
		{"wildcard below", map[string]zone.State{"*.b": state(1)}, "a.b", Synthesized, "*.b"},
		{"wildcard does not cover its parent", map[string]zone.State{"*.b": state(1)}, "b", Empty, none},
		{"wildcard asked for itself", map[string]zone.State{"*": state(1)}, "*", Exact, "*"},
		{"nothing below a wildcard", map[string]zone.State{"*": state(1)}, "a.*", None, none},
		{"closest encloser blocks", map[string]zone.State{"*": state(1), "b": state(2)}, "a.b", None, none},
		{"withdrawn encloser blocks", map[string]zone.State{"*": state(1), "b": gone}, "a.b", None, none},
		{"empty non-terminal blocks", map[string]zone.State{"*": state(1), "a.b": state(2)}, "x.b", None, none},
		{"empty non-terminal is not covered", map[string]zone.State{"*": state(1), "a.b": state(2)}, "b", Empty, none},
		{"withdrawn wildcard", map[string]zone.State{"*": gone}, "a", Synthesized, "*"},
		{"empty wildcard", map[string]zone.State{"a.*.b": state(1)}, "x.b", Empty, none},
		{"flag", map[string]zone.State{"b": wild}, "a.b", Synthesized, "b"},
		{"flag at the apex", map[string]zone.State{"@": wild}, "a.b", Synthesized, "@"},
		{"flag, host itself", map[string]zone.State{"b": wild}, "b", Exact, "b"},
		{"flag, wildcard asked for itself", map[string]zone.State{"b": wild}, "*.b", Synthesized, "b"},
		{"flag, nothing below the wildcard", map[string]zone.State{"b": wild}, "a.*.b", None, none},
		{"flag and explicit wildcard", map[string]zone.State{"b": wild, "*.b": state(1)}, "a.b", Synthesized, "*.b"},
		{"flag and empty wildcard", map[string]zone.State{"b": wild, "a.*.b": state(1)}, "x.b", Empty, none},
		{"flag, host below it", map[string]zone.State{"b": wild, "a.b": state(1)}, "x.a.b", None, none},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			x := New()
			for name, st := range c.hosts {
				x.Set(key(t, name), st)
			}
			got := x.Lookup(key(t, c.ask))
			if got.Kind != c.kind || got.State != c.hosts[c.from] {
				t.Errorf("%s: got %+v, want kind %d with the state of %q", c.ask, got, c.kind, c.from)
			}
			for name := range c.hosts {
				x.Delete(key(t, name))
			}
			want := None
			if c.ask == "@" {
				want = Empty
			}
			if got := x.Lookup(key(t, c.ask)); got.Kind != want || x.Hosts() != 0 || x.wildcards.Load() != 0 {
				t.Errorf("after deleting all: %+v, %d hosts, %d wildcards", got, x.Hosts(), x.wildcards.Load())
			}
		})
	}
}

func TestEncloser(t *testing.T) {
	x := New()
	x.Set(key(t, "*.b.c"), state(1))
	for ask, want := range map[string]string{
		"@": "@", "x": "@", "x.y": "@", "c": "c", "x.c": "c", "b.c": "b.c", "y.x.b.c": "b.c", "*.b.c": "*.b.c", "x.*.b.c": "*.b.c",
	} {
		k := key(t, ask)
		if got := k[x.Encloser(k):]; !bytes.Equal(got, key(t, want)) {
			t.Errorf("%s: got %q, want %q", ask, got, want)
		}
	}
	k := key(t, "y.x.b.c")
	if got := x.Lookup(k); got.Kind != Synthesized || got.Encloser != 4 {
		t.Errorf("got %+v, want synthesized, 4 octets below the encloser", got)
	}
}

func TestManyNamesAgreeWithMap(t *testing.T) {
	const names = 30_000
	x, m := New(), map[string]zone.State{}
	r := rand.New(rand.NewPCG(1, 2))
	for i := range uint64(10 * names) {
		name := fmt.Sprintf("h%0*d", 1+r.IntN(20), r.IntN(names))
		if r.IntN(3) == 0 {
			x.Delete(key(t, name))
			delete(m, name)
			continue
		}
		x.Set(key(t, name), state(i))
		m[name] = state(i)
	}
	for name, want := range m {
		if got, ok := x.Get(key(t, name)); !ok || got != want {
			t.Fatalf("%s: got %v, %v, want %v", name, got, ok, want)
		}
		if ok := x.Delete(key(t, name)); !ok {
			t.Fatalf("%s: nothing to delete", name)
		}
	}
	if x.Hosts() != 0 {
		t.Errorf("%d hosts left", x.Hosts())
	}
}

// More names have one home than a bucket can count to.
func TestNamesThatPassedByOneBucketAreFound(t *testing.T) {
	const names = 600
	x := New()
	keys := inShard(x, names, 8, func(i int) []byte { return appendHost(nil, 'h', i) })
	for _, k := range keys {
		x.Set(k, state(1))
	}
	table := x.tables[0].Load()
	if n := table.words[0] & overflow; n != overflow {
		t.Fatalf("%d names passed by, want %d or more", n, overflow)
	}
	for len(keys) > names/4 {
		for i, k := range keys {
			if _, ok := x.Get(k); !ok {
				t.Fatalf("%d names left: the %d. is missing", len(keys), i)
			}
		}
		for _, k := range keys[:25] {
			x.Delete(k)
		}
		keys = keys[25:]
	}
	if x.tables[0].Load() != table {
		t.Error("the table was replaced, and with it what was to be tested")
	}
}

func TestEmptyIndexIsSmall(t *testing.T) {
	x := New()
	x.Set(key(t, "home"), state(1))
	if n := x.Bytes(); n > 8<<10 {
		t.Errorf("%d bytes for one host", n)
	}
}

func TestChurnDoesNotGrowMemory(t *testing.T) {
	x := New()
	const live = 20_000
	host := func(i int) []byte { return key(t, fmt.Sprintf("h%09d.dyn", i)) }
	for i := range live {
		x.Set(host(i), state(1))
	}
	// Tables are rebuilt between a third and two thirds larger than at first.
	limit := x.Bytes() * 5 / 4
	for i := range 8 * live {
		x.Delete(host(i))
		x.Set(host(i+live), state(uint64(i)))
	}
	if n := x.Bytes(); n > limit {
		t.Errorf("%d bytes after churn, want at most %d", n, limit)
	}
	for i := range live {
		x.Delete(host(8*live + i))
	}
	words := 0
	for i := range x.tables {
		table := x.tables[i].Load()
		words += len(table.words)
		for at := 0; at < len(table.words); at += bucketWords {
			if tags := table.words[at]; tags != 0 {
				t.Errorf("shard %d: a bucket of an empty table has the tags and overflow %x", i, tags)
			}
		}
	}
	if x.Hosts() != 0 || words > shards*4*bucketWords {
		t.Errorf("%d hosts and tables of %d words after deleting all", x.Hosts(), words)
	}
}

func TestMemoryGoesBackToTheSystem(t *testing.T) {
	if resident() == 0 {
		t.Skip("no /proc to ask")
	}
	before := resident()
	x := New()
	for i := range 400_000 {
		x.Set(appendHost(nil, 'h', i), state(1))
	}
	grown, held := resident()-before, x.Bytes()
	x = nil
	for range 100 { // cleanups run some time after a collection
		debug.FreeOSMemory()
		if resident()-before < grown/2 {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("%d bytes more than before an index of %d bytes, that made it %d", resident()-before, held, grown)
}

func TestReadingAllocatesNothing(t *testing.T) {
	x := New()
	x.Set(key(t, "*.wild"), state(1))
	x.Set(key(t, "home"), state(1))
	for _, name := range []string{"home", "away", "a.b.wild", "wild", "x.home"} {
		k := key(t, name)
		n := testing.AllocsPerRun(100, func() {
			x.Lookup(k)
			x.Get(k)
			x.Below(k)
			x.Encloser(k)
		})
		if n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}
