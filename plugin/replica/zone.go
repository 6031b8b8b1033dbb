package replica

import (
	"context"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coredns-ddns/ddns/plugin/index"
	"github.com/coredns-ddns/ddns/plugin/store"
	"github.com/coredns-ddns/ddns/plugin/zone"
)

// Zone is a node's copy of one zone.
type Zone struct {
	Origin zone.Name

	follower follower[zone.Host]
	index    atomic.Pointer[index.Index]

	mu     sync.Mutex
	at     zone.Revision // of serial
	serial zone.Serial
	clock  time.Time // of the store, as far as at is its latest; zero: this machine's
}

// FollowZone starts to copy hosts and goes on until Close. told hears why they
// cannot be followed, and nil when they can again.
func FollowZone(origin zone.Name, hosts store.Log[zone.Host], told func(error)) *Zone {
	z := &Zone{Origin: origin}
	z.follower.start(hosts, z, told)
	return z
}

// Index is what to answer from, nil before the first snapshot is loaded.
func (z *Zone) Index() *index.Index { return z.index.Load() }

// Get is the state of the host called name, which lies within the zone, the
// zero State when there is none.
func (z *Zone) Get(name zone.Name) zone.State {
	x := z.Index()
	if x == nil {
		return zone.State{}
	}
	st, _ := x.Get(name.Key(z.Origin))
	return st
}

// Below is how many hosts lie below name.
func (z *Zone) Below(name zone.Name) int {
	x := z.Index()
	if x == nil {
		return 0
	}
	return x.Below(name.Key(z.Origin))
}

// Hosts is how many hosts the zone has.
func (z *Zone) Hosts() int {
	x := z.Index()
	if x == nil {
		return 0
	}
	return x.Hosts()
}

// Serial is the SOA serial to publish at now: the same on all nodes of a store
// that has a clock of its own.
func (z *Zone) Serial(now time.Time) uint32 {
	z.mu.Lock()
	defer z.mu.Unlock()
	if !z.clock.IsZero() {
		now = z.clock
	}
	return z.serial.At(now)
}

// Wait returns nil once every reader sees revision r, or ctx's error.
func (z *Zone) Wait(ctx context.Context, r zone.Revision) error { return z.follower.wait(ctx, r) }

// Answers are the addresses that DNS answers for name.
func (z *Zone) Answers(name zone.Name) []netip.Addr {
	x := z.Index()
	if x == nil {
		return nil
	}
	st := x.Lookup(name.Key(z.Origin)).State
	if !st.Published() {
		return nil
	}
	return slices.DeleteFunc([]netip.Addr{st.A, st.AAAA}, func(a netip.Addr) bool { return !a.IsValid() })
}

// Ready says whether there is something to answer from.
func (z *Zone) Ready() bool { return z.Index() != nil }

// Revision is the revision applied last.
func (z *Zone) Revision() zone.Revision { return z.follower.revision() }

// Lag is for how long the copy may have been behind its store at now, 0 while
// it follows, and why.
func (z *Zone) Lag(now time.Time) (time.Duration, error) { return z.follower.lag(now) }

// Close stops following. The index goes on answering.
func (z *Zone) Close() { z.follower.close() }

func (z *Zone) fresh() (copying[zone.Host], func(store.Position)) {
	x := hostsCopy{z.Origin, index.New()}
	return x, func(p store.Position) {
		z.index.Store(x.index)
		z.mu.Lock()
		defer z.mu.Unlock()
		if z.at == 0 || p.Revision != z.at {
			z.serial.Load(p.Serial, p.Clock.IsZero())
			z.at = p.Revision
		}
		z.clock = p.Clock
	}
}

func (z *Zone) apply(c store.Commit[zone.Host]) {
	if len(c.Changes) > 0 {
		hostsCopy{z.Origin, z.Index()}.apply(c)
	}
	z.mu.Lock()
	defer z.mu.Unlock()
	z.clock = c.Clock
	if len(c.Changes) > 0 {
		z.serial.Commit(c.Serial)
		z.at = c.Revision
	}
}

// hostsCopy is the hosts of a zone in an index.
type hostsCopy struct {
	origin zone.Name
	index  *index.Index
}

func (x hostsCopy) load(h zone.Host) error {
	x.index.Set(h.Name.Key(x.origin), h.State)
	return nil
}

func (x hostsCopy) apply(c store.Commit[zone.Host]) {
	for _, change := range c.Changes {
		key := change.Value.Name.Key(x.origin)
		// A snapshot may hold states that are newer than its position.
		if st, ok := x.index.Get(key); ok && st.Revision > change.Value.Revision {
			continue
		}
		if change.Deleted {
			x.index.Delete(key)
		} else {
			x.index.Set(key, change.Value.State)
		}
	}
}
