package test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/coredns-ddns/ddns/updateapi"
)

func TestTokensOverREST(t *testing.T) {
	t.Parallel()
	n := boot(t, proxied)
	admin := n.adminToken(t)
	expires := time.Now().Add(24 * time.Hour).UTC().Truncate(time.Second)
	made := n.mint(t, updateapi.TokenCreate{Names: []string{"Home.dyn.example.org", "*.lab.dyn.example.org"}, Types: []string{"A"}, Quota: 5,
		Sources: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, Expires: expires, Note: "the house"})
	if len(made.Secret) != 40 || made.ID != made.Secret[5:11] || made.Created.IsZero() {
		t.Errorf("made %+v", made.Token)
	}
	r := n.call(t, "GET", "/tokens/"+made.ID, admin, "")
	want := fmt.Sprintf(`{"id":%q,"created":%q,"names":["home.dyn.example.org.","*.lab.dyn.example.org."],"types":["A"],"quota":5,"sources":["127.0.0.0/8"],"expires":%q,"note":"the house"}`+"\n",
		made.ID, made.Created.Format(time.RFC3339), expires.Format(time.RFC3339))
	if r.status != 200 || r.body != want {
		t.Errorf("GET: %d %s, want %s", r.status, r.body, want)
	}

	ids := []string{made.ID}
	for range 6 {
		ids = append(ids, n.token(t, "home.dyn.example.org")[5:11])
	}
	var listed []string
	for cursor, pages := "", 0; pages == 0 || cursor != ""; pages++ {
		var page updateapi.TokenList
		n.api(t, "GET", "/tokens?limit=3&cursor="+cursor, admin, nil, 200, &page)
		if len(page.Tokens) > 3 || pages > 10 {
			t.Fatalf("page %d has %d tokens", pages, len(page.Tokens))
		}
		for _, token := range page.Tokens {
			listed = append(listed, token.ID)
		}
		cursor = page.Cursor
	}
	slices.Sort(ids)
	if slices.Sort(listed); !slices.Equal(listed, ids) {
		t.Errorf("listed %v, want %v", listed, ids)
	}

	n.api(t, "DELETE", "/tokens/"+made.ID, admin, nil, 204, nil)
	n.api(t, "GET", "/tokens/"+made.ID, admin, nil, 404, nil)
	wantProblem(t, "a revoked token", n.call(t, "GET", "/whoami", made.Secret, ""), 401)
	if r := n.get(t, made.Secret, "/nic/update?hostname=home.dyn.example.org&myip=198.51.100.7"); r.status != 401 || r.body != "badauth\n" {
		t.Errorf("a revoked token: %d %q", r.status, r.body)
	}
}

func TestRotation(t *testing.T) {
	t.Parallel()
	n := boot(t, proxied)
	admin := n.adminToken(t)
	works := func(token string) bool {
		t.Helper()
		r := n.get(t, token, "/nic/update?hostname=home.dyn.example.org&myip=198.51.100.7")
		if r.status != 200 && r.status != 401 {
			t.Errorf("%d %q", r.status, r.body)
		}
		return r.status == 200
	}
	rotate := func(id, body string) updateapi.TokenSecret {
		t.Helper()
		var made updateapi.TokenSecret
		if r := n.call(t, "POST", "/tokens/"+id+"/rotate", admin, body); r.status != 200 || json.Unmarshal([]byte(r.body), &made) != nil {
			t.Fatalf("rotate: %d %s", r.status, r.body)
		}
		n.keepSecret(made.Secret)
		return made
	}
	first := n.token(t, "home.dyn.example.org")
	id := first[5:11]

	second := rotate(id, `{"overlap":"1h"}`)
	if second.ID != id || second.Secret == first || second.PreviousUntil.IsZero() {
		t.Errorf("rotated %+v", second.Token)
	}
	if !works(first) || !works(second.Secret) {
		t.Error("within the overlap one of the secrets does not work")
	}
	third := rotate(id, "")
	if works(first) || works(second.Secret) || !works(third.Secret) {
		t.Error("without an overlap an old secret works, or the new one does not")
	}
	fourth := rotate(id, `{"overlap":"2s"}`)
	n.await(t, "end of the overlap", func() bool { return !works(third.Secret) })
	if now := time.Now(); now.Before(fourth.PreviousUntil) || !works(fourth.Secret) {
		t.Errorf("the old secret ended at %v, before %v, or the new one does not work", now, fourth.PreviousUntil)
	}
	n.restart(t)
	if works(third.Secret) || !works(fourth.Secret) {
		t.Error("a restart changed which secret works")
	}
}

// Rotations that race leave a secret that one of the callers knows.
func TestRotationsRace(t *testing.T) {
	t.Parallel()
	n := boot(t, proxied)
	admin := n.adminToken(t)
	id := n.token(t, "home.dyn.example.org")[5:11]
	replies := make(chan reply, 12)
	var all sync.WaitGroup
	for range cap(replies) {
		all.Go(func() {
			req, _ := http.NewRequest("POST", n.url(t)+"/api/v1/tokens/"+id+"/rotate", nil)
			req.Header.Set("Authorization", "Bearer "+admin)
			if r, err := n.do(req); err != nil {
				t.Error(err)
			} else {
				replies <- r
			}
		})
	}
	all.Wait()
	close(replies)
	works := 0
	for r := range replies {
		var made updateapi.TokenSecret
		switch {
		case r.status == 409:
			wantProblem(t, "a rotation that came second", r, 409)
		case r.status != 200 || json.Unmarshal([]byte(r.body), &made) != nil:
			t.Errorf("%d %s", r.status, r.body)
		default:
			n.keepSecret(made.Secret)
			if n.call(t, "GET", "/whoami", made.Secret, "").status == 200 {
				works++
			}
		}
	}
	if works != 1 {
		t.Errorf("%d of the new secrets work, want 1", works)
	}
}
