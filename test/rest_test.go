package test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/coredns-ddns/ddns/updateapi"
)

// call is one request to the REST API with token as Bearer.
func (n *node) call(t testing.TB, method, path, token, body string, headers ...string) reply {
	t.Helper()
	req, err := http.NewRequest(method, n.url(t)+"/api/v1"+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	r, err := n.do(req)
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	return r
}

// wantProblem checks an error of the API (RFC 9457).
func wantProblem(t testing.TB, what string, r reply, status int) updateapi.Problem {
	t.Helper()
	var p updateapi.Problem
	err := json.Unmarshal([]byte(r.body), &p)
	if r.status != status || err != nil || p.Status != status || p.Title == "" || p.Type == "" ||
		r.header.Get("Content-Type") != "application/problem+json" {
		t.Errorf("%s: %d %s %q, want %d and a problem that says so", what, r.status, r.header.Get("Content-Type"), r.body, status)
	}
	if (r.header.Get("WWW-Authenticate") == `Bearer realm="ddns"`) != (status == http.StatusUnauthorized) {
		t.Errorf("%s: %d with WWW-Authenticate %q", what, r.status, r.header.Get("WWW-Authenticate"))
	}
	return p
}

const homePath = "/hosts/home.dyn.example.org"

func TestHostsOverREST(t *testing.T) {
	t.Parallel()
	n := boot(t, proxied)
	token := n.token(t, "home.dyn.example.org")

	wantProblem(t, "GET of none", n.call(t, "GET", homePath, token, ""), 404)
	wantProblem(t, "history of none", n.call(t, "GET", homePath+"/history", token, ""), 404)
	wantProblem(t, "DELETE of none", n.call(t, "DELETE", homePath, token, ""), 404)
	wantProblem(t, "PUT on a condition of none", n.call(t, "PUT", homePath, token, `{}`, "If-Match", `"1"`), 412)
	wantProblem(t, "PUT on the condition that there is one", n.call(t, "PUT", homePath, token, `{}`, "If-Match", `*`), 412)

	r := n.call(t, "PUT", homePath, token, `{"a":"198.51.100.7","aaaa":"2001:db8::7","ttl":30,"wildcard":true,"note":"the house"}`, "If-Match", `"0"`)
	var host updateapi.Host
	if err := json.Unmarshal([]byte(r.body), &host); err != nil || r.status != 201 {
		t.Fatalf("PUT: %d %s", r.status, r.body)
	}
	if host.Seen.IsZero() || host.Revision == 0 || r.header.Get("ETag") != fmt.Sprintf(`"%d"`, host.Revision) {
		t.Errorf("PUT: ETag %s of %+v", r.header.Get("ETag"), host)
	}
	first := r.header.Get("ETag")
	want := updateapi.Host{Name: "home.dyn.example.org.", Zone: "dyn.example.org.", Revision: host.Revision, Seen: host.Seen,
		A: "198.51.100.7", AAAA: "2001:db8::7", TTL: 30, Wildcard: true, Note: "the house"}
	if host != want {
		t.Errorf("PUT answers %+v, want %+v", host, want)
	}
	if r := n.call(t, "GET", "/hosts/HOME.dyn.example.org.", token, ""); r.status != 200 || r.header.Get("ETag") != first || !strings.Contains(r.body, `"note":"the house"`) {
		t.Errorf("GET: %d %s", r.status, r.body)
	}
	wantProblem(t, "PUT of a new one that there is", n.call(t, "PUT", homePath, token, `{}`, "If-Match", `"0"`), 412)

	r = n.call(t, "PUT", homePath, token, `{"a":"198.51.100.8"}`, "If-Match", first)
	if r.status != 200 || r.header.Get("ETag") == first {
		t.Errorf("PUT: %d, ETag %s", r.status, r.header.Get("ETag"))
	}
	if got := n.addresses(t, "home.dyn.example.org"); !slices.Equal(got, []string{"198.51.100.8"}) {
		t.Errorf("DNS answers %v: what a PUT does not say is to go", got)
	}
	wantProblem(t, "PUT on an old condition", n.call(t, "PUT", homePath, token, `{}`, "If-Match", first), 412)
	wantProblem(t, "DELETE on an old condition", n.call(t, "DELETE", homePath, token, "", "If-Match", first), 412)
	if again := n.call(t, "PUT", homePath, token, `{"a":"198.51.100.8"}`); again.status != 200 || again.header.Get("ETag") != r.header.Get("ETag") {
		t.Errorf("PUT of the same: %d, ETag %s", again.status, again.header.Get("ETag"))
	}

	var history updateapi.History
	n.api(t, "GET", homePath+"/history", token, nil, 200, &history)
	if len(history.States) != 2 || history.States[0].A != "198.51.100.8" || history.States[1].A != "198.51.100.7" ||
		history.States[1].Token != token[5:11] || history.States[1].Client != "127.0.0.1" || history.States[1].Time.IsZero() {
		t.Errorf("history %+v", history)
	}
	for i := range 25 {
		n.call(t, "PUT", homePath, token, fmt.Sprintf(`{"a":"198.51.100.%d"}`, 100+i))
	}
	n.api(t, "GET", homePath+"/history", token, nil, 200, &history)
	if len(history.States) != 20 || history.States[0].A != "198.51.100.124" {
		t.Errorf("%d states in the history, want the last 20", len(history.States))
	}

	if r := n.call(t, "DELETE", homePath, token, ""); r.status != 204 || r.body != "" {
		t.Errorf("DELETE: %d %q", r.status, r.body)
	}
	wantProblem(t, "GET of a deleted one", n.call(t, "GET", homePath, token, ""), 404)
	if got := n.addresses(t, "home.dyn.example.org"); len(got) > 0 {
		t.Errorf("DNS answers %v for a deleted host", got)
	}
}

func TestRESTProblems(t *testing.T) {
	t.Parallel()
	n := boot(t, proxied)
	token, admin := n.token(t, "home.dyn.example.org"), n.adminToken(t)
	for _, c := range []struct {
		intent, method, path, token, body string
		status                            int
		allow                             string
	}{
		{"no such path", "GET", "/nothing", admin, "", 404, ""},
		{"no such path below one", "GET", homePath + "/nothing", admin, "", 404, ""},
		{"no such path without a token", "GET", "/nothing", "", "", 404, ""},
		{"the root", "GET", "/", "", "", 404, ""},
		{"no name", "GET", "/hosts/", token, "", 404, ""},
		{"a method that hosts lack", "PATCH", "/hosts", admin, "", 405, "GET, POST"},
		{"a method that a host lacks", "POST", homePath, token, "{}", 405, "DELETE, GET, PUT"},
		{"a method that tokens lack", "PUT", "/tokens", admin, "{}", 405, "GET, POST"},
		{"a method that whoami lacks", "DELETE", "/whoami", token, "", 405, "GET"},
		{"no token", "GET", homePath, "", "", 401, ""},
		{"a wrong token", "GET", homePath, "secret", "", 401, ""},
		{"a foreign host", "GET", "/hosts/next.dyn.example.org", token, "", 403, ""},
		{"a foreign host to be changed", "PUT", "/hosts/next.dyn.example.org", token, "{}", 403, ""},
		{"another zone", "PUT", "/hosts/home.example.com", admin, "{}", 403, ""},
		{"no host name", "GET", "/hosts/ho%20me", token, "", 422, ""},
		{"a slash in the name", "GET", "/hosts/home%2Fx.dyn.example.org", token, "", 422, ""},
		{"no JSON", "PUT", homePath, token, "a=198.51.100.7", 422, ""},
		{"no body", "PUT", homePath, token, "", 422, ""},
		{"null", "PUT", homePath, token, "null", 422, ""},
		{"an unknown field", "PUT", homePath, token, `{"a":"198.51.100.7","ip":"198.51.100.7"}`, 422, ""},
		{"two values", "PUT", homePath, token, `{"a":"198.51.100.7"}{}`, 422, ""},
		{"a wrong type", "PUT", homePath, token, `{"a":7}`, 422, ""},
		{"no address", "PUT", homePath, token, `{"a":"home"}`, 422, ""},
		{"the wrong family", "PUT", homePath, token, `{"a":"2001:db8::7"}`, 422, ""},
		{"a private address", "PUT", homePath, token, `{"a":"10.0.0.1"}`, 422, ""},
		{"a TTL too short", "PUT", homePath, token, `{"ttl":1}`, 422, ""},
		{"a TTL below zero", "PUT", homePath, token, `{"ttl":-1}`, 422, ""},
		{"a note too long", "PUT", homePath, token, `{"note":"` + strings.Repeat("x", 257) + `"}`, 422, ""},
		{"a body too large", "PUT", homePath, token, `{"note":"` + strings.Repeat("x", 70000) + `"}`, 413, ""},
		{"a limit that is none", "GET", "/hosts?limit=many", token, "", 422, ""},
		{"a limit too large", "GET", "/hosts?limit=1001", token, "", 422, ""},
		{"a cursor that is none", "GET", "/hosts?cursor=!", token, "", 422, ""},
		{"a cursor of no zone", "GET", "/hosts?cursor=eno", token, "", 422, ""},
		{"a cursor of no store", "GET", "/tokens?cursor=eno", admin, "", 422, ""},
		{"a zone that is no name", "GET", "/hosts?zone=!", admin, "", 422, ""},
		{"a device that mints", "POST", "/tokens", token, `{"names":["home.dyn.example.org"]}`, 403, ""},
		{"a device that lists tokens", "GET", "/tokens", token, "", 403, ""},
		{"a device that looks at its token", "GET", "/tokens/" + token[5:11], token, "", 403, ""},
		{"a device that rotates", "POST", "/tokens/" + token[5:11] + "/rotate", token, "", 403, ""},
		{"a device that revokes", "DELETE", "/tokens/" + token[5:11], token, "", 403, ""},
		{"a device that asks for the status", "GET", "/status", token, "", 403, ""},
		{"a device that backs up", "GET", "/backup", token, "", 403, ""},
		{"a device that imports", "POST", "/hosts", token, `{"hosts":[]}`, 403, ""},
		{"no such token", "GET", "/tokens/AAAAAA", admin, "", 404, ""},
		{"a token to be revoked that there is not", "DELETE", "/tokens/AAAAAA", admin, "", 404, ""},
		{"a token for nothing", "POST", "/tokens", admin, `{}`, 422, ""},
		{"a token for another zone", "POST", "/tokens", admin, `{"names":["home.example.com"]}`, 422, ""},
		{"a token for no name", "POST", "/tokens", admin, `{"names":["a.*.dyn.example.org"]}`, 422, ""},
		{"a token for TXT", "POST", "/tokens", admin, `{"names":["home.dyn.example.org"],"types":["TXT"]}`, 422, ""},
		{"a token that has expired", "POST", "/tokens", admin, `{"names":["home.dyn.example.org"],"expires":"2020-01-01T00:00:00Z"}`, 422, ""},
		{"a quota below zero", "POST", "/tokens", admin, `{"names":["home.dyn.example.org"],"quota":-1}`, 422, ""},
		{"a source that is none", "POST", "/tokens", admin, `{"names":["home.dyn.example.org"],"sources":["home"]}`, 422, ""},
		{"an overlap that is none", "POST", "/tokens/" + token[5:11] + "/rotate", admin, `{"overlap":"long"}`, 422, ""},
		{"an overlap too long", "POST", "/tokens/" + token[5:11] + "/rotate", admin, `{"overlap":"10000h"}`, 422, ""},
		{"an import with a host twice", "POST", "/hosts", admin, `{"hosts":[{"name":"x.dyn.example.org"},{"name":"X.dyn.example.org."}]}`, 422, ""},
		{"an import of another zone", "POST", "/hosts", admin, `{"hosts":[{"name":"x.dyn.example.org"},{"name":"x.example.com"}]}`, 403, ""},
	} {
		t.Run(c.intent, func(t *testing.T) {
			r := n.call(t, c.method, c.path, c.token, c.body)
			wantProblem(t, c.method+" "+c.path, r, c.status)
			if got := r.header.Get("Allow"); got != c.allow {
				t.Errorf("Allow %q, want %q", got, c.allow)
			}
		})
	}
	wantProblem(t, "an If-Match that is none", n.call(t, "PUT", homePath, token, `{}`, "If-Match", `"x"`), 422)
	n.api(t, "GET", "/hosts/x.dyn.example.org", admin, nil, 404, nil) // of imports that were refused
	n.api(t, "GET", homePath, admin, nil, 404, nil)
}

// The operator's token works in one place only.
func TestAdminTokenIsBearerOfTheAPI(t *testing.T) {
	t.Parallel()
	n := boot(t, proxied)
	admin := n.adminToken(t)
	n.url(t)
	for _, header := range []string{basic("admin", admin), "Token " + admin, admin} {
		wantProblem(t, strings.Fields(header)[0], n.call(t, "GET", "/status", "", "", "Authorization", header), 401)
	}
	wantProblem(t, "in the query", n.call(t, "GET", "/status?token="+admin, "", ""), 401)
	var who updateapi.Whoami
	n.api(t, "GET", "/whoami", admin, nil, 200, &who)
	if !who.Admin || who.Token != nil || who.Client != "127.0.0.1" || who.Remote != "127.0.0.1" {
		t.Errorf("whoami says %+v", who)
	}
}

func TestWhoami(t *testing.T) {
	t.Parallel()
	n := boot(t, proxied)
	made := n.mint(t, updateapi.TokenCreate{Names: []string{"home.dyn.example.org", "new.dyn.example.org", "*.lab.dyn.example.org"}})
	d := device{n: n, token: made.Secret, client: "203.0.113.9"}
	d.update(t, "hostname=home.dyn.example.org&myip=198.51.100.7&offline=YES")
	req := d.request(t, "GET", "/api/v1/whoami", "")
	var who updateapi.Whoami
	if r := d.send(t, req); r.status != 200 || json.Unmarshal([]byte(r.body), &who) != nil {
		t.Fatalf("%d %s", r.status, r.body)
	}
	if who.Admin || who.Client != "203.0.113.9" || who.Remote != "127.0.0.1" || who.Token == nil || who.Token.ID != made.ID || len(who.Hosts) != 2 {
		t.Fatalf("whoami says %+v", who)
	}
	if h := who.Hosts[0]; h.Name != "home.dyn.example.org." || h.Stored == nil || h.Stored.A != "198.51.100.7" || !h.Stored.Offline || len(h.DNS) != 0 {
		t.Errorf("whoami says %+v of a host that is offline", h)
	}
	if h := who.Hosts[1]; h.Name != "new.dyn.example.org." || h.Stored != nil {
		t.Errorf("whoami says %+v of a host that was never updated", h)
	}
}

// A backup is a database that a server starts with.
func TestBackupBoots(t *testing.T) {
	t.Parallel()
	n := boot(t, proxied)
	token := n.token(t, "home.dyn.example.org")
	n.api(t, "PUT", homePath, token, updateapi.HostPut{A: "198.51.100.7", Note: "the house"}, 201, nil)
	r := n.call(t, "GET", "/backup", n.adminToken(t), "")
	if r.status != 200 || r.header.Get("Content-Type") != "application/octet-stream" {
		t.Fatalf("%d %s", r.status, r.header.Get("Content-Type"))
	}
	n.api(t, "DELETE", homePath, token, nil, 204, nil)
	if bytes.Contains([]byte(r.body), []byte(token)) {
		t.Error("the backup holds a token's text")
	}

	restored := newNode(t, proxied)
	if err := os.WriteFile(restored.path("ddns.db"), []byte(r.body), 0o600); err != nil {
		t.Fatal(err)
	}
	restored.start(t)
	if got := restored.addresses(t, "home.dyn.example.org"); !slices.Equal(got, []string{"198.51.100.7"}) {
		t.Errorf("the copy's DNS answers %v", got)
	}
	var host updateapi.Host
	restored.api(t, "GET", homePath, token, nil, 200, &host)
	if host.Note != "the house" {
		t.Errorf("the copy has %+v", host)
	}
}
