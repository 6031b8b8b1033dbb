package boltstore

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"

	"go.etcd.io/bbolt"

	"github.com/coredns-ddns/ddns/plugin/store"
	"github.com/coredns-ddns/ddns/plugin/token"
	"github.com/coredns-ddns/ddns/plugin/zone"
)

// tokens is the part of a Store with the tokens.
type tokens struct {
	store *Store
	feed  *feed[token.Token]
}

func openTokens(s *Store) (*tokens, error) {
	t := &tokens{store: s}
	err := s.view(func(tx *bbolt.Tx) error {
		_, m, err := readMeta(s, tx, string(keyTokens))
		t.feed = newFeed[token.Token](m.revision)
		return err
	})
	return t, err
}

// Put makes or replaces a token.
func (t *tokens) Put(ctx context.Context, tok token.Token) (zone.Revision, error) {
	if tok.ID == "" {
		return 0, fmt.Errorf("%w: a token without an id", store.ErrInvalid)
	}
	return t.change(ctx, tok.ID, func(g *group, l *logGroup[token.Token], b *bbolt.Bucket, old []byte) (store.Change[token.Token], error) {
		var c store.Change[token.Token]
		var current token.Token
		if old != nil {
			var err error
			if current, err = parseToken([]byte(tok.ID), old); err != nil {
				return c, t.store.damaged(fmt.Errorf("token %s: %w", tok.ID, err))
			}
		}
		if current.Revision != tok.Revision {
			return c, store.ErrConflict
		}
		kept := tok
		kept.Revision = l.meta.revision + 1
		text, err := json.Marshal(kept)
		if err != nil {
			return c, fmt.Errorf("%w: token %s: %w", store.ErrInvalid, tok.ID, err)
		}
		// What followers get shares nothing with the caller, and is what the
		// next snapshot has.
		if c.Value, err = parseToken([]byte(tok.ID), text); err != nil {
			return c, fmt.Errorf("%w: token %s: %w", store.ErrInvalid, tok.ID, err)
		}
		g.put(b, []byte(tok.ID), text)
		return c, nil
	})
}

// Delete revokes a token, whatever its revision.
func (t *tokens) Delete(ctx context.Context, id token.ID) (zone.Revision, error) {
	return t.change(ctx, id, func(g *group, l *logGroup[token.Token], b *bbolt.Bucket, old []byte) (store.Change[token.Token], error) {
		if old == nil {
			return store.Change[token.Token]{}, fmt.Errorf("token %q: %w", id, store.ErrNotFound)
		}
		g.delete(b, []byte(id))
		gone := token.Token{ID: id, Revision: l.meta.revision + 1}
		return store.Change[token.Token]{Value: gone, Deleted: true}, nil
	})
}

// change commits what do makes of a token's old text, nil when there is none.
func (t *tokens) change(ctx context.Context, id token.ID, do func(*group, *logGroup[token.Token], *bbolt.Bucket, []byte) (store.Change[token.Token], error)) (zone.Revision, error) {
	revision := new(zone.Revision)
	err := t.store.do(ctx, func(g *group) error {
		l, err := openLog(g, string(keyTokens), t.feed)
		if err != nil {
			return err
		}
		b := l.bucket.Bucket(keyTokens)
		c, err := do(g, l, b, b.Get([]byte(id)))
		if err != nil {
			return err
		}
		*revision = l.commit([]store.Change[token.Token]{c}).Revision
		return nil
	})
	if err != nil {
		return 0, err // the writer may still be busy with *revision
	}
	return *revision, nil
}

// Snapshot yields the tokens of one moment.
func (t *tokens) Snapshot(ctx context.Context, yield func(token.Token) error) (store.Position, error) {
	return snapshot(ctx, t.store, string(keyTokens), keyTokens, parseToken, yield)
}

// Follow yields each commit after a revision, from memory.
func (t *tokens) Follow(ctx context.Context, after zone.Revision) iter.Seq2[store.Commit[token.Token], error] {
	return t.feed.follow(ctx, after)
}
