package replica

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"slices"
	"sync"
	"time"

	"github.com/coredns-ddns/ddns/plugin/store"
	"github.com/coredns-ddns/ddns/plugin/token"
	"github.com/coredns-ddns/ddns/plugin/zone"
)

// Tokens is a node's copy of the tokens. Their memory holds no pointers, so
// that millions of them are no work for the garbage collector.
type Tokens struct {
	follower follower[token.Token]

	mu    sync.RWMutex
	table *tokenTable
}

// FollowTokens starts to copy tokens and goes on until Close. told hears why they
// cannot be followed, and nil when they can again.
func FollowTokens(tokens store.Log[token.Token], told func(error)) *Tokens {
	t := &Tokens{table: newTokenTable()}
	t.follower.start(tokens, t, told)
	return t
}

// Get is the token with that id, nil when there is none.
func (t *Tokens) Get(id token.ID) *token.Token {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.table.get(id)
}

// Verified is the token that s is a secret of at now, nil when there is none or
// it has expired. Until the secret is found to be right it takes the same time
// whatever is known.
func (t *Tokens) Verified(s token.Secret, now time.Time) *token.Token {
	t.mu.RLock()
	defer t.mu.RUnlock()
	head := t.table.head(s.ID)
	if !head.Accepts(s, now) {
		return nil
	}
	if tok := t.table.get(s.ID); tok.Verify(s, now) {
		return tok
	}
	return nil
}

// Len is how many tokens there are.
func (t *Tokens) Len() int {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return len(t.table.at)
}

// List is the IDs after the one given ("" is the start), in order, at most
// limit.
func (t *Tokens) List(after token.ID, limit int) []token.ID {
	t.mu.RLock()
	ids := make([]token.ID, 0, len(t.table.at))
	for id := range t.table.at {
		if s := token.ID(id[:]); s > after {
			ids = append(ids, s)
		}
	}
	t.mu.RUnlock()
	slices.Sort(ids)
	return ids[:min(limit, len(ids))]
}

// Wait returns nil once every reader sees revision r, or ctx's error.
func (t *Tokens) Wait(ctx context.Context, r zone.Revision) error { return t.follower.wait(ctx, r) }

// Ready says whether the tokens have been loaded.
func (t *Tokens) Ready() bool { return t.follower.isReady() }

// Revision is the revision applied last.
func (t *Tokens) Revision() zone.Revision { return t.follower.revision() }

// Lag is for how long the copy may have been behind its store at now, 0 while
// it follows, and why.
func (t *Tokens) Lag(now time.Time) (time.Duration, error) { return t.follower.lag(now) }

// Close stops following.
func (t *Tokens) Close() { t.follower.close() }

func (t *Tokens) fresh() (copying[token.Token], func(store.Position)) {
	table := newTokenTable()
	return table, func(store.Position) {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.table = table
	}
}

func (t *Tokens) apply(c store.Commit[token.Token]) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.table.apply(c)
}

func (t *tokenTable) load(tok token.Token) error {
	t.set(tok)
	return nil
}

func (t *tokenTable) apply(c store.Commit[token.Token]) {
	for _, change := range c.Changes {
		switch old := t.get(change.Value.ID); {
		case old != nil && old.Revision > change.Value.Revision: // the snapshot was newer
		case change.Deleted:
			t.delete(change.Value.ID)
		default:
			t.set(change.Value)
		}
	}
}

// tokenTable keeps tokens one after the other: what it takes to verify a secret,
// then the rest as JSON. What is replaced or deleted leaves a hole; when half is
// holes the rest moves together.
type tokenTable struct {
	at    map[tokenKey]span
	text  []byte
	holes int
}

type (
	tokenKey [6]byte // an ID; a shorter one is padded with zeros
	span     struct{ from, to uint32 }
)

func newTokenTable() *tokenTable { return &tokenTable{at: make(map[tokenKey]span)} }

func keyOf(id token.ID) (k tokenKey) {
	copy(k[:], id)
	return k
}

const (
	hashLen = len(token.Hash{})
	headLen = 2*hashLen + 8
)

// head is as much of a token as verifies a secret, the zero Token when there is
// none of that id.
func (t *tokenTable) head(id token.ID) (tok token.Token) {
	s, ok := t.at[keyOf(id)]
	if !ok {
		return token.Token{}
	}
	b := t.text[s.from:]
	copy(tok.Hash[:], b)
	copy(tok.Previous[:], b[hashLen:])
	if until := int64(binary.BigEndian.Uint64(b[2*hashLen:])); until != 0 {
		tok.Until = time.Unix(until, 0).UTC()
	}
	return tok
}

func (t *tokenTable) get(id token.ID) *token.Token {
	s, ok := t.at[keyOf(id)]
	if !ok || !id.Plain() {
		return nil
	}
	tok := t.head(id)
	tok.ID = id
	if err := json.Unmarshal(t.text[int(s.from)+headLen:s.to], &tok); err != nil {
		return nil // set wrote it
	}
	return &tok
}

func (t *tokenTable) set(tok token.Token) {
	head := make([]byte, 0, headLen)
	head = append(append(head, tok.Hash[:]...), tok.Previous[:]...)
	var until int64
	if !tok.Until.IsZero() {
		until = tok.Until.Unix()
	}
	head = binary.BigEndian.AppendUint64(head, uint64(until))
	tok.Hash, tok.Previous, tok.Until = token.Hash{}, token.Hash{}, time.Time{}
	text, err := json.Marshal(tok)
	if err != nil {
		return // a token came out of JSON and goes back
	}
	t.delete(tok.ID)
	from := len(t.text)
	t.text = append(append(t.text, head...), text...)
	t.at[keyOf(tok.ID)] = span{uint32(from), uint32(len(t.text))}
}

func (t *tokenTable) delete(id token.ID) {
	key := keyOf(id)
	s, ok := t.at[key]
	if !ok {
		return
	}
	delete(t.at, key)
	t.holes += int(s.to - s.from)
	if t.holes > len(t.text)/2 {
		t.compact()
	}
}

func (t *tokenTable) compact() {
	text := make([]byte, 0, len(t.text)-t.holes)
	for key, s := range t.at {
		from := len(text)
		text = append(text, t.text[s.from:s.to]...)
		t.at[key] = span{uint32(from), uint32(len(text))}
	}
	t.text, t.holes = text, 0
}
