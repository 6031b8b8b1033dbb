// Package replica keeps a node's copy of a store: an index for each zone, and
// the tokens.
//
// It guarantees that a copy is only ever changed by what the store's log says,
// in its order; that a copy, once there, answers for ever, whatever becomes of
// the store; and that after Wait for a revision returned nil every reader sees
// that revision.
package replica

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/coredns-ddns/ddns/plugin/store"
	"github.com/coredns-ddns/ddns/plugin/zone"
)

// target is what a log is copied into. Only the follower's goroutine calls it.
type target[T any] interface {
	// fresh starts a new copy, which done puts in the place of the old one.
	fresh() (c copying[T], done func(store.Position))
	apply(store.Commit[T])
}

// copying is a copy that nobody sees yet.
type copying[T any] interface {
	load(T) error
	apply(store.Commit[T])
}

// Retries of a broken log are spread out, so that a store which comes back is
// not met by all nodes at once.
const (
	retryMin = 100 * time.Millisecond
	retryMax = 2 * time.Second
)

// tellEvery is how often at most another reason for a failure is told.
const tellEvery = time.Minute

// follower copies a log into a target until it is stopped.
type follower[T any] struct {
	progress
	log  store.Log[T]
	into target[T]
	told func(error)
	stop context.CancelFunc
	done chan struct{}
}

// start follows log. told hears when it cannot be followed, and why, and, nil,
// when it can again.
func (f *follower[T]) start(log store.Log[T], into target[T], told func(error)) {
	f.log, f.into, f.told, f.done = log, into, told, make(chan struct{})
	f.broken = time.Now()
	ctx, stop := context.WithCancel(context.Background())
	f.stop = stop
	go f.run(ctx)
}

func (f *follower[T]) close() {
	f.stop()
	<-f.done
}

func (f *follower[T]) run(ctx context.Context) {
	defer close(f.done)
	wait := retryMin
	for loaded := false; ctx.Err() == nil; {
		if !loaded {
			loaded = f.load(ctx) == nil
		}
		if loaded {
			wait = retryMin
			loaded = !errors.Is(f.follow(ctx), store.ErrGap)
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait/2 + rand.N(wait/2)):
			wait = min(2*wait, retryMax)
		}
	}
}

func (f *follower[T]) load(ctx context.Context) error {
	fresh, done := f.into.fresh()
	pos, err := f.log.Snapshot(ctx, fresh.load)
	if err == nil && pos.Through > pos.Revision {
		pos, err = f.catchUp(ctx, pos, fresh)
	}
	if err != nil {
		f.fail(ctx, err)
		return err
	}
	done(pos)
	f.reach(pos.Revision)
	return nil
}

// fail notes that the log cannot be followed, unless that is because the
// follower is being closed, and tells it once.
func (f *follower[T]) fail(ctx context.Context, err error) {
	if ctx.Err() == nil && f.failed(err, time.Now()) && !errors.Is(err, store.ErrGap) {
		f.told(err)
	}
}

func (f *follower[T]) reach(r zone.Revision) {
	if f.reached(r) {
		f.told(nil)
	}
}

// catchUp brings a copy to the revision that the newest of its states has: until
// then some of it is older, and what has been deleted would be there again.
func (f *follower[T]) catchUp(ctx context.Context, pos store.Position, fresh copying[T]) (store.Position, error) {
	through := pos.Through
	for c, err := range f.log.Follow(ctx, pos.Revision) {
		if err != nil {
			return pos, err
		}
		fresh.apply(c)
		if pos = c.Position; pos.Revision >= through {
			break
		}
	}
	return pos, ctx.Err()
}

func (f *follower[T]) follow(ctx context.Context) error {
	for c, err := range f.log.Follow(ctx, f.revision()) {
		if err != nil {
			f.fail(ctx, err)
			return err
		}
		f.into.apply(c)
		f.reach(c.Revision)
	}
	return nil
}

// progress is how far a copy has come, and who waits for it to come further.
type progress struct {
	mu      sync.Mutex
	at      zone.Revision
	ready   bool
	broken  time.Time // since when it does not follow; zero: it does
	err     error
	told    time.Time // when a failure was news
	waiting []waiter
}

type waiter struct {
	revision zone.Revision
	reached  chan<- struct{}
}

// reached says whether the copy could not be followed before.
func (p *progress) reached(r zone.Revision) (again bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	again = p.err != nil && !errors.Is(p.err, store.ErrGap)
	p.at, p.ready, p.broken, p.err = r, true, time.Time{}, nil
	rest := p.waiting[:0]
	for _, w := range p.waiting {
		if w.revision <= r {
			close(w.reached)
		} else {
			rest = append(rest, w)
		}
	}
	clear(p.waiting[len(rest):])
	p.waiting = rest
	return again
}

// failed says whether that is news. Another reason for the same failure is, now
// and then: the first one is often only how a connection ended.
func (p *progress) failed(err error, now time.Time) (news bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.broken.IsZero() {
		p.broken = now
	}
	news = p.err == nil || errors.Is(p.err, store.ErrLost) != errors.Is(err, store.ErrLost) ||
		p.err.Error() != err.Error() && now.Sub(p.told) >= tellEvery
	if news {
		p.told = now
	}
	p.err = err
	return news
}

// wait returns nil once revision r is applied, or ctx's error.
func (p *progress) wait(ctx context.Context, r zone.Revision) error {
	p.mu.Lock()
	if p.ready && r <= p.at {
		p.mu.Unlock()
		return nil
	}
	reached := make(chan struct{})
	p.waiting = append(p.waiting, waiter{r, reached})
	p.mu.Unlock()
	select {
	case <-reached:
		return nil
	case <-ctx.Done():
		p.forget(reached)
		return ctx.Err()
	}
}

func (p *progress) forget(reached chan<- struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, w := range p.waiting {
		if w.reached == reached {
			p.waiting = append(p.waiting[:i], p.waiting[i+1:]...)
			return
		}
	}
}

func (p *progress) revision() zone.Revision {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.at
}

func (p *progress) isReady() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.ready
}

func (p *progress) lag(now time.Time) (time.Duration, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.broken.IsZero() {
		return 0, nil
	}
	return now.Sub(p.broken), p.err
}
