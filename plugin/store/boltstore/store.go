// Package boltstore keeps hosts and tokens in one file, for a server on its own.
//
// It guarantees, beside what every store does, that an update is on disk
// (fdatasync) when it is acknowledged, in the file that the next start opens;
// that concurrent updates share the writing; and that a file which is not whole,
// not ours or in use is refused with an error and left as it was.
//
// The file is a bbolt database:
//
//	ddns                  format, incarnation (random, made with the file)
//	tokens     meta       REVISION
//	           tokens     token id → JSON
//	ORIGIN     meta       REVISION COUNT SERIAL
//	           hosts      relative owner name → state, last seen (unix second)
//	           history    relative owner name → lines, newest first: state, unix second, client, token id
//	           settings   relative owner name → JSON, of hosts that have some
package boltstore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime/debug"
	"sync"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"github.com/coredns-ddns/ddns/plugin/store"
	"github.com/coredns-ddns/ddns/plugin/zone"
)

// Store is a file with hosts and tokens. One goroutine, from Open to Close,
// writes; readers read what is committed and wait for nobody.
type Store struct {
	path string
	db   *bbolt.DB
	file fs.FileInfo // that db writes to
	now  func() time.Time

	requests chan *request // unbuffered: who waits to send is the queue
	closing  chan struct{} // closed by Close
	written  chan struct{} // closed when the writer is done
	closed   func() error
	doubt    error // set by the writer: why nothing more is written

	tokens *tokens
	mu     sync.Mutex
	zones  map[zone.Name]*hosts
}

var _ store.Store = (*Store)(nil)

// Option changes how Open makes a Store.
type Option func(*Store)

// Clock makes the store take the time from now.
func Clock(now func() time.Time) Option { return func(s *Store) { s.now = now } }

// Open opens the file at path, or makes it, in a directory that is there, with
// mode 0600. It waits a second for a file that another process has open. Every
// error names the file, what is wrong with it and what is wanted, and the file
// is then as it was before.
func Open(path string, options ...Option) (*Store, error) {
	s := &Store{
		path: path, now: time.Now, zones: map[zone.Name]*hosts{},
		requests: make(chan *request), closing: make(chan struct{}), written: make(chan struct{}),
	}
	for _, o := range options {
		o(s)
	}
	var err error
	if s.db, s.file, err = openFile(path); err != nil {
		return nil, err
	}
	if s.tokens, err = openTokens(s); err != nil {
		return nil, errors.Join(err, s.db.Close())
	}
	s.closed = sync.OnceValue(s.close)
	go s.write()
	return s, nil
}

// Hosts is the part of one zone, made durably when it is not there.
func (s *Store) Hosts(ctx context.Context, origin zone.Name) (store.Hosts, error) {
	s.mu.Lock()
	h := s.zones[origin]
	s.mu.Unlock()
	if h != nil {
		return h, nil
	}
	var m meta
	err := s.do(ctx, func(g *group) (err error) {
		m, err = g.makeZone(origin)
		return err
	})
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if h = s.zones[origin]; h == nil {
		h = &hosts{store: s, origin: origin, feed: newFeed[zone.Host](m.revision)}
		s.zones[origin] = h
	}
	return h, nil
}

// Tokens is the part with the tokens.
func (s *Store) Tokens(context.Context) (store.Tokens, error) {
	select {
	case <-s.closing:
		return nil, store.ErrClosed
	default:
		return s.tokens, nil
	}
}

// Backup writes a copy that Open opens. Updates go on meanwhile; the file grows
// by what they change until the copy is done.
func (s *Store) Backup(ctx context.Context, w io.Writer) error {
	tx, err := s.begin()
	if err != nil {
		return err
	}
	defer tx.Rollback()
	c := &copying{to: w, stop: func() error { return s.ended(ctx) }}
	if _, err := tx.WriteTo(c); err != nil {
		return fmt.Errorf("backup of %s: %w", s.path, cmp.Or(c.err, err)) // bbolt does not wrap
	}
	return nil
}

// Close lets the commit under way end and refuses what waits behind it.
func (s *Store) Close() error { return s.closed() }

func (s *Store) close() error {
	close(s.closing)
	<-s.written
	s.tokens.feed.close()
	s.mu.Lock()
	for _, h := range s.zones {
		h.feed.close()
	}
	s.mu.Unlock()
	return s.db.Close()
}

// ended is why work that takes long shall stop.
func (s *Store) ended(ctx context.Context) error {
	select {
	case <-s.closing:
		return store.ErrClosed
	default:
		return ctx.Err()
	}
}

// begin starts a read transaction. What it shows does not change until its
// Rollback.
func (s *Store) begin() (*bbolt.Tx, error) {
	tx, err := s.db.Begin(false)
	if errors.Is(err, bolterrors.ErrDatabaseNotOpen) {
		return nil, store.ErrClosed
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", store.ErrUnavailable, s.path, err)
	}
	return tx, nil
}

// view reads in one transaction.
func (s *Store) view(read func(tx *bbolt.Tx) error) error {
	tx, err := s.begin()
	if err != nil {
		return err
	}
	defer tx.Rollback()
	return s.guard(func() error { return read(tx) })
}

// inPlace refuses to write to a file that the next start would not find, for
// mv goes on with a file in use as if nothing were.
func (s *Store) inPlace() error {
	if isAt(s.path, s.file) {
		return nil
	}
	switch there, err := os.Stat(s.path); {
	case err != nil:
		return fmt.Errorf("the file in use is not in its place any more, put it back: %w", err)
	case !os.SameFile(there, s.file):
		return errors.New("another file is in the place of the one in use: put that back, or restart to use the new one")
	}
	return nil
}

// guard runs what reads the mapped file. bbolt panics on a page that it did not
// write, and a sector that cannot be read is a fault; neither shall end a
// server that can still answer from memory.
func (s *Store) guard(read func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			err = s.damaged(fmt.Errorf("%v", p))
		}
	}()
	return read()
}

// damaged is the error for content that this package did not write.
func (s *Store) damaged(err error) error {
	return fmt.Errorf("%w: %s is damaged, restore a backup: %w", store.ErrUnavailable, s.path, err)
}

// copying is a Writer that ends with an error of stop, and remembers its error.
type copying struct {
	to   io.Writer
	stop func() error
	err  error
}

func (c *copying) Write(p []byte) (n int, err error) {
	if c.err = c.stop(); c.err == nil {
		n, c.err = c.to.Write(p)
	}
	return n, c.err
}
