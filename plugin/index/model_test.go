package index

import (
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/coredns-ddns/ddns/plugin/zone"
)

// model answers as an Index should, slowly, from the RFCs' words.
type model map[string]zone.State

func labels(name string) []string {
	if name == "@" {
		return nil
	}
	return strings.Split(name, ".")
}

func join(labels []string) string {
	if len(labels) == 0 {
		return "@"
	}
	return strings.Join(labels, ".")
}

func (m model) below(name string) int {
	n := 0
	for host := range m {
		if host != name && (name == "@" || strings.HasSuffix(host, "."+name)) {
			n++
		}
	}
	return n
}

func (m model) exists(name string) bool {
	_, host := m[name]
	return name == "@" || host || m.below(name) > 0 || m.flagWildcard(name)
}

// flagWildcard says whether name is the "*.host" of a host's flag.
func (m model) flagWildcard(name string) bool {
	l := labels(name)
	return len(l) > 0 && l[0] == "*" && m[join(l[1:])].Flags&zone.Wildcard != 0
}

func (m model) data(name string) (zone.State, bool) {
	if st, ok := m[name]; ok || m.below(name) > 0 || !m.flagWildcard(name) {
		return st, ok
	}
	return m[join(labels(name)[1:])], true
}

func (m model) lookup(name string) Answer {
	_, host := m[name]
	if !host && m.flagWildcard(name) && m.below(name) == 0 {
		st, _ := m.data(name)
		return Answer{Kind: Synthesized, Encloser: 2, State: st}
	}
	if m.exists(name) {
		if st, ok := m.data(name); ok {
			return Answer{Kind: Exact, State: st}
		}
		return Answer{Kind: Empty}
	}
	l := labels(name)
	cut := 0
	for !m.exists(join(l)) {
		cut += 1 + len(l[0])
		l = l[1:]
	}
	source := "*"
	if len(l) > 0 {
		source = "*." + join(l)
	}
	if !m.exists(source) {
		return Answer{}
	}
	if st, ok := m.data(source); ok {
		return Answer{Kind: Synthesized, Encloser: cut, State: st}
	}
	return Answer{Kind: Empty, Encloser: cut}
}

// play does to an index and a model what the octets of script say, and
// compares them.
func play(t *testing.T, script []byte) {
	x, m := New(), model{}
	parts := []string{"a", "b", "*", "long-label-of-23-octets"}
	name := func(b byte) string {
		var l []string
		for n := int(b >> 6); n > 0; n-- {
			l = append(l, parts[b&3])
			b >>= 2
		}
		return join(l)
	}
	for i := 0; i+1 < len(script); i += 2 {
		host, what := name(script[i]), script[i+1]
		_, there := m[host]
		switch {
		case what < 150:
			st := state(uint64(i + 1))
			st.Flags = zone.Flags(what % 4)
			x.Set(key(t, host), st)
			m[host] = st
		case x.Delete(key(t, host)) != there:
			t.Fatalf("delete %s: got %v, want %v", host, !there, there)
		default:
			delete(m, host)
		}
	}
	compare(t, x, m, func(yield func(string)) {
		for b := range 256 {
			yield(name(byte(b)))
			yield("a." + name(byte(b)))
		}
	})
}

func compare(t *testing.T, x *Index, m model, names func(yield func(string))) {
	t.Helper()
	if x.Hosts() != len(m) {
		t.Fatalf("got %d hosts, want %d", x.Hosts(), len(m))
	}
	names(func(name string) {
		name = strings.TrimSuffix(name, ".@")
		k := key(t, name)
		if got, want := x.Lookup(k), m.lookup(name); got != want {
			t.Fatalf("lookup %s among %v: got %+v, want %+v", name, m, got, want)
		}
		if got, want := x.Below(k), m.below(name); got != want {
			t.Fatalf("below %s: got %d, want %d", name, got, want)
		}
		st, ok := x.Get(k)
		if want, there := m[name]; ok != there || st != want {
			t.Fatalf("get %s: got %v, %v, want %v, %v", name, st, ok, want, there)
		}
	})
	seen := map[string]zone.State{}
	for k, st := range x.All {
		if _, twice := seen[string(k)]; twice {
			t.Fatalf("%q twice", k)
		}
		seen[string(k)] = st
	}
	for name, st := range m {
		if got, ok := seen[string(key(t, name))]; !ok || got != st {
			t.Fatalf("all: %s: got %v, %v, want %v", name, got, ok, st)
		}
	}
	if len(seen) != len(m) {
		t.Fatalf("all: got %d hosts, want %d", len(seen), len(m))
	}
}

func TestAgreesWithModel(t *testing.T) {
	r := rand.NewChaCha8([32]byte{1})
	for range 200 {
		script := make([]byte, 2+r.Uint64()%150)
		r.Read(script)
		play(t, script)
	}
}

func FuzzAgreesWithModel(f *testing.F) {
	f.Add([]byte("some\x80\x00\xc2\x01\xe2\x02\xff\x20\x40\xff"))
	f.Fuzz(func(t *testing.T, script []byte) { play(t, script) })
}
