package storetest

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"testing"

	"github.com/coredns-ddns/ddns/plugin/store"
	"github.com/coredns-ddns/ddns/plugin/zone"
)

func (m mediumFunc) list(t *testing.T) {
	t.Run("pages hold each host once with its state and time", func(t *testing.T) {
		h := m.hosts(t)
		if list, cursor, err := h.List(t.Context(), "", 10); len(list) != 0 || cursor != "" || err != nil {
			t.Errorf("an empty zone: %v, %q, %v", list, cursor, err)
		}
		var writes []store.Write
		for i := range 25 {
			writes = append(writes, put(fmt.Sprintf("h%02d", i), 0, i))
		}
		writes = append(writes, store.Write{Host: zone.Host{Name: origin, State: state(0, 99)}})
		r := must(t, h, writes...)
		want, _ := all(t, h)
		for _, limit := range []int{1, 7, 26, 100} {
			seen := map[zone.Name]zone.State{}
			for _, l := range pages(t, h, limit, nil) {
				seen[l.Name] = l.State
				if !l.Seen.Equal(r.Time) {
					t.Errorf("%s seen %v, want %v", l.Name, l.Seen, r.Time)
				}
			}
			for n, st := range want {
				if seen[n] != st {
					t.Errorf("limit %d: %s is %v, want %v", limit, n, seen[n], st)
				}
			}
		}
	})
	t.Run("a host that exists all along is listed once while others come and go", func(t *testing.T) {
		h := m.hosts(t)
		var writes []store.Write
		for i := range 60 {
			writes = append(writes, put(fmt.Sprintf("h%02d", i), 0, i))
		}
		r := must(t, h, writes...)
		i := 0
		listed := map[zone.Name]int{}
		for _, l := range pages(t, h, 5, func() {
			must(t, h, put(fmt.Sprintf("h%02dx", 59-i), 0, 1), remove(fmt.Sprintf("h%02d", 59-2*i), r.Revision), put(fmt.Sprintf("h%02d", 2*i), r.Revision, 500))
			i++
		}) {
			if listed[l.Name]++; listed[l.Name] > 1 {
				t.Errorf("%s is listed twice", l.Name)
			}
		}
		hosts, _ := all(t, h)
		for i := range 60 {
			n := name(fmt.Sprintf("h%02d", i))
			if _, there := hosts[n]; there && listed[n] != 1 {
				t.Errorf("%s is listed %d times, want once", n, listed[n])
			}
		}
	})
	t.Run("a page of no hosts is invalid", func(t *testing.T) {
		if _, _, err := m.hosts(t).List(t.Context(), "", 0); !errors.Is(err, store.ErrInvalid) {
			t.Errorf("%v, want ErrInvalid", err)
		}
	})
}

// pages lists all hosts, page by page, and calls between after each page.
func pages(t *testing.T, h store.Hosts, limit int, between func()) []store.Listed {
	t.Helper()
	var list []store.Listed
	for cursor := ""; ; {
		page, next, err := h.List(t.Context(), cursor, limit)
		if err != nil || len(page) > limit {
			t.Fatalf("List(%q, %d): %d hosts, %v", cursor, limit, len(page), err)
		}
		list = append(list, page...)
		if cursor = next; cursor == "" {
			return list
		}
		if between != nil && len(page) > 0 {
			between()
		}
	}
}

func (m mediumFunc) serial(t *testing.T) {
	h := m.hosts(t)
	_, made := all(t, h)
	if made.Serial == 0 {
		t.Error("a new zone has serial 0, want the time of its making")
	}
	last := store.Receipt{Position: made}
	ahead := false // of the clock
	step := func(intent string, served uint32) store.Receipt {
		t.Helper()
		u := store.Update{Served: served, Writes: []store.Write{put("a", last.Revision, 1)}}
		r, err := h.Update(t.Context(), u)
		if err != nil {
			t.Fatal(err)
		}
		if zone.SerialLess(r.Serial, last.Serial) {
			t.Errorf("%s: serial went back from %d to %d", intent, last.Serial, r.Serial)
		}
		if second := uint32(r.Time.Unix()); !ahead && r.Serial != second {
			t.Errorf("%s: serial %d, want the second of the commit, %d", intent, r.Serial, second)
		}
		last = r
		return r
	}
	for range 5 {
		step("commits share the serial of their second", 0)
	}
	step("an old serial served is no matter", last.Serial-1000)
	ahead = true
	served := last.Serial + 100_000
	if r := step("a serial served is passed", served); !zone.SerialLess(served, r.Serial) {
		t.Errorf("serial %d, want one after the %d served", r.Serial, served)
	}
	before := last.Serial
	if r := step("ahead of the clock each commit has its own", 0); !zone.SerialLess(before, r.Serial) {
		t.Errorf("serial %d, want one after %d", r.Serial, before)
	}
	if _, p := all(t, h); !p.Same(last.Position) {
		t.Errorf("snapshot at %v, want %v", p, last.Position)
	}
}

