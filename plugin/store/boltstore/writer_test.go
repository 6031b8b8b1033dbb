package boltstore

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"

	bolterrors "go.etcd.io/bbolt/errors"

	"github.com/coredns-ddns/ddns/plugin/store"
)

func TestCommitsAreSynced(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "ddns.db"))
	defer s.Close()
	if s.db.NoSync || s.db.NoGrowSync {
		t.Errorf("the database is opened with NoSync %v, NoGrowSync %v", s.db.NoSync, s.db.NoGrowSync)
	}
}

// One of two that make the same host conflicts with the other. When their
// commit fails, nobody may hear of a host that then is not there.
func TestAConflictWithAChangeThatIsNotCommittedIsNone(t *testing.T) {
	clock := &heldClock{asked: make(chan struct{}), release: make(chan struct{})}
	dir := t.TempDir()
	path := filepath.Join(dir, "ddns.db")
	s := open(t, path, Clock(clock.now), func(s *Store) { s.requests = make(chan *request, 2) })
	defer s.Close()
	h := hostsOf(t, s)

	clock.hold.Store(true)
	outcomes := make(chan error)
	update := func(n int) {
		_, err := h.Update(t.Context(), put(host(n, 0)))
		outcomes <- err
	}
	go update(1)
	<-clock.asked // its group is complete
	go update(2)
	go update(2)
	for len(s.requests) < 2 {
		runtime.Gosched() // until both wait for the next group
	}
	clock.hold.Store(false)
	if err := os.Rename(path, filepath.Join(dir, "moved.db")); err != nil {
		t.Fatal(err)
	}
	close(clock.release)
	for range 3 {
		if err := <-outcomes; !errors.Is(err, store.ErrUnavailable) || errors.Is(err, store.ErrConflict) {
			t.Errorf("%v, want ErrUnavailable alone", err)
		}
	}
	if hosts, p := all(t, h); len(hosts) != 0 || p.Revision != 0 {
		t.Errorf("%v at %v, want nothing", hosts, p)
	}
}

// Readers see a commit before its followers are told.
func TestFollowFromASnapshotTakenBeforeItsCommitIsPublished(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "ddns.db"))
	defer s.Close()
	h := hostsOf(t, s).(*hosts)
	p := store.Position{}
	err := s.do(t.Context(), func(g *group) error {
		g.tx.OnCommit(func() {
			_, p = all(t, h)
			if _, moved, err := h.feed.since(p.Revision); moved == nil || err != nil {
				t.Errorf("following from %d: %v, want a wait", p.Revision, err)
			}
		})
		_, err := h.update(g, put(host(1, 0)))
		return err
	})
	if err != nil || p.Revision != 1 {
		t.Fatalf("%v, a snapshot at revision %d, want 1", err, p.Revision)
	}
	must(t, h, put(host(2, 0)))
	for c, err := range h.Follow(t.Context(), p.Revision) {
		if err != nil || c.Revision != 2 {
			t.Errorf("followed %d, %v, want 2", c.Revision, err)
		}
		break
	}
}

// What was written to a file that is not in its place would be lost at the next
// start.
func TestNothingIsWrittenToAFileThatWasMovedOrReplaced(t *testing.T) {
	dir := t.TempDir()
	path, moved := filepath.Join(dir, "ddns.db"), filepath.Join(dir, "moved.db")
	s := open(t, path)
	defer s.Close()
	h := hostsOf(t, s)
	r := must(t, h, put(host(1, 0)))
	rename := func(from, to string) {
		t.Helper()
		if err := os.Rename(from, to); err != nil {
			t.Fatal(err)
		}
	}
	refused := func(want string) {
		t.Helper()
		_, err := h.Update(t.Context(), put(host(2, 0)))
		if !errors.Is(err, store.ErrUnavailable) || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want ErrUnavailable that says %q and %q", err, path, want)
		}
		if hosts, p := all(t, h); len(hosts) != 1 || p != r.Position {
			t.Errorf("%v at %v, want one host at %v", hosts, p, r.Position)
		}
	}
	rename(path, moved)
	refused("is not in its place any more, put it back")
	other := open(t, path) // as a copy put back would be
	refused("another file is in the place")
	if err := other.Close(); err != nil {
		t.Fatal(err)
	}
	rename(moved, path)
	must(t, h, put(host(2, 0)))

	// The same file by another way is no other file.
	rename(path, moved)
	if err := os.Symlink(moved, path); err != nil {
		t.Fatal(err)
	}
	must(t, h, put(host(3, 0)))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, path)
	defer s.Close()
	if hosts, _ := all(t, hostsOf(t, s)); len(hosts) != 3 {
		t.Errorf("%d hosts after a restart, want 3", len(hosts))
	}
}

// A first start that comes second leaves alone what the other one made.
func TestTwoFirstStartsAtOnce(t *testing.T) {
	for _, c := range pairsOfStarts(t, false, func(*Store) error { return nil }) {
		a, b := <-c.starts, <-c.starts
		if a.error != nil {
			a, b = b, a
		}
		if a.error != nil || b.error == nil || !strings.Contains(b.Error(), "in use by another process") {
			t.Fatalf("%v and %v, want one start that succeeds and one that finds the file in use", a.error, b.error)
		}
		must(t, hostsOf(t, a.Store), put(host(1, 0)))
		if err := a.Close(); err != nil {
			t.Error(err)
		}
		s := open(t, c.path)
		if hosts, _ := all(t, hostsOf(t, s)); len(hosts) != 1 {
			t.Errorf("%d hosts after a restart, want 1", len(hosts))
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}

// The second has seen an empty file, and gets one with a host in it.
func TestTwoStartsWithAnEmptyFileOfWhichOneEndsAtOnce(t *testing.T) {
	var made atomic.Int32
	for _, c := range pairsOfStarts(t, true, func(s *Store) error {
		h, err := s.Hosts(t.Context(), origin)
		if err != nil {
			return err
		}
		_, err = h.Update(t.Context(), put(host(int(made.Add(1)), 0)))
		return errors.Join(err, s.Close())
	}) {
		want := 0
		for range 2 {
			err := (<-c.starts).error
			if err == nil {
				want++
			} else if !errors.Is(err, bolterrors.ErrTimeout) { // of a slow disk
				t.Error(err)
			}
		}
		s := open(t, c.path)
		if hosts, _ := all(t, hostsOf(t, s)); want == 0 || len(hosts) != want {
			t.Errorf("%d hosts, want one of each start", len(hosts))
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}

type start struct {
	*Store
	error
}

type pairOfStarts struct {
	path   string
	starts chan start
}

// pairsOfStarts opens each of some files, empty or not there, twice at once, and
// does something with each store opened.
func pairsOfStarts(t *testing.T, empty bool, do func(*Store) error) (pairs []pairOfStarts) {
	for range 50 {
		c := pairOfStarts{filepath.Join(t.TempDir(), "ddns.db"), make(chan start, 2)}
		if empty {
			if err := os.WriteFile(c.path, nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		for range 2 {
			go func() {
				s, err := Open(c.path)
				if err == nil {
					err = do(s)
				}
				c.starts <- start{s, err}
			}()
		}
		pairs = append(pairs, c)
	}
	return pairs
}
