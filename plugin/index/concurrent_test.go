package index

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
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

// mapEverything has all but the smallest blocks mapped until the test ends.
func mapEverything(t *testing.T) {
	was := mapFrom
	mapFrom = 4 << 10
	t.Cleanup(func() { mapFrom = was })
}

// inShard is n names that a table keeps close together: those that pick makes
// of 0, 1, 2 and on whose hash begins with so many zeros.
func inShard(x *Index, n, zeros int, pick func(i int) []byte) [][]byte {
	var keys [][]byte
	for i := 0; len(keys) < n; i++ {
		k := pick(i)
		if h := x.hash(k); h>>(64-shardBits) == 0 && fragment(h)>>(32-zeros) == 0 {
			keys = append(keys, k)
		}
	}
	return keys
}

// The memory of a mapped table is gone as soon as the next is in use, while
// readers may still be in it. They go to the next one then.
func TestReadersMissNothingWhileMappedTablesAreReplaced(t *testing.T) {
	const lasting, fleeting, rounds = 300, 300, 12
	mapEverything(t)
	x := New()
	stay := inShard(x, lasting, 0, func(i int) []byte { return key(t, fmt.Sprintf("s%06d.deep", i)) })
	pass := inShard(x, fleeting, 0, func(i int) []byte { return key(t, fmt.Sprintf("p%06d", i)) })
	for _, k := range stay {
		x.Set(k, state(1))
	}
	read := func(r *rand.Rand) error {
		k := stay[r.IntN(lasting)]
		if st, ok := x.Get(k); !ok || st != state(1) {
			return fmt.Errorf("get %q: %v, %v", k, st, ok)
		}
		if a := x.Lookup(k); a.Kind != Exact || a.State != state(1) {
			return fmt.Errorf("lookup %q: %v", k, a)
		}
		if n := x.Encloser(append([]byte("\x01x"), k...)); n != 2 {
			return fmt.Errorf("encloser of x.%q: %d octets below it, want 2", k, n)
		}
		if r.IntN(1000) > 0 {
			return nil
		}
		seen := 0
		for k := range x.All {
			if k[1] == 's' {
				seen++
			}
		}
		if seen != lasting {
			return fmt.Errorf("all: %d lasting hosts, want %d", seen, lasting)
		}
		return nil
	}
	readers(t, read, func() {
		for range rounds {
			for _, k := range pass {
				x.Set(k, state(1))
				replaceTable(x)
			}
			for _, k := range pass {
				x.Delete(k)
				replaceTable(x)
			}
			if mem := x.tables[0].Load().mem; runtime.GOOS == "linux" && mem.mapped == nil {
				t.Error("the table is not mapped")
			}
			runtime.GC() // unmaps what was replaced
		}
	})
}

// replaceTable does at once what growth does now and then.
func replaceTable(x *Index) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.rebuild(0)
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

// Two names trade one place, so that every reader meets the writer.
func TestHostsAreWholeInAPlaceThatIsRewritten(t *testing.T) {
	x := New()
	names := [2][]byte{key(t, "even"), key(t, "odd1")}
	check := func(k []byte, st zone.State) error {
		if want := names[st.Revision%2]; !bytes.Equal(k, want) {
			return fmt.Errorf("%q has a state of %q", k, want)
		}
		return whole(st)
	}
	read := func(r *rand.Rand) error {
		for k, st := range x.All {
			if err := check(k, st); err != nil {
				return fmt.Errorf("all: %w", err)
			}
		}
		k := names[r.IntN(2)]
		if st, ok := x.Get(k); ok {
			return check(k, st)
		}
		return nil
	}
	readers(t, read, func() {
		for n := range uint64(100_000) {
			k := names[n%2]
			x.Set(k, state(n))
			x.Set(k, state(n+1<<40))
			x.Delete(k)
		}
	})
	if n := len(*x.arena.chunks.Load()); n != 1 {
		t.Errorf("%d chunks for one host at a time", n)
	}
}

// A name never exists without its parent, or a resolver that has cached the
// parent's NXDOMAIN would not ask for it (RFC 8020).
func TestParentExistsForAsLongAsTheName(t *testing.T) {
	x := New()
	var line [][]byte // a host and its ancestors
	for name := "a.b.c.d.e.f.g"; ; _, name, _ = strings.Cut(name, ".") {
		line = append(line, key(t, name))
		if !strings.Contains(name, ".") {
			break
		}
	}
	exists := func(k []byte) bool { return x.Lookup(k).Kind != None }
	var phase atomic.Uint64 // even while the host comes, odd while it goes
	read := func(r *rand.Rand) error {
		i := r.IntN(len(line) - 1)
		var name, parent bool
		was := phase.Load()
		if was%2 == 0 {
			name, parent = exists(line[i]), exists(line[i+1])
		} else {
			parent, name = exists(line[i+1]), exists(line[i])
		}
		if name && !parent && phase.Load() == was {
			return fmt.Errorf("%q exists without %q", line[i], line[i+1])
		}
		return nil
	}
	readers(t, read, func() {
		for n := range uint64(10_000) {
			x.Set(line[0], state(n))
			phase.Add(1)
			x.Delete(line[0])
			phase.Add(1)
		}
	})
}