func (m mediumFunc) zones(t *testing.T) {
	s := m.store(t)
	a, b := zoneOf(t, s, origin), zoneOf(t, s, "example.org.")
	r := must(t, a, put("x", 0, 1))
	r = must(t, a, put("x", r.Revision, 2))
	w := put("x", 0, 3)
	rb := must(t, b, w) // the same name, in the zone above
	if rb.Revision != 1 {
		t.Errorf("first revision of a zone: %d, want 1", rb.Revision)
	}
	hostsA, pa := all(t, a)
	hostsB, pb := all(t, b)
	if len(hostsA) != 1 || hostsA[name("x")] != state(2, 2) || pa.Revision != 2 {
		t.Errorf("%s: %v at %v", origin, hostsA, pa)
	}
	if len(hostsB) != 1 || hostsB[name("x")] != state(1, 3) || pb.Revision != 1 {
		t.Errorf("example.org.: %v at %v", hostsB, pb)
	}
	again := zoneOf(t, s, origin)
	f := startFollow(t, again, pa.Revision)
	must(t, b, put("y", 0, 4))
	if c := must(t, a, put("x", r.Revision, 5)); !f.next(t).Same(c.Position) {
		t.Error("followed another zone")
	}
	if k, err := b.Kept(t.Context(), "x.example.net."); k != nil || err != nil {
		t.Errorf("Kept of a name elsewhere: %v, %v, want nil", k, err)
	}
}

func (m mediumFunc) snapshot(t *testing.T) {
	t.Run("stops at an error of its reader", func(t *testing.T) {
		h := m.hosts(t)
		must(t, h, put("a", 0, 1), put("b", 0, 1), put("c", 0, 1))
		enough, n := errors.New("enough"), 0
		_, err := h.Snapshot(t.Context(), func(zone.Host) error {
			if n++; n == 2 {
				return enough
			}
			return nil
		})
		if !errors.Is(err, enough) || n != 2 {
			t.Errorf("%v after %d hosts", err, n)
		}
		must(t, h, put("d", 0, 1))
	})
	t.Run("ends with its context", func(t *testing.T) {
		h := m.hosts(t)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := h.Snapshot(ctx, func(zone.Host) error { return nil }); !errors.Is(err, context.Canceled) {
			t.Errorf("%v, want Canceled", err)
		}
	})
	t.Run("can be read while the store is written", func(t *testing.T) {
		h := m.hosts(t)
		must(t, h, put("a", 0, 1), put("b", 0, 1))
		i := 0
		_, err := h.Snapshot(t.Context(), func(zone.Host) error {
			for range 50 {
				if i == 500 {
					break // a snapshot may have what comes while it is taken
				}
				must(t, h, put("new"+strconv.Itoa(i), 0, i))
				i++
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	})
}

func (m mediumFunc) follow(t *testing.T) {
	t.Run("every follower gets every commit whole and in order", func(t *testing.T) {
		h := m.hosts(t)
		var early, late []*follower[zone.Host]
		for range 3 {
			early = append(early, startFollow(t, h, 0))
		}
		var want []store.Commit[zone.Host]
		last := zone.Revision(0)
		for i := range 200 {
			a, b := put("a", last, i), put("b", last, i+1)
			r := must(t, h, a, b)
			last = r.Revision
			a.Host.Revision, b.Host.Revision = last, last
			want = append(want, store.Commit[zone.Host]{Position: r.Position, Changes: []store.Change[zone.Host]{{Value: a.Host}, {Value: b.Host}}})
		}
		for i := range 3 {
			late = append(late, startFollow(t, h, zone.Revision(i*99)))
		}
		for i, f := range append(early, late...) {
			skip := max(0, i-3) * 99
			for _, w := range want[skip:] {
				if c := f.next(t); !c.Same(w.Position) || len(c.Changes) != 2 || c.Changes[0] != w.Changes[0] || c.Changes[1] != w.Changes[1] {
					t.Fatalf("follower %d: %v, want %v", i, c, w)
				}
			}
		}
	})
	t.Run("a revision that was never there is a gap", func(t *testing.T) {
		h := m.hosts(t)
		must(t, h, put("a", 0, 1))
		if err := startFollow(t, h, 1000).ended(t); !errors.Is(err, store.ErrGap) {
			t.Errorf("%v, want ErrGap", err)
		}
	})
	t.Run("its context ends it, waiting or not", func(t *testing.T) {
		h := m.hosts(t)
		waiting, busy := startFollow(t, h, 0), startFollow(t, h, 0)
		r := must(t, h, put("a", 0, 1))
		must(t, h, put("a", r.Revision, 2))
		waiting.next(t)
		waiting.next(t)
		busy.next(t)
		for _, f := range []*follower[zone.Host]{waiting, busy} {
			f.cancel()
			if err := f.ended(t); !errors.Is(err, context.Canceled) {
				t.Errorf("%v, want Canceled", err)
			}
		}
	})
	t.Run("its reader can leave", func(t *testing.T) {
		h := m.hosts(t)
		must(t, h, put("a", 0, 1))
		for range h.Follow(t.Context(), 0) {
			break
		}
		must(t, h, put("b", 0, 1))
	})
	t.Run("a snapshot followed is the truth under many writers", m.followTruth)
}

// followTruth has writers change hosts of their own at random while replicas
// start at all times, and compares the replicas with the store at the end.
func (m mediumFunc) followTruth(t *testing.T) {
	h := m.hosts(t)
	const writers, rounds, replicas = 6, 60, 6
	var wg sync.WaitGroup
	start := make(chan struct{}, replicas)
	for w := range writers {
		wg.Go(func() { churn(t, h, w, rounds, start) })
	}
	copies := make(chan *replica, replicas)
	for range replicas {
		<-start
		r := newReplica(t, h)
		go r.follow()
		copies <- r
	}
	wg.Wait()
	want, p := all(t, h)
	for range replicas {
		r := <-copies
		until(t, "a replica has caught up", func() bool { return r.revision() >= p.Revision })
		r.compare(t, want)
	}
}
