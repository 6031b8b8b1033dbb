package boltstore

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coredns-ddns/ddns/plugin/store"
	"github.com/coredns-ddns/ddns/plugin/zone"
)

// benchDir is where benchmarks keep their databases: -dir /dev/shm shows what
// is left without a disk.
var benchDir = flag.String("dir", "", "directory for the databases of benchmarks (default a temporary one)")

// filled is a database of n dual-stack hosts, h0000000 and on, made once.
func filled(b *testing.B, n int) string {
	b.Helper()
	dir, err := os.MkdirTemp(*benchDir, "boltstore")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { os.RemoveAll(dir) })
	path := filepath.Join(dir, "ddns.db")
	s := open(b, path)
	defer s.Close()
	h := hostsOf(b, s)
	const batch = 10_000
	for at := 0; at < n; at += batch {
		var u store.Update
		for i := at; i < min(at+batch, n); i++ {
			u.Writes = append(u.Writes, store.Write{Host: host(i, 0)})
		}
		must(b, h, u)
	}
	return path
}

// BenchmarkUpdate is one changed host an update, acknowledged when durable.
func BenchmarkUpdate(b *testing.B) {
	for _, n := range []int{10_000, 100_000} {
		b.Run(fmt.Sprintf("hosts=%d", n), func(b *testing.B) {
			path := filled(b, n)
			for _, updaters := range []int{1, 8, 64} {
				b.Run(fmt.Sprintf("updaters=%d", updaters), func(b *testing.B) { benchUpdate(b, path, n, updaters) })
			}
		})
	}
}

func benchUpdate(b *testing.B, path string, n, updaters int) {
	s := open(b, path)
	defer s.Close()
	h := hostsOf(b, s)
	hosts := make([]zone.Host, 0, n)
	if _, err := h.Snapshot(b.Context(), func(host zone.Host) error { hosts = append(hosts, host); return nil }); err != nil {
		b.Fatal(err)
	}
	var left atomic.Int64
	left.Store(int64(b.N))
	took := make([][]time.Duration, updaters)
	b.ResetTimer()
	var wg sync.WaitGroup
	for w := range updaters {
		wg.Go(func() {
			// Each has hosts of its own, spread over the whole zone.
			for i := w; left.Add(-1) >= 0; i += updaters {
				host := &hosts[int(uint32(i)*2654435761%uint32(n/updaters))*updaters+w]
				host.A = v4(i)
				start := time.Now()
				r, err := h.Update(b.Context(), store.Update{Writes: []store.Write{{Host: *host}}, By: store.Author{Token: "abc123", Client: v4(1)}})
				if err != nil {
					b.Error(err)
					return
				}
				took[w] = append(took[w], time.Since(start))
				host.Revision = r.Revision
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	all := slices.Sorted(slices.Values(slices.Concat(took...)))
	b.ReportMetric(float64(len(all))/b.Elapsed().Seconds(), "changes/s")
	b.ReportMetric(float64(all[len(all)/2])/1e6, "p50-ms")
	b.ReportMetric(float64(all[len(all)*99/100])/1e6, "p99-ms")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkSnapshot opens a database and reads a zone of a million hosts.
func BenchmarkSnapshot(b *testing.B) {
	const n = 1_000_000
	path := filled(b, n)
	for b.Loop() {
		start := time.Now()
		s := open(b, path)
		h := hostsOf(b, s)
		opened := time.Now()
		got := 0
		if _, err := h.Snapshot(b.Context(), func(zone.Host) error { got++; return nil }); err != nil || got != n {
			b.Fatal(got, err)
		}
		b.ReportMetric(float64(opened.Sub(start))/1e6, "open-ms")
		b.ReportMetric(float64(time.Since(opened))/1e6, "snapshot-ms")
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
	}
	if info, err := os.Stat(path); err == nil {
		b.ReportMetric(float64(info.Size())/n, "file-B/host")
	}
}
