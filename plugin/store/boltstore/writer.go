package boltstore

import (
	"context"
	"fmt"
	"runtime"
	"time"

	"go.etcd.io/bbolt"

	"github.com/coredns-ddns/ddns/plugin/store"
	"github.com/coredns-ddns/ddns/plugin/zone"
)

// largestGroup bounds how many requests share a commit, and so how long the
// first of them waits for the others to be evaluated.
const largestGroup = 1024

// request is a change that waits for the writer. do validates first and then
// writes, so that one refused leaves nothing behind for its group to commit.
type request struct {
	ctx  context.Context
	do   func(g *group) error
	err  error // of do, for the writer
	done chan error
}

// do has the writer run change and returns when what it did is durable. When
// ctx ends earlier the change is not done, or, once the writer has it, may be
// done: then the error is ErrUnavailable too.
func (s *Store) do(ctx context.Context, change func(g *group) error) error {
	r := &request{ctx: ctx, do: change, done: make(chan error, 1)}
	select {
	case s.requests <- r:
	case <-ctx.Done():
		return ctx.Err()
	case <-s.closing:
		return store.ErrClosed
	}
	select {
	case err := <-r.done:
		return err
	case <-ctx.Done():
	}
	select {
	case err := <-r.done:
		return err
	default:
		return fmt.Errorf("%w: %s: the disk has not confirmed the change yet: %w", store.ErrUnavailable, s.path, ctx.Err())
	}
}

// write is the writer: it commits all requests that wait as one transaction,
// again and again.
func (s *Store) write() {
	defer close(s.written)
	for {
		select {
		case <-s.closing:
			return
		case r := <-s.requests:
			requests := s.gather(r)
			err := s.commit(requests)
			for _, r := range requests {
				if err != nil {
					r.err = err
				}
				r.done <- r.err
			}
			// Let those who want to join the next group come first. On a disk
			// that never blocks they would else wait for a whole time slice.
			runtime.Gosched()
		}
	}
}

// gather takes the requests that wait beside first.
func (s *Store) gather(first *request) []*request {
	requests := []*request{first}
	for len(requests) < largestGroup {
		select {
		case r := <-s.requests:
			requests = append(requests, r)
		default:
			return requests
		}
	}
	return requests
}

// commit evaluates the requests in order, each seeing what those before it did,
// makes the outcome durable and publishes it. An error is every request's: even
// a conflict may have been one with a change that then was not committed.
func (s *Store) commit(requests []*request) error {
	if s.doubt != nil {
		return s.doubt
	}
	tx, err := s.db.Begin(true)
	if err != nil {
		return fmt.Errorf("%w: %s: %w", store.ErrUnavailable, s.path, err)
	}
	id := tx.ID()
	g := &group{store: s, tx: tx, now: s.now(), logs: map[string]logWriter{}}
	err = s.guard(func() error {
		defer tx.Rollback() // does nothing after Commit
		for _, r := range requests {
			if r.err = r.ctx.Err(); r.err == nil {
				r.err = r.do(g)
			}
		}
		for _, l := range g.logs {
			l.finish(g)
		}
		if g.err != nil || !g.dirty {
			return g.err
		}
		if err := s.inPlace(); err != nil {
			return err
		}
		return tx.Commit()
	})
	if err != nil {
		s.settle(g, id, err)
		return fmt.Errorf("%w: cannot write %s: %w", store.ErrUnavailable, s.path, err)
	}
	for _, l := range g.logs {
		l.publish()
	}
	return nil
}

// settle finds out what a failed commit left behind. Commonly nothing: the disk
// was full, and the next commit may succeed. When it failed so late that
// readers see it nevertheless, nobody knows whether the disk has it, and pages
// that it freed must not be reused: nothing more is written.
func (s *Store) settle(g *group, id int, cause error) {
	shown := false
	err := s.view(func(tx *bbolt.Tx) error {
		shown = tx.ID() == id
		return nil
	})
	if err != nil || shown {
		s.doubt = fmt.Errorf("%w: %s is written no more after a failure to write it: check the disk, then restart: %w",
			store.ErrUnavailable, s.path, cause)
	}
	for _, l := range g.logs {
		l.retract(shown)
	}
}

// group is a write transaction under construction, for many requests.
type group struct {
	store *Store
	tx    *bbolt.Tx
	now   time.Time
	logs  map[string]logWriter // by bucket name
	dirty bool                 // something is to be committed
	err   error                // why the whole group cannot be committed
}

func (g *group) put(b *bbolt.Bucket, key, value []byte) {
	g.dirty = true
	if err := b.Put(key, value); err != nil && g.err == nil {
		g.err = err
	}
}

func (g *group) delete(b *bbolt.Bucket, key []byte) {
	g.dirty = true
	if err := b.Delete(key); err != nil && g.err == nil {
		g.err = err
	}
}

// logWriter is what a group needs to know of the logs that it writes to.
type logWriter interface {
	finish(g *group)    // before the transaction's end
	publish()           // after it
	retract(shown bool) // after its failure
}

// logGroup is a group's part of one log.
type logGroup[T any] struct {
	feed    *feed[T]
	bucket  *bbolt.Bucket
	before  zone.Revision
	meta    meta
	commits []store.Commit[T]
}

// openLog is the part of g for the log in the bucket called name.
func openLog[T any](g *group, name string, f *feed[T]) (*logGroup[T], error) {
	if l, ok := g.logs[name]; ok {
		return l.(*logGroup[T]), nil
	}
	b, m, err := readMeta(g.store, g.tx, name)
	if err != nil {
		return nil, err
	}
	l := &logGroup[T]{feed: f, bucket: b, before: m.revision, meta: m}
	g.logs[name] = l
	return l, nil
}

// commit takes note of changes that the group has written with the revision
// after the log's latest.
func (l *logGroup[T]) commit(changes []store.Change[T]) store.Position {
	l.meta.revision++
	p := store.Position{Revision: l.meta.revision, Serial: l.meta.serial}
	l.commits = append(l.commits, store.Commit[T]{Position: p, Changes: changes})
	return p
}

func (l *logGroup[T]) finish(g *group) {
	if len(l.commits) > 0 {
		g.put(l.bucket, keyMeta, l.meta.append(nil))
		l.feed.announce(l.meta.revision)
	}
}

func (l *logGroup[T]) publish() {
	if len(l.commits) > 0 {
		l.feed.publish(l.commits)
	}
}

func (l *logGroup[T]) retract(shown bool) {
	if shown {
		l.feed.retract(l.meta.revision)
	} else {
		l.feed.retract(l.before)
	}
}
