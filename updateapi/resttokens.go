package updateapi

import (
	"context"
	"net/http"
	"time"

	"github.com/coredns-ddns/ddns/plugin/event"
	"github.com/coredns-ddns/ddns/plugin/store"
	"github.com/coredns-ddns/ddns/plugin/token"
	"github.com/coredns-ddns/ddns/plugin/zone"
)

// maxOverlap bounds how long an old secret works after a rotation.
const maxOverlap = 30 * 24 * time.Hour

func tokenOut(t *token.Token) Token {
	out := Token{ID: string(t.ID), Created: t.Created, TokenCreate: TokenCreate{
		Types: t.Types, Quota: t.Quota, Sources: t.Sources, Expires: t.Expires, Note: t.Note,
	}}
	if t.Until.After(time.Now()) {
		out.PreviousUntil = t.Until
	}
	for _, p := range t.Names {
		out.Names = append(out.Names, string(p))
	}
	return out
}

// grant decodes what a new token may do, and finds the realm it is for.
func (s *Server) grant(in *TokenCreate) (*Realm, token.Grant, error) {
	g := token.Grant{Types: in.Types, Quota: in.Quota, Sources: in.Sources, Expires: in.Expires}
	var realm *Realm
	for _, text := range in.Names {
		p, err := token.ParsePattern(text)
		if err != nil {
			return nil, g, badInput("%v", err)
		}
		r, z := s.zone(zone.Name(p))
		switch {
		case z == nil:
			return nil, g, badInput("%s lies in no zone of this server", p)
		case realm != nil && r != realm:
			return nil, g, badInput("%s is kept in another store than the names before it: make a token for each store", p)
		}
		realm = r
		g.Names = append(g.Names, p)
	}
	g.Names = token.Distinct(g.Names)
	switch {
	case len(g.Names) == 0:
		return nil, g, badInput("names is empty, at least one owner name or *.NAME is wanted")
	case len(g.Names) > 1000:
		return nil, g, badInput("%d names, at most 1000 are wanted", len(g.Names))
	case in.Quota < 0:
		return nil, g, badInput("quota is %d, 0 (none) or more is wanted", in.Quota)
	case !in.Expires.IsZero() && !in.Expires.After(time.Now()):
		return nil, g, badInput("expires is %v, which is past", in.Expires)
	case len(in.Note) > 256:
		return nil, g, badInput("the note has %d octets, at most 256 are wanted", len(in.Note))
	}
	for _, t := range in.Types {
		if t != "A" && t != "AAAA" {
			return nil, g, badInput("type %.20q, A or AAAA is wanted", t)
		}
	}
	for i, p := range g.Sources {
		if !p.IsValid() || p != p.Masked() || p.Addr().Is4In6() {
			return nil, g, badInput("source %v: a prefix such as 192.0.2.0/24 or 2001:db8::/32 is wanted", in.Sources[i])
		}
	}
	return realm, g, nil
}

func (s *Server) createToken(c *caller, w http.ResponseWriter, r *http.Request) (any, error) {
	var in TokenCreate
	if err := readJSON(r, &in); err != nil {
		return nil, err
	}
	realm, grant, err := s.grant(&in)
	if err != nil {
		return nil, err
	}
	text, secret := token.Mint()
	t := token.Token{ID: secret.ID, Hash: secret.Hash, Created: time.Now().UTC().Truncate(time.Second), Note: in.Note, Grant: grant}
	if err := s.keep(r.Context(), realm, t); err != nil {
		return nil, err
	}
	s.emit(c, event.Event{Kind: event.Minted, Subject: t.ID})
	return created{TokenSecret{Token: tokenOut(&t), Secret: text}}, nil
}

// keep puts a token into its store and waits until this node knows it.
func (s *Server) keep(ctx context.Context, realm *Realm, t token.Token) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), updateDeadline)
	defer cancel()
	rev, err := realm.Tokens.Put(ctx, t)
	if err != nil {
		return err
	}
	return known(ctx, realm, rev)
}

