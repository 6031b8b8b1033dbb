package boltstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coredns-ddns/ddns/plugin/store"
	"github.com/coredns-ddns/ddns/plugin/store/storetest"
	"github.com/coredns-ddns/ddns/plugin/zone"
)

func TestStore(t *testing.T) {
	storetest.Run(t, func(t *testing.T) func() store.Store {
		path := filepath.Join(t.TempDir(), "ddns.db")
		return func() store.Store { return open(t, path) }
	})
}

const origin zone.Name = "dyn.example.org."

// open opens a store that its test closes.
func open(t testing.TB, path string, options ...Option) *Store {
	t.Helper()
	s, err := Open(path, options...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func hostsOf(t testing.TB, s *Store) store.Hosts {
	t.Helper()
	h, err := s.Hosts(t.Context(), origin)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// host is the n-th of many, with a state computed from revision.
func host(n int, revision zone.Revision) zone.Host {
	st := zone.State{Revision: revision, A: v4(n), AAAA: v6(n)}
	return zone.Host{Name: zone.Name(fmt.Sprintf("h%07d.", n)) + origin, State: st}
}

// v4 and v6 are addresses that say i.
func v4(i int) netip.Addr {
	return netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
}

func v6(i int) netip.Addr {
	return netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 13: byte(i >> 16), 14: byte(i >> 8), 15: byte(i)})
}

// put is an update of such hosts.
func put(hosts ...zone.Host) store.Update {
	var u store.Update
	for _, h := range hosts {
		u.Writes = append(u.Writes, store.Write{Host: h})
	}
	return u
}

func must(t testing.TB, h store.Hosts, u store.Update) store.Receipt {
	t.Helper()
	r, err := h.Update(t.Context(), u)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// all is a zone as a snapshot has it.
func all(t testing.TB, h store.Hosts) (map[zone.Name]zone.State, store.Position) {
	t.Helper()
	hosts := map[zone.Name]zone.State{}
	p, err := h.Snapshot(t.Context(), func(host zone.Host) error {
		hosts[host.Name] = host.State
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return hosts, p
}

func TestSerialWhenTheClockIsSetBack(t *testing.T) {
	now := time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC)
	path := filepath.Join(t.TempDir(), "ddns.db")
	clock := Clock(func() time.Time { return now })
	s := open(t, path, clock)
	h := hostsOf(t, s)
	made := uint32(now.Unix())
	if _, p := all(t, h); p.Serial != made {
		t.Errorf("serial %d of a new zone, want the second of its making, %d", p.Serial, made)
	}
	revision := zone.Revision(0)
	step := func(intent string, want uint32) {
		t.Helper()
		r := must(t, h, put(host(1, revision)))
		if revision = r.Revision; r.Serial != want {
			t.Errorf("%s: serial %d, want %d", intent, r.Serial, want)
		}
	}
	step("in the second of the zone's making", made)
	now = now.Add(10 * time.Second)
	step("later", made+10)
	now = now.Add(-time.Hour)
	step("an hour back", made+11)
	step("still an hour back", made+12)
	seen := func() time.Time {
		k, err := h.Kept(t.Context(), host(1, 0).Name)
		if err != nil {
			t.Fatal(err)
		}
		return k.Seen
	}
	before := seen()
	now = now.Add(-time.Hour)
	must(t, h, store.Update{Writes: []store.Write{{Op: store.Refresh, Host: host(1, revision)}}})
	if after := seen(); after.Before(before) {
		t.Errorf("last seen went back from %v to %v", before, after)
	}
	now = now.Add(time.Hour)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, path, clock)
	defer s.Close()
	h = hostsOf(t, s)
	step("after a restart", made+13)
	now = now.Add(2 * time.Hour)
	step("the clock is right again", made+10+3600)
}

// heldClock holds the writer, once hold is set, where a slow disk would.
type heldClock struct {
	hold           atomic.Bool
	asked, release chan struct{}
}

func (c *heldClock) now() time.Time {
	if c.hold.Load() {
		c.asked <- struct{}{}
		<-c.release
	}
	return time.Now()
}

func TestContextsAndCloseWhileTheDiskIsSlow(t *testing.T) {
	clock := &heldClock{asked: make(chan struct{}), release: make(chan struct{})}
	path := filepath.Join(t.TempDir(), "ddns.db")
	s := open(t, path, Clock(clock.now))
	h := hostsOf(t, s)
	type outcome struct {
		store.Receipt
		error
	}
	update := func(ctx context.Context, n int) <-chan outcome {
		c := make(chan outcome, 1)
		go func() {
			r, err := h.Update(ctx, put(host(n, 0)))
			c <- outcome{r, err}
		}()
		return c
	}
	clock.hold.Store(true)
	taken, endTaken := context.WithCancel(t.Context())
	underWay := update(taken, 1)
	<-clock.asked // the writer has it
	queued, endQueued := context.WithCancel(t.Context())
	waiting := update(queued, 2)
	refused := update(t.Context(), 3)

	endTaken()
	if o := <-underWay; !errors.Is(o.error, store.ErrUnavailable) || !errors.Is(o.error, context.Canceled) {
		t.Errorf("an update under way: %v, want ErrUnavailable and Canceled", o.error)
	}
	endQueued()
	if o := <-waiting; !errors.Is(o.error, context.Canceled) || errors.Is(o.error, store.ErrUnavailable) {
		t.Errorf("an update in the queue: %v, want Canceled alone", o.error)
	}
	closed := make(chan error, 2)
	go func() { closed <- s.Close() }()
	if o := <-refused; !errors.Is(o.error, store.ErrClosed) {
		t.Errorf("an update behind Close: %v, want ErrClosed", o.error)
	}
	go func() { closed <- s.Close() }()
	select {
	case err := <-closed:
		t.Errorf("Close returned %v with a commit under way", err)
	default:
	}
	close(clock.release)
	if err := errors.Join(<-closed, <-closed); err != nil {
		t.Errorf("Close: %v", err)
	}

	s = open(t, path)
	defer s.Close()
	hosts, _ := all(t, hostsOf(t, s))
	for n := 2; n <= 3; n++ {
		if _, there := hosts[host(n, 0).Name]; there {
			t.Errorf("host %d was made by an update that was refused", n)
		}
	}
}

func TestFollowFromBeforeWhatMemoryHolds(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "ddns.db"))
	defer s.Close()
	h := hostsOf(t, s)
	const each = 8192
	for at := 0; at < retained+3*each; at += each {
		var u store.Update
		for n := range each {
			u.Writes = append(u.Writes, store.Write{Host: host(at+n, 0)})
		}
		must(t, h, u)
	}
	commits := retained/each + 3
	for after := range commits {
		for c, err := range h.Follow(t.Context(), zone.Revision(after)) {
			if held := after >= 3; held != (err == nil) || !held && !errors.Is(err, store.ErrGap) {
				t.Errorf("after %d of %d commits: %v", after, commits, err)
			}
			if err == nil && c.Revision != zone.Revision(after+1) {
				t.Errorf("commit %d after %d", c.Revision, after)
			}
			break
		}
	}
}

