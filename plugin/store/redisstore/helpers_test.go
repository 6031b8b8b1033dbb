package redisstore

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

// host is the n-th of many, with a state computed from revision.
func host(n int, revision zone.Revision) zone.Host {
	st := zone.State{
		Revision: revision,
		A:        netip.AddrFrom4([4]byte{10, byte(n >> 16), byte(n >> 8), byte(n)}),
		AAAA:     netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 13: byte(n >> 16), 14: byte(n >> 8), 15: byte(n)}),
	}
	return zone.Host{Name: zone.Name(fmt.Sprintf("h%07d.", n)) + origin, State: st}
}

func put(hosts ...zone.Host) store.Update {
	var u store.Update
	for _, h := range hosts {
		u.Writes = append(u.Writes, store.Write{Host: h})
	}
	return u
}

func must(t testing.TB, s *Store, u store.Update) store.Receipt {
	t.Helper()
	r, err := s.hosts(origin).Update(context.Background(), u)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// all is the zone as a snapshot has it.
func all(t testing.TB, s *Store) (map[zone.Name]zone.State, store.Position) {
	t.Helper()
	hosts := map[zone.Name]zone.State{}
	p, err := s.hosts(origin).Snapshot(t.Context(), func(h zone.Host) error {
		hosts[h.Name] = h.State
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return hosts, p
}

// followed is a Follow that runs beside the test.
type followed struct {
	commits chan store.Commit[zone.Host]
	end     chan error
	stop    context.CancelFunc
}

func follow(t testing.TB, s *Store, after zone.Revision) *followed {
	ctx, stop := context.WithCancel(context.Background())
	f := &followed{commits: make(chan store.Commit[zone.Host], 1<<16), end: make(chan error, 1), stop: stop}
	t.Cleanup(stop)
	go func() {
		for c, err := range s.hosts(origin).Follow(ctx, after) {
			if err != nil {
				f.end <- err
				return
			}
			select {
			case f.commits <- c:
			default: // nobody reads them any more
			}
		}
	}()
	return f
}

// beat waits for a commit without changes, which says that all is followed.
func (f *followed) beat(t testing.TB) store.Commit[zone.Host] {
	t.Helper()
	for {
		select {
		case c := <-f.commits:
			if len(c.Changes) == 0 {
				return c
			}
		case err := <-f.end:
			t.Fatalf("Follow ended: %v", err)
		case <-time.After(30 * time.Second):
			t.Fatal("no heartbeat within 30 s")
		}
	}
}

func (f *followed) ended(t testing.TB) error {
	t.Helper()
	select {
	case err := <-f.end:
		return err
	case <-time.After(30 * time.Second):
		t.Fatal("Follow has not ended within 30 s")
		return nil
	}
}

// refused checks that an update is not done for a reason.
func refused(t testing.TB, s *Store, u store.Update, reasons ...error) {
	t.Helper()
	began := time.Now()
	_, err := s.hosts(origin).Update(t.Context(), u)
	for _, reason := range append(reasons, store.ErrUnavailable) {
		if !errors.Is(err, reason) {
			t.Errorf("Update: %v, want %v", err, reason)
		}
	}
	t.Logf("refused after %v: %v", time.Since(began).Round(time.Millisecond), err)
}
