package storetest

import (
	"errors"
	"net/netip"
	"reflect"
	"testing"
	"time"

	"github.com/coredns-ddns/ddns/plugin/store"
	"github.com/coredns-ddns/ddns/plugin/token"
	"github.com/coredns-ddns/ddns/plugin/zone"
)

// tokensOf is the tokens of a store.
func tokensOf(t *testing.T, s store.Store) store.Tokens {
	t.Helper()
	k, err := s.Tokens(t.Context())
	if err != nil {
		t.Fatalf("Tokens: %v", err)
	}
	return k
}

// minted is a token with everything that a token can have.
func minted(id token.ID) token.Token {
	at := time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC)
	return token.Token{
		ID: id, Hash: token.Hash{1, 2, 31: 3}, Previous: token.Hash{4, 31: 5}, Until: at.Add(time.Hour),
		Created: at, Note: "größer\n<&>", Grant: token.Grant{
			Names: []token.Pattern{"home.dyn.example.org.", "*.lab.dyn.example.org."}, Types: []string{"AAAA"}, Quota: 7,
			Sources: []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24"), netip.MustParsePrefix("2001:db8::/32")},
			Expires: at.Add(24 * time.Hour),
		},
	}
}

func allTokens(t *testing.T, k store.Tokens) (map[token.ID]token.Token, store.Position) {
	t.Helper()
	all := map[token.ID]token.Token{}
	p, err := k.Snapshot(t.Context(), func(tok token.Token) error {
		all[tok.ID] = tok
		return nil
	})
	if err != nil {
		t.Fatalf("Snapshot: %v", err)
	}
	return all, p
}

func (m mediumFunc) tokens(t *testing.T) {
	put := func(t *testing.T, k store.Tokens, tok token.Token) token.Token {
		t.Helper()
		var err error
		if tok.Revision, err = k.Put(t.Context(), tok); err != nil {
			t.Fatalf("Put(%s): %v", tok.ID, err)
		}
		return tok
	}
	t.Run("come back as they were put and are followed", func(t *testing.T) {
		k := tokensOf(t, m.store(t))
		none, p := allTokens(t, k)
		if len(none) != 0 || p.Revision != 0 {
			t.Errorf("a new store has %v at %v", none, p)
		}
		f := startFollow(t, k, 0)
		full := put(t, k, minted("aaaaaa"))
		bare := put(t, k, token.Token{ID: "bbbbbb", Created: full.Created, Grant: token.Grant{Names: []token.Pattern{"x.dyn.example.org."}}})
		all, p := allTokens(t, k)
		if len(all) != 2 || p.Revision != bare.Revision || bare.Revision != full.Revision+1 {
			t.Errorf("%d tokens at %v, want 2 at %d", len(all), p, bare.Revision)
		}
		for _, want := range []token.Token{full, bare} {
			if got := all[want.ID]; !reflect.DeepEqual(got, want) {
				t.Errorf("token %+v, want %+v", got, want)
			}
			c := f.next(t)
			if c.Revision != want.Revision || len(c.Changes) != 1 || c.Changes[0].Deleted || !reflect.DeepEqual(c.Changes[0].Value, want) {
				t.Errorf("commit %+v, want %+v", c, want)
			}
		}
	})
	t.Run("are replaced only from their current revision", func(t *testing.T) {
		k := tokensOf(t, m.store(t))
		first := put(t, k, minted("aaaaaa"))
		second := first
		second.Note = "replaced"
		second = put(t, k, second)
		for why, stale := range map[string]token.Token{"stale": first, "made twice": minted("aaaaaa"), "absent": {ID: "cccccc", Revision: second.Revision}} {
			if _, err := k.Put(t.Context(), stale); !errors.Is(err, store.ErrConflict) {
				t.Errorf("%s: %v, want ErrConflict", why, err)
			}
		}
		if all, p := allTokens(t, k); len(all) != 1 || !reflect.DeepEqual(all["aaaaaa"], second) || p.Revision != second.Revision {
			t.Errorf("tokens %+v at %v, want %+v", all, p, second)
		}
		if _, err := k.Put(t.Context(), token.Token{}); !errors.Is(err, store.ErrInvalid) {
			t.Errorf("a token without an id: %v, want ErrInvalid", err)
		}
	})
	t.Run("are deleted whatever their revision", func(t *testing.T) {
		k := tokensOf(t, m.store(t))
		tok := put(t, k, put(t, k, minted("aaaaaa")))
		f := startFollow(t, k, tok.Revision)
		revision, err := k.Delete(t.Context(), "aaaaaa")
		if err != nil || revision != tok.Revision+1 {
			t.Fatalf("Delete: %d, %v", revision, err)
		}
		c := f.next(t)
		if c.Revision != revision || len(c.Changes) != 1 || !c.Changes[0].Deleted || c.Changes[0].Value.ID != "aaaaaa" || c.Changes[0].Value.Revision != revision {
			t.Errorf("commit %+v", c)
		}
		if _, err := k.Delete(t.Context(), "aaaaaa"); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("deleted twice: %v, want ErrNotFound", err)
		}
		if all, p := allTokens(t, k); len(all) != 0 || p.Revision != revision {
			t.Errorf("tokens %v at %v, want none", all, p)
		}
		put(t, k, minted("aaaaaa"))
	})
	t.Run("share nothing with their writer and the zones", func(t *testing.T) {
		s := m.store(t)
		k := tokensOf(t, s)
		must(t, zoneOf(t, s, origin), store.Write{Host: zone.Host{Name: origin, State: state(0, 1)}})
		tok := put(t, k, minted("aaaaaa"))
		tok.Names[0] = "changed."
		f := startFollow(t, k, 0)
		if c := f.next(t); c.Revision != 1 || c.Changes[0].Value.Names[0] == "changed." {
			t.Errorf("commit %+v", c)
		}
	})
	t.Run("a revision that was never there is a gap", func(t *testing.T) {
		if err := startFollow(t, tokensOf(t, m.store(t)), 9).ended(t); !errors.Is(err, store.ErrGap) {
			t.Errorf("%v, want ErrGap", err)
		}
	})
}
