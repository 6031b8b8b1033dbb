package boltstore

import (
	"context"
	"iter"
	"sync"

	"github.com/coredns-ddns/ddns/plugin/store"
	"github.com/coredns-ddns/ddns/plugin/zone"
)

// retained bounds the changes that a feed holds, about 10 MB of hosts. A
// follower that takes a snapshot of millions of hosts must not be overtaken.
const retained = 1 << 16

// feed is the latest commits of one log, for its followers. Those before the
// store was opened are not in it.
type feed[T any] struct {
	mu      sync.Mutex
	commits []store.Commit[T] // revisions without gap, the last one is latest
	changes int               // in commits
	latest  zone.Revision
	coming  zone.Revision // readers may see revisions up to this before publish
	moved   chan struct{} // closed at the next change of any of these
	closed  bool
}

func newFeed[T any](latest zone.Revision) *feed[T] {
	return &feed[T]{latest: latest, coming: latest, moved: make(chan struct{})}
}

// announce says that revisions up to to are about to be committed: following
// from them is no gap but a wait.
func (f *feed[T]) announce(to zone.Revision) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.coming = to
}

// publish takes the commits announced, once they are durable.
func (f *feed[T]) publish(commits []store.Commit[T]) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, c := range commits {
		f.changes += len(c.Changes)
		f.latest = c.Revision
	}
	f.commits = append(f.commits, commits...)
	for f.changes > retained && len(f.commits) > 1 {
		f.changes -= len(f.commits[0].Changes)
		f.commits = f.commits[1:]
	}
	f.wake()
}

// retract ends an announcement whose commit failed. When the store shows
// another revision all the same, followers have a gap.
func (f *feed[T]) retract(shown zone.Revision) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if shown != f.latest {
		f.commits, f.changes, f.latest = nil, 0, shown
	}
	f.wake()
}

func (f *feed[T]) close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	f.wake()
}

func (f *feed[T]) wake() {
	f.coming = f.latest
	close(f.moved)
	f.moved = make(chan struct{})
}

// since is some of the commits after a revision, or what to wait for when there
// are none yet.
func (f *feed[T]) since(after zone.Revision) ([]store.Commit[T], <-chan struct{}, error) {
	const some = 64 // a follower far behind still sees its end soon
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.closed:
		return nil, nil, store.ErrClosed
	case after > f.coming, after < f.latest && f.latest-after > zone.Revision(len(f.commits)):
		return nil, nil, store.ErrGap
	case after >= f.latest:
		return nil, f.moved, nil
	}
	commits := f.commits[len(f.commits)-int(f.latest-after):]
	return commits[:min(some, len(commits))], nil, nil
}

// follow is store.Log's Follow.
func (f *feed[T]) follow(ctx context.Context, after zone.Revision) iter.Seq2[store.Commit[T], error] {
	return func(yield func(store.Commit[T], error) bool) {
		for {
			commits, moved, err := f.since(after)
			if err == nil {
				err = ctx.Err()
			}
			if err != nil {
				yield(store.Commit[T]{}, err)
				return
			}
			for _, c := range commits {
				if ctx.Err() != nil {
					break
				}
				if !yield(c, nil) {
					return
				}
				after = c.Revision
			}
			if len(commits) > 0 {
				continue
			}
			select {
			case <-moved:
			case <-ctx.Done():
			}
		}
	}
}
