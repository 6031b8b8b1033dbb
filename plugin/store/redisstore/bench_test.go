package redisstore

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coredns-ddns/ddns/plugin/store"
	"github.com/coredns-ddns/ddns/plugin/token"
	"github.com/coredns-ddns/ddns/plugin/zone"
)

// filled is a zone of n dual-stack hosts, h0000000 and on.
func filled(b *testing.B, s *Store, n int) {
	b.Helper()
	const batch = 1000
	for at := 0; at < n; at += batch {
		var u store.Update
		for i := at; i < min(at+batch, n); i++ {
			u.Writes = append(u.Writes, store.Write{Host: host(i, 0)})
		}
		must(b, s, u)
	}
}

// BenchmarkUpdate is one changed host an update, over a unix socket.
func BenchmarkUpdate(b *testing.B) {
	r := startRedis(b)
	const n = 10_000
	for _, updaters := range []int{1, 8, 64} {
		b.Run(fmt.Sprintf("updaters=%d", updaters), func(b *testing.B) {
			s := open(b, config(b, "unix://"+r.dir+"/s"))
			defer s.Close()
			if _, err := s.Init(b.Context(), origin); err != nil {
				b.Fatal(err)
			}
			filled(b, s, n)
			benchUpdate(b, s, n, updaters)
		})
	}
}

// anywhere is a random address.
func anywhere() netip.Addr {
	var a [4]byte
	binary.BigEndian.PutUint32(a[:], rand.Uint32())
	return netip.AddrFrom4(a)
}

func benchUpdate(b *testing.B, s *Store, n, updaters int) {
	h := s.hosts(origin)
	hosts := make([]zone.Host, 0, n)
	p, err := h.Snapshot(b.Context(), func(host zone.Host) error { hosts = append(hosts, host); return nil })
	if err != nil {
		b.Fatal(err)
	}
	follow(b, s, p.Revision).beat(b) // as a node does
	var left atomic.Int64
	left.Store(int64(b.N))
	took := make([][]time.Duration, updaters)
	b.ResetTimer()
	var wg sync.WaitGroup
	for w := range updaters {
		wg.Go(func() {
			for i := w; left.Add(-1) >= 0; i += updaters {
				// Each has hosts of its own, spread over the whole zone.
				was := &hosts[int(uint32(i)*2654435761%uint32(n/updaters))*updaters+w]
				was.A = anywhere()
				by := store.Author{Token: token.ID(strconv.FormatUint(rand.Uint64N(1<<30), 36)), Client: was.A}
				start := time.Now()
				r, err := h.Update(b.Context(), store.Update{Writes: []store.Write{{Host: *was}}, By: by})
				if err != nil {
					b.Error(err)
					return
				}
				took[w] = append(took[w], time.Since(start))
				was.Revision = r.Revision
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

// BenchmarkSnapshot reads a zone of a million hosts over a unix socket.
func BenchmarkSnapshot(b *testing.B) {
	const n = 1_000_000
	r := startRedis(b)
	s := open(b, config(b, "unix://"+r.dir+"/s"))
	defer s.Close()
	if _, err := s.Init(b.Context(), origin); err != nil {
		b.Fatal(err)
	}
	filled(b, s, n)
	for b.Loop() {
		got := 0
		if _, err := s.hosts(origin).Snapshot(b.Context(), func(zone.Host) error { got++; return nil }); err != nil || got != n {
			b.Fatal(got, err)
		}
	}
	var used float64
	if _, err := fmt.Sscan(infoField(r.cli("INFO", "memory"), "used_memory"), &used); err == nil {
		b.ReportMetric(used/n, "redis-B/host")
	}
}
