// Package redisstore keeps hosts and tokens in Redis (6.2 or newer, or Valkey),
// for any number of nodes: one server, Sentinel or Cluster.
//
// It guarantees, beside what every store does, that each call but Snapshot and
// Follow is bounded in time whatever Redis does; that an update is one script,
// all or none, in one round trip; that a zone or the tokens exist only after
// Init, so that an emptied, evicted or wrong Redis is [store.ErrLost] and
// nothing is written to it; and that Follow never goes on from a commit that
// Redis no longer has, or has another in its place. An acknowledged update is as
// durable as Redis makes it: its AOF, its replicas, and Config.Wait.
//
// The keys of a zone, and of the tokens, lie in one slot of a Cluster. Buckets
// are the low octet of the CRC-32 of what they are keyed by, in hexadecimal:
//
//	ddns:{ORIGIN}:meta         hash: format, incarnation, replaces, revision, count, serial, nonce, marks of the feed, hosts in each bucket
//	ddns:{ORIGIN}:hosts:BB     hash: relative owner name → "REVISION A AAAA TTL FLAGS"
//	ddns:{ORIGIN}:history:BB   hash: relative owner name → lines, newest first: state, unix second, client, token id
//	ddns:{ORIGIN}:settings:BB  hash: relative owner name → JSON, of hosts that have some
//	ddns:{ORIGIN}:seen         sorted set: relative owner name by the unix second of its last change or refresh
//	ddns:{ORIGIN}:feed         stream: an entry a commit, its id REVISION-0: its nonce, that of the commit before, serial, new states
//	ddns:{tokens}:…            meta, tokens:BB (id → "REVISION JSON") and feed in the same way
package redisstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/redis/go-redis/v9"

	"github.com/coredns-ddns/ddns/plugin/store"
	"github.com/coredns-ddns/ddns/plugin/zone"
)

// Store is a Redis with hosts and tokens. All that it knows beside what is in
// Redis is which incarnation and which commits this process has seen.
type Store struct {
	config Config
	update *clients // for what is short
	follow *clients // for what waits or takes long, a connection each

	closing chan struct{} // closed by Close
	closed  func() error
	mu      sync.Mutex
	busy    sync.WaitGroup // calls under way; Add under mu, before closing is closed
	tokens  *tokens
	zones   map[zone.Name]*hosts
}

var _ store.Store = (*Store)(nil)

// What goes wrong is told by errors; go-redis would write it to stderr as well,
// again and again.
func init() { redis.SetLogger(quiet{}) }

type quiet struct{}

func (quiet) Printf(context.Context, string, ...any) {}

// Open makes a Store. It needs no Redis yet: what is not there is unavailable
// until it is.
func Open(_ context.Context, c Config) (*Store, error) {
	if err := c.validate(); err != nil {
		return nil, err
	}
	s := &Store{config: c, closing: make(chan struct{}), zones: map[zone.Name]*hosts{}}
	s.update, s.follow = connect(&s.config, short), connect(&s.config, long)
	s.tokens = newTokens(s)
	s.closed = sync.OnceValue(s.close)
	return s, nil
}

// Hosts is the part of one zone, whether Redis has it or not.
func (s *Store) Hosts(_ context.Context, origin zone.Name) (store.Hosts, error) {
	if s.isClosed() {
		return nil, store.ErrClosed
	}
	return s.hosts(origin), nil
}

func (s *Store) hosts(origin zone.Name) *hosts {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.zones[origin]
	if h == nil {
		h = newHosts(s, origin)
		s.zones[origin] = h
	}
	return h
}

// Tokens is the part with the tokens, whether Redis has it or not.
func (s *Store) Tokens(context.Context) (store.Tokens, error) {
	if s.isClosed() {
		return nil, store.ErrClosed
	}
	return s.tokens, nil
}

// Backup is Redis's own affair: its RDB and AOF files.
func (s *Store) Backup(context.Context, io.Writer) error {
	return fmt.Errorf("backup of %v: %w; back up Redis's RDB or AOF files", s.config, errors.ErrUnsupported)
}

// Close refuses new calls, waits for those under way and ends every Follow.
func (s *Store) Close() error { return s.closed() }

func (s *Store) close() error {
	s.mu.Lock()
	close(s.closing)
	s.mu.Unlock()
	s.busy.Wait()
	return errors.Join(s.update.Close(), s.follow.Close())
}

func (s *Store) isClosed() bool {
	select {
	case <-s.closing:
		return true
	default:
		return false
	}
}

// enter lets a call in that Close waits for until leave.
func (s *Store) enter() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.isClosed() {
		return store.ErrClosed
	}
	s.busy.Add(1)
	return nil
}

func (s *Store) leave() { s.busy.Done() }
