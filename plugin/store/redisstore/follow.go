package redisstore

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/coredns-ddns/ddns/plugin/store"
	"github.com/coredns-ddns/ddns/plugin/zone"
)

const (
	// atOnce is how many commits a poll asks for.
	atOnce = 64
	// countEvery is how often a follower compares the buckets with the meta.
	countEvery = 10 * time.Second
)

// Follow yields each commit after a revision, and at least once a second one
// without changes while there is nothing new and Redis answers.
func (l *log[T]) Follow(ctx context.Context, after zone.Revision) iter.Seq2[store.Commit[T], error] {
	return func(yield func(store.Commit[T], error) bool) {
		if err := l.followFrom(ctx, after, yield); err != nil {
			if errors.Is(err, store.ErrGap) {
				l.chain.part()
			}
			yield(store.Commit[T]{}, err)
		}
	}
}

// followFrom returns nil when yield wants no more.
func (l *log[T]) followFrom(ctx context.Context, after zone.Revision, yield func(store.Commit[T], error) bool) error {
	if err := l.store.ended(ctx); err != nil {
		return err
	}
	f, ok := l.chain.follower(after)
	if !ok {
		return fmt.Errorf("%w: this node does not know revision %d of %s", store.ErrGap, after, l.tag)
	}
	done := make(chan struct{})
	defer close(done)
	polls := l.polls(after, done)
	for {
		select {
		case <-ctx.Done():
		case <-l.store.closing:
		case p := <-polls:
			commits, err := take(l, &f, p)
			for _, c := range commits {
				if ctx.Err() != nil {
					break
				}
				if !yield(c, nil) {
					return nil
				}
				l.chain.at(c.Revision)
			}
			if err != nil && l.store.ended(ctx) == nil {
				return l.store.failure(err)
			}
		}
		if err := l.store.ended(ctx); err != nil {
			return err
		}
	}
}

// ended is why work that takes long shall stop.
func (s *Store) ended(ctx context.Context) error {
	if s.isClosed() {
		return store.ErrClosed
	}
	return ctx.Err()
}

// follower is a point in a log: the commit that was yielded last.
type follower struct {
	incarnation string
	revision    zone.Revision
	nonce       string
}

func (c *chain) follower(after zone.Revision) (follower, bool) {
	nonce, ok := c.nonce(after)
	c.mu.Lock()
	defer c.mu.Unlock()
	return follower{c.incarnation, after, nonce}, ok
}

// take checks that a poll continues what f has, and moves f. With an error come
// the commits before it.
func take[T any](l *log[T], f *follower, p poll) ([]store.Commit[T], error) {
	if p.err != nil {
		return nil, p.err
	}
	gap := func(format string, args ...any) error {
		return fmt.Errorf("%w: %s: %s", store.ErrGap, l.tag, fmt.Sprintf(format, args...))
	}
	if f.incarnation == "" {
		f.incarnation = p.meta.incarnation
	}
	if f.incarnation != p.meta.incarnation {
		return nil, gap("an operator has replaced it")
	}
	var commits []store.Commit[T]
	for _, message := range p.entries {
		e, err := l.entry(message)
		if err != nil {
			return commits, err
		}
		if e.commit.Revision != f.revision+1 || e.prev != f.nonce || !l.chain.note(e.commit.Revision, e.nonce) {
			return commits, gap("after revision %d comes %d of another past", f.revision, e.commit.Revision)
		}
		f.revision, f.nonce = e.commit.Revision, e.nonce
		commits = append(commits, e.commit)
	}
	switch {
	case p.meta.revision < f.revision:
		return commits, gap("it went back from revision %d to %d", f.revision, p.meta.revision)
	case p.meta.revision == f.revision && f.revision > 0 && p.meta.nonce != f.nonce:
		return commits, gap("revision %d is another one", f.revision)
	case p.missing:
		return commits, gap("revision %d is no longer in the feed", f.revision+1)
	case len(commits) == 0 && p.meta.revision == f.revision:
		here := store.Position{Revision: f.revision, Serial: p.meta.serial, Clock: p.clock}
		return []store.Commit[T]{{Position: here}}, nil
	case p.meta.revision == f.revision:
		commits[len(commits)-1].Clock = p.clock
	}
	return commits, nil
}

