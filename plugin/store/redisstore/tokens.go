package redisstore

import (
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/coredns-ddns/ddns/plugin/store"
	"github.com/coredns-ddns/ddns/plugin/token"
	"github.com/coredns-ddns/ddns/plugin/zone"
)

//go:embed tokens.lua
var tokensLua string

var tokensScript = redis.NewScript(logLua + tokensLua)

// tokens is the part of a Store with the tokens.
type tokens struct{ log[token.Token] }

func newTokens(s *Store) *tokens {
	t := &tokens{}
	t.store, t.tag, t.kind, t.parse = s, Tokens, "tokens", parseToken
	t.gone = func(id string, r zone.Revision) token.Token { return token.Token{ID: token.ID(id), Revision: r} }
	return t
}

// parseToken reads a field of a bucket: the revision that the script stamped,
// and the JSON, in which it is 0.
func parseToken(id, value string) (token.Token, error) {
	var t token.Token
	revision, text, _ := strings.Cut(value, " ")
	n, err := strconv.ParseUint(revision, 10, 64)
	if err != nil {
		return t, err
	}
	err = json.Unmarshal([]byte(text), &t)
	t.ID, t.Revision = token.ID(id), zone.Revision(n)
	return t, err
}

// Put makes or replaces a token.
func (t *tokens) Put(ctx context.Context, tok token.Token) (zone.Revision, error) {
	if tok.ID == "" || strings.ContainsAny(string(tok.ID), " \n") {
		return 0, fmt.Errorf("%w: token id %q, want one of a word", store.ErrInvalid, tok.ID)
	}
	from := strconv.FormatUint(uint64(tok.Revision), 10)
	tok.Revision = 0
	text, err := json.Marshal(tok)
	if err == nil {
		_, err = parseToken(string(tok.ID), from+" "+string(text))
	}
	if err != nil {
		return 0, fmt.Errorf("%w: token %s: %w", store.ErrInvalid, tok.ID, err)
	}
	return t.change(ctx, tok.ID, from, string(text))
}

// Delete revokes a token, whatever its revision.
func (t *tokens) Delete(ctx context.Context, id token.ID) (zone.Revision, error) {
	return t.change(ctx, id, "", "")
}

// change commits one token: text "" deletes it, from "" is any revision.
func (t *tokens) change(ctx context.Context, id token.ID, from, text string) (zone.Revision, error) {
	b := bucket(string(id))
	keys := []string{t.bucketKey("tokens", b)}
	args := []any{bucketName(b), string(id), from, text}
	var r store.Receipt
	err := t.write(ctx, tokensScript, keys, 0, args, func(answer []string, nonce string, doubtful bool) (err error) {
		switch answer[0] {
		case "missing":
			return fmt.Errorf("token %q: %w", id, store.ErrNotFound)
		case "conflict":
			// It may be our own earlier try that was there first.
			revision, there, _ := strings.Cut(answer[2], " ")
			if !doubtful || there != text {
				return store.ErrConflict
			}
			answer = []string{done, revision, "0", "0"}
			nonce = ""
		}
		if r, err = receipt(answer); err == nil && nonce != "" {
			t.chain.note(r.Revision, nonce)
		}
		return err
	})
	return r.Revision, err
}
