// Package storetest holds the suite that a store passes when it keeps the
// contract of package store.
package storetest

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/coredns-ddns/ddns/plugin/store"
	"github.com/coredns-ddns/ddns/plugin/zone"
)

// Run checks a store. medium makes a place for a store with nothing in it (a
// file, a key prefix) that is gone when its test ends, and returns how to open
// that store, again after each Close. Run closes what it opens.
func Run(t *testing.T, medium func(t *testing.T) (open func() store.Store)) {
	m := mediumFunc(medium)
	t.Run("Update", m.update)
	t.Run("Refresh", m.refresh)
	t.Run("Delete", m.delete)
	t.Run("Settings", m.settings)
	t.Run("History", m.history)
	t.Run("List", m.list)
	t.Run("Serial", m.serial)
	t.Run("Zones", m.zones)
	t.Run("Snapshot", m.snapshot)
	t.Run("Follow", m.follow)
	t.Run("Tokens", m.tokens)
	t.Run("Concurrent", m.concurrent)
	t.Run("Life", m.life)
}

const (
	origin  zone.Name = "dyn.example.org."
	patient           = 30 * time.Second // until a condition counts as never met
)

type mediumFunc func(t *testing.T) func() store.Store

// store is a new store, closed when the test ends.
func (m mediumFunc) store(t *testing.T) store.Store {
	s := m(t)()
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return s
}

// hosts is the zone origin of a new store.
func (m mediumFunc) hosts(t *testing.T) store.Hosts {
	t.Helper()
	return zoneOf(t, m.store(t), origin)
}

func zoneOf(t *testing.T, s store.Store, origin zone.Name) store.Hosts {
	t.Helper()
	h, err := s.Hosts(t.Context(), origin)
	if err != nil {
		t.Fatalf("Hosts(%s): %v", origin, err)
	}
	return h
}

// name is a host's owner name in origin.
func name(label string) zone.Name { return zone.Name(label) + "." + origin }

// state is a state that says n in its addresses, computed from revision.
func state(revision zone.Revision, n int) zone.State {
	return zone.State{
		Revision: revision,
		A:        netip.AddrFrom4([4]byte{192, 0, byte(n >> 8), byte(n)}),
		AAAA:     netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 14: byte(n >> 8), 15: byte(n)}),
	}
}

// put is the write of a host with such a state.
func put(label string, revision zone.Revision, n int) store.Write {
	return store.Write{Op: store.Put, Host: zone.Host{Name: name(label), State: state(revision, n)}}
}

func refresh(label string, revision zone.Revision) store.Write {
	return store.Write{Op: store.Refresh, Host: zone.Host{Name: name(label), State: zone.State{Revision: revision}}}
}

func remove(label string, revision zone.Revision) store.Write {
	return store.Write{Op: store.Delete, Host: zone.Host{Name: name(label), State: zone.State{Revision: revision}}}
}

// must does an update that has to succeed.
func must(t *testing.T, h store.Hosts, writes ...store.Write) store.Receipt {
	t.Helper()
	r, err := h.Update(t.Context(), store.Update{Writes: writes})
	if err != nil {
		t.Fatalf("Update: %v", err)
	}
	return r
}

// conflict does an update that has to conflict, and returns the current states.
func conflict(t *testing.T, h store.Hosts, writes ...store.Write) map[zone.Name]zone.State {
	t.Helper()
	_, err := h.Update(t.Context(), store.Update{Writes: writes})
	var c *store.Conflict
	if !errors.As(err, &c) || !errors.Is(err, store.ErrConflict) {
		t.Fatalf("Update: %v, want a *Conflict that is ErrConflict", err)
	}
	current := map[zone.Name]zone.State{}
	for _, host := range c.Current {
		current[host.Name] = host.State
	}
	return current
}

// all is a zone as a snapshot has it.
func all(t *testing.T, h store.Log[zone.Host]) (map[zone.Name]zone.State, store.Position) {
	t.Helper()
	hosts := map[zone.Name]zone.State{}
	p, err := h.Snapshot(t.Context(), func(host zone.Host) error {
		if _, twice := hosts[host.Name]; twice {
			return fmt.Errorf("%s is there twice", host.Name)
		}
		hosts[host.Name] = host.State
		return nil
	})
	if err != nil {
		t.Fatalf("Snapshot: %v", err)
	}
	return hosts, p
}

// keptOf is what is kept of a host, which has to be there.
func keptOf(t *testing.T, h store.Hosts, label string) store.Kept {
	t.Helper()
	k, err := h.Kept(t.Context(), name(label))
	if err != nil || k == nil {
		t.Fatalf("Kept(%s): %v, %v, want a host", label, k, err)
	}
	return *k
}

func pastOf(t *testing.T, h store.Hosts, label string) []store.Past {
	t.Helper()
	p, err := h.History(t.Context(), name(label))
	if err != nil {
		t.Fatalf("History(%s): %v", label, err)
	}
	return p
}

// until waits for a condition.
func until(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for end := time.Now().Add(patient); !condition(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within %v: %s", patient, what)
		}
	}
}

// follower reads a Follow in a goroutine of its own.
type follower[T any] struct {
	commits chan store.Commit[T]
	end     chan error // the last error yielded, then closed
	cancel  context.CancelFunc
}

func startFollow[T any](t *testing.T, log store.Log[T], after zone.Revision) *follower[T] {
	ctx, cancel := context.WithCancel(context.Background())
	f := &follower[T]{commits: make(chan store.Commit[T]), end: make(chan error, 1), cancel: cancel}
	go func() {
		defer close(f.end)
		for c, err := range log.Follow(ctx, after) {
			if err != nil {
				f.end <- err
				continue // the error has to be the last
			}
			if len(c.Changes) == 0 {
				continue // nothing new
			}
			select {
			case f.commits <- c:
			case <-ctx.Done():
			}
		}
	}()
	t.Cleanup(cancel)
	return f
}

// next is the next commit.
func (f *follower[T]) next(t *testing.T) store.Commit[T] {
	t.Helper()
	select {
	case c := <-f.commits:
		return c
	case err := <-f.end:
		t.Fatalf("Follow ended: %v, want a commit", err)
	case <-time.After(patient):
		t.Fatalf("no commit within %v", patient)
	}
	panic("unreachable")
}

// ended is the error that the follow ends with.
func (f *follower[T]) ended(t *testing.T) error {
	t.Helper()
	for deadline := time.After(patient); ; {
		select {
		case err, ok := <-f.end:
			if !ok {
				t.Fatal("Follow ended without an error")
			}
			if _, more := <-f.end; more {
				t.Fatalf("Follow went on after %v", err)
			}
			return err
		case <-f.commits:
		case <-deadline:
			t.Fatalf("Follow has not ended within %v", patient)
		}
	}
}