// entry is what the feed has of a commit.
type entry[T any] struct {
	commit      store.Commit[T]
	nonce, prev string
}

// entry reads a message of the feed. Its changes are lines of key and new
// value, "-" for what is gone.
func (l *log[T]) entry(m redis.XMessage) (entry[T], error) {
	var e entry[T]
	id, _, _ := strings.Cut(m.ID, "-")
	revision, err := strconv.ParseUint(id, 10, 64)
	text, _ := m.Values["serial"].(string)
	serial, err2 := strconv.ParseUint(text, 10, 32)
	changes, ok := m.Values["changes"].(string)
	if err = errors.Join(err, err2); err != nil || !ok {
		return e, l.damaged("entry %s of the feed: %v", m.ID, err)
	}
	e.nonce, _ = m.Values["nonce"].(string)
	e.prev, _ = m.Values["prev"].(string)
	e.commit.Position = store.Position{Revision: zone.Revision(revision), Serial: uint32(serial), Clock: time.Unix(int64(serial), 0)}
	e.commit.Changes = make([]store.Change[T], 0, strings.Count(changes, "\n")+1)
	for line := range strings.SplitSeq(changes, "\n") {
		key, value, _ := strings.Cut(line, " ")
		c := store.Change[T]{Value: l.gone(key, e.commit.Revision), Deleted: value == "-"}
		if !c.Deleted {
			if c.Value, err = l.parse(key, value); err != nil {
				return e, l.damaged("entry %s of the feed: %s: %w", m.ID, key, err)
			}
		}
		e.commit.Changes = append(e.commit.Changes, c)
	}
	return e, nil
}

// poll is what Redis says about a feed at one time: first the entries, then its
// clock, then the meta.
type poll struct {
	entries []redis.XMessage
	clock   time.Time
	meta    meta
	missing bool // there ought to be an entry
	err     error
}

// polls asks for what comes after a revision, again and again, on a connection
// of its own, until done or an error, which comes last. The one who follows
// never waits for a connection that is slow to end.
func (l *place) polls(after zone.Revision, done <-chan struct{}) <-chan poll {
	out := make(chan poll)
	go func() {
		send := func(p poll) bool {
			select {
			case out <- p:
				return p.err == nil
			case <-done:
				return false
			}
		}
		if err := l.pollInto(after, send); err != nil {
			send(poll{err: err})
		}
	}()
	return out
}

func (l *place) pollInto(after zone.Revision, send func(poll) bool) error {
	conn, err := l.pin(context.Background())
	if err != nil {
		return err
	}
	defer conn.Close()
	var counted time.Time
	for wait := time.Duration(-1); ; wait = block { // the first one to say at once where we are
		p, err := l.poll(conn, after, wait)
		if err != nil {
			return err
		}
		if n := len(p.entries); n > 0 {
			id, _, _ := strings.Cut(p.entries[n-1].ID, "-")
			revision, err := strconv.ParseUint(id, 10, 64)
			if err != nil {
				return l.damaged("entry %s of the feed: %w", p.entries[n-1].ID, err)
			}
			after = zone.Revision(revision)
		}
		if time.Since(counted) > countEvery {
			counted = time.Now()
			if err := l.count(conn); err != nil {
				return err
			}
		}
		if !send(p) {
			return nil
		}
	}
}

// pin takes a connection to the server that writes the log. When it breaks no
// other takes its place.
func (l *place) pin(ctx context.Context) (*redis.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	c, err := l.store.follow.of(ctx, l.key("meta"))
	if err != nil {
		return nil, err
	}
	conn := c.Conn()
	if _, err := l.identity(ctx, conn); err != nil {
		l.store.rethink(ctx, err)
		conn.Close()
		return nil, err
	}
	return conn, nil
}

