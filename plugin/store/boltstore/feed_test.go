package boltstore

import (
	"errors"
	"path/filepath"
	"syscall"
	"testing"

	"go.etcd.io/bbolt"

	"github.com/coredns-ddns/ddns/plugin/store"
	"github.com/coredns-ddns/ddns/plugin/zone"
)

func commitOf(revision zone.Revision) store.Commit[zone.Host] {
	return store.Commit[zone.Host]{Position: store.Position{Revision: revision}, Changes: make([]store.Change[zone.Host], 1)}
}

// A snapshot may show a commit that its writer has yet to publish. Following
// from there is a wait, not a gap.
func TestFollowFromACommitNotYetPublished(t *testing.T) {
	f := newFeed[zone.Host](4)
	if _, _, err := f.since(5); !errors.Is(err, store.ErrGap) {
		t.Errorf("from a revision that nobody announced: %v, want ErrGap", err)
	}
	f.announce(6)
	for _, after := range []zone.Revision{4, 5, 6} {
		if commits, moved, err := f.since(after); commits != nil || moved == nil || err != nil {
			t.Errorf("from %d before it is published: %v, %v, want a wait", after, commits, err)
		}
	}
	_, moved, _ := f.since(6)
	f.publish([]store.Commit[zone.Host]{commitOf(5), commitOf(6)})
	<-moved
	if commits, _, err := f.since(5); len(commits) != 1 || commits[0].Revision != 6 || err != nil {
		t.Errorf("from 5: %v, %v, want commit 6", commits, err)
	}
	if commits, moved, err := f.since(6); commits != nil || moved == nil || err != nil {
		t.Errorf("from 6: %v, %v, want a wait", commits, err)
	}
}

func TestFollowFromACommitThatFailed(t *testing.T) {
	f := newFeed[zone.Host](4)
	f.announce(5)
	f.publish([]store.Commit[zone.Host]{commitOf(5)})
	f.announce(6)
	_, moved, _ := f.since(6)
	f.retract(5)
	<-moved
	if _, _, err := f.since(6); !errors.Is(err, store.ErrGap) {
		t.Errorf("from what was never committed: %v, want ErrGap", err)
	}
	if commits, _, err := f.since(4); len(commits) != 1 || err != nil {
		t.Errorf("from before: %v, %v, want commit 5", commits, err)
	}
	// The commit failed, and yet readers see it: its changes are not known.
	f.announce(6)
	f.retract(6)
	for _, after := range []zone.Revision{4, 5, 7} {
		if _, _, err := f.since(after); !errors.Is(err, store.ErrGap) {
			t.Errorf("from %d around a commit that was not published: %v, want ErrGap", after, err)
		}
	}
	if _, moved, err := f.since(6); moved == nil || err != nil {
		t.Errorf("from it: %v, want a wait", err)
	}
}

// When the last write of a commit is visible but perhaps not on the disk, the
// store writes nothing more, can be read, and is whole when opened again.
func TestNothingIsWrittenAfterADoubtfulCommit(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ddns.db")
	s := open(t, path)
	h := hostsOf(t, s)
	r := must(t, h, put(host(1, 0)))
	id := 0
	if err := s.view(func(tx *bbolt.Tx) error { id = tx.ID(); return nil }); err != nil {
		t.Fatal(err)
	}
	s.settle(&group{store: s}, id+1, syscall.ENOSPC) // one that left nothing
	r = must(t, h, put(host(1, r.Revision)))
	s.settle(&group{store: s}, id+1, syscall.EIO)
	if _, err := h.Update(t.Context(), put(host(2, 0))); !errors.Is(err, store.ErrUnavailable) || !errors.Is(err, syscall.EIO) {
		t.Errorf("Update: %v, want ErrUnavailable and EIO", err)
	}
	if hosts, p := all(t, h); len(hosts) != 1 || p != r.Position {
		t.Errorf("%v at %v, want one host at %v", hosts, p, r.Position)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, path)
	defer s.Close()
	must(t, hostsOf(t, s), put(host(2, 0)))
}
