package index

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/coredns-ddns/ddns/plugin/zone"
)

// readers runs read in some goroutines until write returns.
func readers(t *testing.T, read func(r *rand.Rand) error, write func()) {
	t.Helper()
	var done atomic.Bool
	var wg sync.WaitGroup
	for i := range uint64(3) {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(i, i))
			for !done.Load() {
				if err := read(r); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	write()
	done.Store(true)
	wg.Wait()
}

func whole(st zone.State) error {
	if want := state(uint64(st.Revision)); st != want {
		return fmt.Errorf("torn: %v, want %v", st, want)
	}
	return nil
}

// Lasting hosts are replaced all the time while others come and go, with their
// parents, and tables grow and shrink.
func TestReadersSeeWholeStatesAndMissNothing(t *testing.T) {
	const lasting, fleeting = 50, 80 * shards
	stay := make([][]byte, lasting)
	pass := make([][]byte, fleeting)
	x := New()
	for i := range stay {
		stay[i] = key(t, fmt.Sprintf("s%06d.deep", i))
		x.Set(stay[i], state(1))
	}
	for i := range pass { // of the size of those that stay, so that they trade places
		pass[i] = key(t, fmt.Sprintf("p%06d.%04d", i, i%10))
	}
	read := func(r *rand.Rand) error {
		k := stay[r.IntN(lasting)]
		a := x.Lookup(k)
		if a.Kind != Exact {
			return fmt.Errorf("missed %q: %v", k, a)
		}
		if st, ok := x.Get(k); !ok || st.Revision < a.State.Revision {
			return fmt.Errorf("%q went back to %v from %v", k, st, a.State)
		}
		if n := x.Below(key(t, "deep")); n != lasting {
			return fmt.Errorf("%d hosts below deep, want %d", n, lasting)
		}
		if st, ok := x.Get(pass[r.IntN(fleeting)]); ok {
			return whole(st)
		}
		return whole(a.State)
	}
	readers(t, read, func() {
		n := uint64(2)
		for range 2 {
			for i, k := range pass {
				x.Set(k, state(n))
				x.Set(stay[i%lasting], state(n))
				n++
				if i%(fleeting/4) == 0 {
					runtime.GC() // unmaps what is left behind
				}
			}
			for i, k := range pass {
				x.Delete(k)
				x.Set(stay[i%lasting], state(n))
				n++
			}
		}
	})
}

// The memory of a table of this size is gone as soon as the next is in use.
func TestReadersMissNothingWhileLargeTablesAreReplaced(t *testing.T) {
	const lasting, fleeting = 1000, 300_000
	x := New()
	name := func(first byte, i int) []byte { return appendHost(nil, first, i) }
	for i := range lasting {
		x.Set(name('s', i), state(1))
	}
	read := func(r *rand.Rand) error {
		k := name('s', r.IntN(lasting))
		if st, ok := x.Get(k); !ok || st != state(1) {
			return fmt.Errorf("%q: %v, %v", k, st, ok)
		}
		return nil
	}
	readers(t, read, func() {
		for i := range fleeting {
			x.Set(name('p', i), state(1))
		}
		if mem := x.tables[0].Load().mem; runtime.GOOS == "linux" && mem.mapped == nil {
			t.Error("the tables are not large")
		}
		for i := range fleeting {
			x.Delete(name('p', i))
		}
		runtime.GC() // unmaps what was replaced
	})
}

func TestAllYieldsLastingHostsOnceWhileOthersComeAndGo(t *testing.T) {
	const lasting, fleeting = 300, 3000
	x := New()
	for i := range lasting {
		x.Set(key(t, fmt.Sprintf("s%06d", i)), state(1))
		x.Set(key(t, fmt.Sprintf("p%06d", i)), state(1))
	}
	read := func(*rand.Rand) error {
		seen := 0
		for k, st := range x.All {
			if k[1] == 's' {
				seen++
			}
			if err := whole(st); err != nil {
				return err
			}
		}
		if seen != lasting {
			return fmt.Errorf("all: %d lasting hosts, want %d", seen, lasting)
		}
		return nil
	}
	readers(t, read, func() {
		for n := range uint64(8 * fleeting) {
			i := int(n % fleeting)
			if k := key(t, fmt.Sprintf("p%06d", i)); !x.Delete(k) {
				x.Set(k, state(n))
			}
			x.Set(key(t, fmt.Sprintf("s%06d", i%lasting)), state(n))
		}
	})
}

func TestAllMayChangeTheIndex(t *testing.T) {
	x := New()
	for i := range 1000 {
		x.Set(key(t, fmt.Sprintf("h%d", i)), state(1))
	}
	for k := range x.All {
		x.Delete(k)
	}
	if x.Hosts() != 0 {
		t.Errorf("%d hosts left", x.Hosts())
	}
}

// A name never exists without its parent, or a resolver that has cached the
// parent's NXDOMAIN would not ask for it (RFC 8020).
func TestParentExistsForAsLongAsTheName(t *testing.T) {
	x := New()
	host, parent := key(t, "a.b.c"), key(t, "b.c")
	read := func(*rand.Rand) error {
		before := x.Lookup(host)
		up := x.Lookup(parent)
		after := x.Lookup(host)
		if before.Kind == Exact && after.Kind == Exact && before.State == after.State && up.Kind != Empty {
			return fmt.Errorf("parent %v of an existing name", up)
		}
		return nil
	}
	readers(t, read, func() {
		for n := range uint64(10_000) {
			x.Set(host, state(n))
			x.Delete(host)
		}
	})
}