// rethink has the map of a Cluster read again when an error says that it is old.
func (s *Store) rethink(ctx context.Context, err error) {
	if classify(err) != final {
		s.follow.reload(ctx)
	}
}

// identity is the run id of the server behind a connection. Sentinel may still
// name a primary that is one no more.
func (l *place) identity(ctx context.Context, conn *redis.Conn) (string, error) {
	p := conn.Pipeline()
	server, replication := p.Info(ctx, "server"), p.Info(ctx, "replication")
	if err := run(ctx, p); err != nil {
		return "", err
	}
	if l.store.config.Master != "" && infoField(replication.Val(), "role") != "master" {
		return "", errors.New("it is a replica")
	}
	return infoField(server.Val(), "run_id"), nil
}

// infoField finds a field in what INFO says.
func infoField(info, name string) string {
	for line := range strings.Lines(info) {
		if value, ok := strings.CutPrefix(strings.TrimSpace(line), name+":"); ok {
			return value
		}
	}
	return ""
}

// poll asks once. wait < 0 asks for what is there.
func (l *place) poll(conn *redis.Conn, after zone.Revision, wait time.Duration) (poll, error) {
	ctx, cancel := context.WithTimeout(context.Background(), block+patience)
	defer cancel()
	var last poll
	// An entry that the meta knows of is there at the second time of asking.
	for range 2 {
		p := conn.Pipeline()
		from := strconv.FormatUint(uint64(after), 10) + "-0"
		read := p.XRead(ctx, &redis.XReadArgs{Streams: []string{l.key("feed"), from}, Count: atOnce, Block: wait})
		clock, head := p.Time(ctx), l.queueMeta(ctx, p)
		if err := run(ctx, p); err != nil {
			l.store.rethink(ctx, err)
			return last, err
		}
		m, err := l.checkMeta(head)
		if err != nil {
			return last, err
		}
		last.meta, last.clock = m, clock.Val()
		if streams := read.Val(); len(streams) > 0 {
			last.entries = streams[0].Messages
		}
		if len(last.entries) > 0 || m.revision <= after {
			return last, nil
		}
		wait = -1
	}
	last.missing = true
	return last, nil
}

// count compares the buckets with what the meta says is in them. What is
// missing is ErrLost, for writers too, until a later count finds it there.
func (l *place) count(conn redis.Cmdable) error {
	ctx, cancel := context.WithTimeout(context.Background(), longest)
	defer cancel()
	_, err := l.countBuckets(ctx, conn)
	if err == nil || errors.Is(err, store.ErrLost) {
		l.chain.counted(err)
	}
	return err
}

// countBuckets returns the meta of the time of counting. Redis runs a pipeline
// in one go unless it is a long one; where commits came between after all it is
// counted again, a few times.
func (l *place) countBuckets(ctx context.Context, conn redis.Cmdable) (after meta, err error) {
	names := make([]string, buckets)
	for b := range names {
		names[b] = bucketName(byte(b))
	}
	for range 8 {
		p := conn.Pipeline()
		head := l.queueMeta(ctx, p)
		counted := p.HMGet(ctx, l.key("meta"), names...)
		var sizes [buckets]*redis.IntCmd
		for b := range sizes {
			sizes[b] = p.HLen(ctx, l.bucketKey(l.kind, byte(b)))
		}
		tail := l.queueMeta(ctx, p)
		if err := run(ctx, p); err != nil {
			return after, err
		}
		before, err := l.checkMeta(head)
		if err != nil {
			return after, err
		}
		if after, err = l.checkMeta(tail); err != nil {
			return after, err
		}
		if before.revision != after.revision || before.incarnation != after.incarnation {
			continue
		}
		for b, value := range counted.Val() {
			text, _ := value.(string)
			want, _ := strconv.Atoi(text)
			if got := int(sizes[b].Val()); got < want {
				return after, l.evicted(names[b], got, want)
			}
		}
		return after, nil
	}
	return after, nil
}
