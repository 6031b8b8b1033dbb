package boltstore

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"time"

	"go.etcd.io/bbolt"

	"github.com/coredns-ddns/ddns/plugin/store"
	"github.com/coredns-ddns/ddns/plugin/zone"
)

// Snapshot yields the hosts of one moment.
func (h *hosts) Snapshot(ctx context.Context, yield func(zone.Host) error) (store.Position, error) {
	return snapshot(ctx, h.store, string(h.origin), keyHosts, h.host, yield)
}

// host reads an entry of the hosts bucket.
func (h *hosts) host(key, value []byte) (zone.Host, error) {
	st, _, err := parseHost(value)
	return zone.Host{Name: zone.Absolute(string(key), h.origin), State: st}, err
}

// snapshot yields what is in the bucket called entries of a log, in one read
// transaction. Updates go on meanwhile; the file grows by what they change
// until the snapshot is done.
func snapshot[T any](ctx context.Context, s *Store, log string, entries []byte, parse func(key, value []byte) (T, error), yield func(T) error) (store.Position, error) {
	tx, err := s.begin()
	if err != nil {
		return store.Position{}, err
	}
	defer tx.Rollback()
	var m meta
	var c *bbolt.Cursor
	batch := make([]T, 0, 256)
	// yield is the caller's code, so it runs outside guard.
	read := func() error {
		batch = batch[:0]
		var key, value []byte
		if c == nil {
			b, is, err := readMeta(s, tx, log)
			if err != nil {
				return err
			}
			m, c = is, b.Bucket(entries).Cursor()
			key, value = c.First()
		} else {
			key, value = c.Next()
		}
		for ; key != nil; key, value = c.Next() {
			t, err := parse(key, value)
			if err != nil {
				return s.damaged(fmt.Errorf("%s in %s: %w", key, log, err))
			}
			if batch = append(batch, t); len(batch) == cap(batch) {
				return nil
			}
		}
		return nil
	}
	for more := true; more; more = len(batch) == cap(batch) {
		if err := s.ended(ctx); err != nil {
			return store.Position{}, err
		}
		if err := s.guard(read); err != nil {
			return store.Position{}, err
		}
		for _, t := range batch {
			if err := yield(t); err != nil {
				return store.Position{}, err
			}
		}
	}
	return store.Position{Revision: m.revision, Serial: m.serial}, nil
}

// Follow yields each commit after a revision, from memory.
func (h *hosts) Follow(ctx context.Context, after zone.Revision) iter.Seq2[store.Commit[zone.Host], error] {
	return h.feed.follow(ctx, after)
}

// view reads the zone's bucket.
func (h *hosts) view(read func(b *bbolt.Bucket) error) error {
	return h.store.view(func(tx *bbolt.Tx) error {
		b := tx.Bucket([]byte(h.origin))
		if b == nil {
			return h.store.damaged(fmt.Errorf("%s is gone", h.origin))
		}
		return read(b)
	})
}

// Kept reads what is not part of a host's state, nil when there is no such
// host.
func (h *hosts) Kept(_ context.Context, name zone.Name) (*store.Kept, error) {
	if !name.Within(h.origin) {
		return nil, nil
	}
	var kept *store.Kept
	err := h.view(func(b *bbolt.Bucket) error {
		key := []byte(name.Relative(h.origin))
		v := b.Bucket(keyHosts).Get(key)
		if v == nil {
			return nil
		}
		_, seen, err := parseHost(v)
		kept = &store.Kept{Seen: time.Unix(seen, 0)}
		if v := b.Bucket(keySettings).Get(key); v != nil && err == nil {
			err = json.Unmarshal(v, &kept.Settings)
		}
		if err != nil {
			return h.store.damaged(fmt.Errorf("%s: %w", name, err))
		}
		return nil
	})
	return kept, err
}

// History lists a host's states, the current one first.
func (h *hosts) History(_ context.Context, name zone.Name) ([]store.Past, error) {
	if !name.Within(h.origin) {
		return nil, nil
	}
	var past []store.Past
	err := h.view(func(b *bbolt.Bucket) (err error) {
		past, err = store.ParseHistory(string(b.Bucket(keyHistory).Get([]byte(name.Relative(h.origin)))))
		if err != nil {
			return h.store.damaged(fmt.Errorf("history of %s: %w", name, err))
		}
		return nil
	})
	return past, err
}

// List yields hosts in the byte order of their relative names. The cursor is
// the last one listed.
func (h *hosts) List(_ context.Context, cursor string, limit int) ([]store.Listed, string, error) {
	if limit < 1 {
		return nil, "", fmt.Errorf("%w: limit %d of a list, want at least 1", store.ErrInvalid, limit)
	}
	var list []store.Listed
	next := ""
	err := h.view(func(b *bbolt.Bucket) error {
		c := b.Bucket(keyHosts).Cursor()
		key, value := c.Seek([]byte(cursor))
		if cursor != "" && string(key) == cursor {
			key, value = c.Next()
		}
		for ; key != nil; key, value = c.Next() {
			if len(list) == limit {
				next = list[limit-1].Name.Relative(h.origin)
				return nil
			}
			st, seen, err := parseHost(value)
			if err != nil {
				return h.store.damaged(fmt.Errorf("%s in %s: %w", key, h.origin, err))
			}
			host := zone.Host{Name: zone.Absolute(string(key), h.origin), State: st}
			list = append(list, store.Listed{Host: host, Seen: time.Unix(seen, 0)})
		}
		return nil
	})
	return list, next, err
}
