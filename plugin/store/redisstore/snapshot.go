package redisstore

import (
	"context"
	"errors"
	"sync"

	"github.com/redis/go-redis/v9"

	"github.com/coredns-ddns/ddns/plugin/store"
)

const (
	// bucketsAtOnce is how many buckets are asked for in one round trip. Redis
	// serves nobody else meanwhile.
	bucketsAtOnce = 2
	// ahead is how many round trips are decoded while the next one is read.
	ahead = 4
)

// Snapshot yields all entries, over one connection: each bucket is as it was at
// one time, later than the position. When that connection breaks, or what was
// read is not all there is, the snapshot is void.
func (l *log[T]) Snapshot(ctx context.Context, yield func(T) error) (store.Position, error) {
	if err := l.store.ended(ctx); err != nil {
		return store.Position{}, err
	}
	p, err := l.snapshot(ctx, yield)
	if err == nil {
		return p, nil
	}
	if ended := l.store.ended(ctx); ended != nil {
		return store.Position{}, ended
	}
	var refused yieldError
	if errors.As(err, &refused) {
		return store.Position{}, refused.error
	}
	return store.Position{}, l.store.failure(err)
}

// yieldError tells an error of the caller's from ours.
type yieldError struct{ error }

func (l *log[T]) snapshot(ctx context.Context, yield func(T) error) (store.Position, error) {
	conn, err := l.pin(ctx)
	if err != nil {
		return store.Position{}, err
	}
	defer conn.Close()
	server, err := l.identity(ctx, conn)
	if err != nil {
		return store.Position{}, err
	}
	p := conn.Pipeline()
	clock, head := p.Time(ctx), l.queueMeta(ctx, p)
	if err := run(ctx, p); err != nil {
		return store.Position{}, err
	}
	from, err := l.checkMeta(head)
	if err != nil {
		return store.Position{}, err
	}
	if err := l.scan(ctx, conn, yield); err != nil {
		return store.Position{}, err
	}
	to, err := l.countBuckets(ctx, conn)
	if err != nil {
		return store.Position{}, err
	}
	same, err := l.identity(ctx, conn)
	if err == nil && same != server || to.incarnation != from.incarnation || to.revision < from.revision {
		err = errors.New("another server, or another past of it, has taken its place during a snapshot")
	}
	if err != nil {
		return store.Position{}, err
	}
	l.chain.restart(from, to)
	return store.Position{Revision: from.revision, Serial: from.serial, Through: to.revision, Clock: clock.Val()}, nil
}

// part is some buckets, decoded.
type part[T any] struct {
	list []T
	err  error
}

// scan reads all buckets; decoding and yield go on beside the reading.
func (l *log[T]) scan(ctx context.Context, conn *redis.Conn, yield func(T) error) error {
	var reading sync.WaitGroup
	defer reading.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	parts := make(chan chan part[T], ahead)
	reading.Go(func() {
		defer close(parts)
		for b := 0; b < buckets; b += bucketsAtOnce {
			decoded := make(chan part[T], 1)
			select {
			case parts <- decoded:
			case <-ctx.Done():
				return
			}
			replies, err := l.readBuckets(ctx, conn, b)
			if err != nil {
				decoded <- part[T]{err: err}
				return
			}
			go func() { decoded <- l.decode(replies) }()
		}
	})
	for decoded := range parts {
		p := <-decoded
		if p.err != nil {
			return p.err
		}
		for _, t := range p.list {
			if err := yield(t); err != nil {
				return yieldError{err}
			}
		}
		if err := l.store.ended(ctx); err != nil {
			return err
		}
	}
	return ctx.Err()
}

func (l *place) readBuckets(ctx context.Context, conn *redis.Conn, first int) ([]*redis.StringSliceCmd, error) {
	p := conn.Pipeline()
	var cmds []*redis.StringSliceCmd
	for b := first; b < first+bucketsAtOnce; b++ {
		cmd := redis.NewStringSliceCmd(ctx, "hgetall", l.bucketKey(l.kind, byte(b)))
		_ = p.Process(ctx, cmd)
		cmds = append(cmds, cmd)
	}
	return cmds, run(ctx, p)
}

func (l *log[T]) decode(cmds []*redis.StringSliceCmd) part[T] {
	var all []T
	for _, cmd := range cmds {
		some, err := l.entries(cmd.Val())
		if err != nil {
			return part[T]{err: err}
		}
		if all == nil {
			all = some
		} else {
			all = append(all, some...)
		}
	}
	return part[T]{list: all}
}
