package index

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"testing"
	"time"

	"github.com/coredns-ddns/ddns/plugin/zone"
)

// BenchmarkIndex measures random lookups among many dual-stack hosts, alone and
// beside a writer, and what a host takes. "rss" is by how much the process grew.
//
//	go test -run='^$' -bench=Index -benchmem ./plugin/index
func BenchmarkIndex(b *testing.B) {
	for _, hosts := range []int{100_000, 1_000_000, 10_000_000} {
		if hosts > 1_000_000 && testing.Short() {
			continue
		}
		b.Run(fmt.Sprintf("hosts=%d", hosts), func(b *testing.B) { benchmarkHosts(b, hosts) })
	}
}

func benchmarkHosts(b *testing.B, hosts int) {
	hits, misses := sample(hosts, 'h'), sample(hosts, 'm')
	before := resident()
	start := time.Now()
	x := New()
	var buf []byte
	for i := range hosts {
		buf = appendHost(buf[:0], 'h', i)
		x.Set(buf, state(uint64(i)))
	}
	built := time.Since(start)
	peak := resident() // before unused tables and the Go heap go back
	debug.FreeOSMemory()
	memory := float64(resident() - before)

	// Its figure is in the metrics: b.Loop cannot build anew at this size.
	b.Run("memory", func(b *testing.B) {
		for b.Loop() {
		}
		b.ReportMetric(0, "ns/op")
		b.ReportMetric(float64(x.Bytes())/float64(hosts), "B/host")
		b.ReportMetric(memory/float64(hosts), "rss-B/host")
		b.ReportMetric(float64(peak-before)/float64(hosts), "rss-at-once-B/host")
		b.ReportMetric(float64(built.Nanoseconds())/float64(hosts), "ns/insert")
	})
	for _, writing := range []string{"alone", "writer=10000"} {
		b.Run(writing, func(b *testing.B) {
			if writing != "alone" {
				stop := changes(x, hosts)
				defer stop()
			}
			b.Run("get/hit", func(b *testing.B) { benchmarkGet(b, x, hits, true) })
			b.Run("lookup/hit", func(b *testing.B) { benchmarkLookup(b, x, hits, Exact) })
			b.Run("get/miss", func(b *testing.B) { benchmarkGet(b, x, misses, false) })
			b.Run("lookup/miss", func(b *testing.B) { benchmarkLookup(b, x, misses, None) })
		})
	}
	x.Set([]byte("\x01*\x04wild"), state(1))
	b.Run("wildcards/lookup/miss", func(b *testing.B) { benchmarkLookup(b, x, misses, None) })
	b.Run("all", func(b *testing.B) {
		for b.Loop() {
			for range x.All {
			}
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(x.Hosts()), "ns/host")
	})
	runtime.KeepAlive(x)
}

func benchmarkGet(b *testing.B, x *Index, s *keys, want bool) {
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := x.Get(s.next()); ok != want {
			b.Fatalf("got %v, want %v", ok, want)
		}
	}
}

func benchmarkLookup(b *testing.B, x *Index, s *keys, want Kind) {
	b.ReportAllocs()
	for b.Loop() {
		if a := x.Lookup(s.next()); a.Kind != want {
			b.Fatalf("got %v, want kind %d", a, want)
		}
	}
}

// keys is many keys in random order, one behind the other.
type keys struct {
	packed []byte
	size   int
	at     int
}

func sample(hosts int, first byte) *keys {
	r := rand.New(rand.NewPCG(1, uint64(hosts)))
	size := len(appendHost(nil, first, hosts-1))
	s := &keys{size: size, packed: make([]byte, 0, size<<22)}
	for len(s.packed)+size <= cap(s.packed) {
		if k := appendHost(s.packed, first, r.IntN(hosts)); len(k)-len(s.packed) == size {
			s.packed = k
		}
	}
	return s
}

func (s *keys) next() []byte {
	if s.at+s.size > len(s.packed) {
		s.at = 0
	}
	s.at += s.size
	return s.packed[s.at-s.size : s.at]
}

// appendHost appends the key of host i, such as h000001.
func appendHost(dst []byte, first byte, i int) []byte {
	at := len(dst)
	dst = append(dst, 0, first)
	for limit := 100_000; i < limit && limit > 1; limit /= 10 {
		dst = append(dst, '0')
	}
	dst = strconv.AppendInt(dst, int64(i), 10)
	dst[at] = byte(len(dst) - at - 1)
	return dst
}

// changes makes 10,000 changes a second until stop: new addresses, and now and
// then a host that comes and goes.
func changes(x *Index, hosts int) (stop func()) {
	quit, gone := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(gone)
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		r := rand.New(rand.NewPCG(3, 4))
		var buf []byte
		for n := uint64(1); ; {
			select {
			case <-quit:
				return
			case <-tick.C:
			}
			for range 8 {
				buf = appendHost(buf[:0], 'h', r.IntN(hosts))
				x.Set(buf, state(n))
				n++
			}
			buf = appendHost(buf[:0], 'n', r.IntN(1000))
			x.Set(buf, zone.State{})
			x.Delete(buf)
		}
	}()
	return func() { close(quit); <-gone }
}

// resident is the resident memory of the process in bytes, 0 where there is no
// /proc.
func resident() int {
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	_, rest, _ := bytes.Cut(text, []byte("VmRSS:"))
	var kib int
	if _, err := fmt.Sscan(string(rest), &kib); err != nil {
		return 0
	}
	return kib << 10
}
