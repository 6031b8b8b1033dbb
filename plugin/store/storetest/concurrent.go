package storetest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/coredns-ddns/ddns/plugin/store"
	"github.com/coredns-ddns/ddns/plugin/zone"
)

// churn puts, refreshes and deletes the hosts of writer w, and now and then
// lets a replica start.
func churn(t *testing.T, h store.Hosts, w, rounds int, start chan<- struct{}) {
	random := rand.New(rand.NewPCG(uint64(w), 1))
	have := map[string]zone.Revision{}
	for i := range rounds {
		if i%10 == 0 {
			select {
			case start <- struct{}{}:
			default:
			}
		}
		var writes []store.Write
		picked := map[string]bool{}
		for range 1 + random.IntN(4) {
			picked[fmt.Sprintf("w%d-%d", w, random.IntN(12))] = true
		}
		for label := range picked {
			switch n := random.IntN(10); {
			case have[label] != 0 && n == 0:
				writes = append(writes, refresh(label, have[label]))
			case have[label] != 0 && n < 4:
				writes = append(writes, remove(label, have[label]))
			default:
				writes = append(writes, put(label, have[label], random.IntN(60000)))
			}
		}
		r, err := h.Update(context.Background(), store.Update{Writes: writes})
		if err != nil {
			t.Errorf("writer %d: %v", w, err)
			return
		}
		for _, wr := range writes {
			label := string(wr.Host.Name[:len(wr.Host.Name)-len(origin)-1])
			switch wr.Op {
			case store.Put:
				have[label] = r.Revision
			case store.Delete:
				have[label] = 0
			}
		}
	}
}

// replica is a copy of a zone: a snapshot, and what was followed since.
type replica struct {
	t     *testing.T
	log   store.Log[zone.Host]
	ctx   context.Context
	mu    sync.Mutex
	hosts map[zone.Name]zone.State
	at    zone.Revision
}

func newReplica(t *testing.T, log store.Log[zone.Host]) *replica {
	hosts, p := all(t, log)
	return &replica{t: t, log: log, ctx: t.Context(), hosts: hosts, at: p.Revision}
}

func (r *replica) follow() {
	for c, err := range r.log.Follow(r.ctx, r.revision()) {
		if err != nil {
			if r.ctx.Err() == nil { // the test is not over
				r.t.Errorf("Follow: %v", err)
			}
			return
		}
		r.mu.Lock()
		if len(c.Changes) == 0 {
			if c.Revision != r.at {
				r.t.Errorf("nothing new at %d after %d", c.Revision, r.at)
			}
			r.mu.Unlock()
			continue
		}
		if c.Revision != r.at+1 {
			r.t.Errorf("commit %d after %d", c.Revision, r.at)
		}
		r.at = c.Revision
		for _, ch := range c.Changes {
			if ch.Value.Revision != c.Revision {
				r.t.Errorf("%s with revision %d in commit %d", ch.Value.Name, ch.Value.Revision, c.Revision)
			}
			if ch.Deleted {
				delete(r.hosts, ch.Value.Name)
			} else {
				r.hosts[ch.Value.Name] = ch.Value.State
			}
		}
		r.mu.Unlock()
	}
}

func (r *replica) revision() zone.Revision {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.at
}

func (r *replica) compare(t *testing.T, want map[zone.Name]zone.State) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	for n, st := range want {
		if r.hosts[n] != st {
			t.Errorf("%s is %v, want %v", n, r.hosts[n], st)
		}
	}
	if len(r.hosts) != len(want) {
		t.Errorf("%d hosts, want %d", len(r.hosts), len(want))
	}
}

// concurrent counts in the TTLs of a few hosts, with compare-and-set and
// retries: every increment acknowledged is there in the end, and no other.
func (m mediumFunc) concurrent(t *testing.T) {
	h := m.hosts(t)
	const counters, workers, increments = 4, 16, 10_000
	var left, done, stale atomic.Int64
	left.Store(increments)
	f := newReplica(t, h)
	go f.follow()
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			random := rand.New(rand.NewPCG(uint64(w), 2))
			known := map[zone.Name]zone.State{}
			for left.Add(-1) >= 0 {
				// Most change one host, some change two at once.
				hosts := []zone.Name{name(fmt.Sprint("c", random.IntN(counters)))}
				if other := name(fmt.Sprint("c", random.IntN(counters))); random.IntN(8) == 0 && other != hosts[0] {
					hosts = append(hosts, other)
				}
				n, conflicts, err := increment(h, hosts, known)
				if err != nil {
					t.Error(err)
					return
				}
				done.Add(int64(n))
				stale.Add(int64(conflicts))
			}
		})
	}
	wg.Wait()
	hosts, p := all(t, h)
	var sum int64
	for _, st := range hosts {
		sum += int64(st.TTL)
	}
	if sum != done.Load() || int(p.Revision) != increments {
		t.Errorf("counted %d with %d commits, want %d with %d", sum, p.Revision, done.Load(), increments)
	}
	if stale.Load() == 0 {
		t.Error("no conflict: nothing was concurrent")
	}
	until(t, "the replica has caught up", func() bool { return f.revision() >= p.Revision })
	f.compare(t, hosts)
}

// increment adds one to the TTL of each host in one update. known is what the
// caller last saw.
func increment(h store.Hosts, hosts []zone.Name, known map[zone.Name]zone.State) (n, conflicts int, err error) {
	for {
		var writes []store.Write
		for _, n := range hosts {
			st := known[n]
			st.TTL++
			writes = append(writes, store.Write{Host: zone.Host{Name: n, State: st}})
		}
		r, err := h.Update(context.Background(), store.Update{Writes: writes})
		var c *store.Conflict
		if errors.As(err, &c) {
			for _, host := range c.Current {
				known[host.Name] = host.State
			}
			conflicts++
			continue
		}
		if err != nil {
			return 0, conflicts, err
		}
		for _, w := range writes {
			w.Host.Revision = r.Revision
			known[w.Host.Name] = w.Host.State
		}
		return len(hosts), conflicts, nil
	}
}