func known(ctx context.Context, realm *Realm, rev zone.Revision) error {
	if realm.Known.Wait(ctx, rev) != nil {
		return store.ErrUnavailable
	}
	return nil
}

// find looks a token up by the id in r's path.
func (s *Server) find(r *http.Request) (*Realm, *token.Token, error) {
	id := token.ID(r.PathValue("id"))
	for _, realm := range s.Realms {
		if !realm.Known.Ready() {
			return nil, nil, errNotReady
		}
		if t := realm.Known.Get(id); t != nil {
			return realm, t, nil
		}
	}
	return nil, nil, store.ErrNotFound
}

func (s *Server) getToken(c *caller, w http.ResponseWriter, r *http.Request) (any, error) {
	_, t, err := s.find(r)
	if err != nil {
		return nil, err
	}
	return tokenOut(t), nil
}

func (s *Server) rotateToken(c *caller, w http.ResponseWriter, r *http.Request) (any, error) {
	var in TokenRotate
	if r.ContentLength != 0 {
		if err := readJSON(r, &in); err != nil {
			return nil, err
		}
	}
	var overlap time.Duration
	if in.Overlap != "" {
		var err error
		if overlap, err = time.ParseDuration(in.Overlap); err != nil || overlap < 0 || overlap > maxOverlap {
			return nil, badInput("overlap is %.20q, a duration of 0s to %v is wanted", in.Overlap, maxOverlap)
		}
	}
	realm, t, err := s.find(r)
	if err != nil {
		return nil, err
	}
	text, secret := token.MintFor(t.ID)
	t.Previous, t.Until = token.Hash{}, time.Time{}
	if overlap > 0 {
		t.Previous, t.Until = t.Hash, time.Now().Add(overlap).UTC().Truncate(time.Second)
	}
	t.Hash = secret.Hash
	if err := s.keep(r.Context(), realm, *t); err != nil {
		return nil, err
	}
	s.emit(c, event.Event{Kind: event.Rotated, Subject: t.ID})
	return TokenSecret{Token: tokenOut(t), Secret: text}, nil
}

func (s *Server) revokeToken(c *caller, w http.ResponseWriter, r *http.Request) (any, error) {
	_, t, err := s.find(r)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), updateDeadline)
	defer cancel()
	for _, realm := range s.Realms { // a copy of a store has the same tokens
		if realm.Known.Get(t.ID) == nil {
			continue
		}
		rev, err := realm.Tokens.Delete(ctx, t.ID)
		if err != nil {
			return nil, err
		}
		if err := known(ctx, realm, rev); err != nil {
			return nil, err
		}
	}
	s.emit(c, event.Event{Kind: event.Revoked, Subject: t.ID})
	w.WriteHeader(http.StatusNoContent)
	return nil, nil
}

// listTokens pages through the tokens of all stores, a store after the other.
func (s *Server) listTokens(c *caller, w http.ResponseWriter, r *http.Request) (any, error) {
	cursor, limit, err := page(r)
	if err != nil {
		return nil, err
	}
	realmName, after, err := decodeCursor(cursor)
	if err != nil {
		return nil, err
	}
	out := TokenList{Tokens: []Token{}}
	started := cursor == ""
	for _, realm := range s.Realms {
		if !started && realm.Name != string(realmName) {
			continue
		}
		if !realm.Known.Ready() {
			return nil, errNotReady
		}
		started = true
		for _, id := range realm.Known.List(token.ID(after), limit-len(out.Tokens)) {
			if t := realm.Known.Get(id); t != nil {
				out.Tokens = append(out.Tokens, tokenOut(t))
			}
			after = string(id)
		}
		if len(out.Tokens) >= limit {
			out.Cursor = encodeCursor(zone.Name(realm.Name), after)
			break
		}
		after = ""
	}
	if !started {
		return nil, errCursor
	}
	return out, nil
}