func TestBackupOpensAsAStore(t *testing.T) {
	dir := t.TempDir()
	s := open(t, filepath.Join(dir, "ddns.db"))
	defer s.Close()
	h := hostsOf(t, s)
	for n := range 2000 {
		if n%500 == 0 {
			must(t, h, put(host(n, 0), host(n+1, 0), host(n+2, 0)))
		}
	}
	want, p := all(t, h)

	// Updates go on while the copy is written.
	copied, err := os.Create(filepath.Join(dir, "copy.db"))
	if err != nil {
		t.Fatal(err)
	}
	n := 10_000
	busy := func() error { n++; must(t, h, put(host(n, 0))); return nil }
	if err := s.Backup(t.Context(), &copying{to: copied, stop: busy}); err != nil {
		t.Fatal(err)
	}
	if err := copied.Close(); err != nil {
		t.Fatal(err)
	}
	c := open(t, copied.Name())
	defer c.Close()
	got, q := all(t, hostsOf(t, c))
	if !maps.Equal(got, want) || q != p {
		t.Errorf("the copy has %d hosts at %v, want %d at %v", len(got), q, len(want), p)
	}

	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Backup(ended, io.Discard); !errors.Is(err, context.Canceled) {
		t.Errorf("Backup: %v, want Canceled", err)
	}
}
