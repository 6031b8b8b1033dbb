package test

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/coredns-ddns/ddns/updateapi"
)

// Two listeners, each with a zone whose name server lies in the other's.
const crossed = `dyn.example.org:{{dns}} {
	bind 127.0.0.1
	ready 127.0.0.1:{{ready}}
	ddns {
		database {{dir}}/ddns.db
		ns ns1.two.example.org
		update 127.0.0.1:{{https}} update.two.example.org
		tls internal
		admin_token {{dir}}/admin.token
	}
}

two.example.org:{{dns}} {
	bind 127.0.0.1
	ddns {
		database {{dir}}/ddns.db
		ns ns.example.net
		update 127.0.0.1:{{second}}
		tls internal
		admin_token {{dir}}/admin.token
	}
}
`

func TestReservedNamesAreReservedOnEveryListener(t *testing.T) {
	t.Parallel()
	n := boot(t, crossed)
	second := n.at("dns", "second")
	all := second.mint(t, updateapi.TokenCreate{Names: []string{"*.two.example.org"}}).Secret
	for _, name := range []string{"ns1", "x.ns1", "update", "_acme-challenge.update"} {
		if r := second.get(t, all, "/nic/update?myip=198.51.100.7&hostname="+name+".two.example.org"); r.body != "nohost\n" {
			t.Errorf("%s: %q", name, r.body)
		}
	}
	if r := second.get(t, all, "/nic/update?myip=198.51.100.7&hostname=other.two.example.org"); r.body != "good 198.51.100.7\n" {
		t.Errorf("%q", r.body)
	}
}

// A device may be slow to say what it wants; by then its token counts.
func TestATokenRevokedAmidARequestIsRevoked(t *testing.T) {
	t.Parallel()
	n := boot(t, proxied)
	made := n.mint(t, updateapi.TokenCreate{Names: []string{"home.dyn.example.org"}})
	body, more := io.Pipe()
	req, err := http.NewRequest(http.MethodPut, n.url(t)+"/api/v1/hosts/home.dyn.example.org", body)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+made.Secret)
	done := make(chan reply)
	go func() {
		r, _ := n.do(req)
		done <- r
	}()
	_, _ = io.WriteString(more, `{"a":"198.51.100.7"`) // returns when the server reads it
	n.api(t, http.MethodDelete, "/tokens/"+made.ID, n.adminToken(t), nil, http.StatusNoContent, nil)
	_, _ = io.WriteString(more, "}")
	more.Close()
	if r := <-done; r.status != http.StatusUnauthorized {
		t.Errorf("%d %s", r.status, r.body)
	}
	if got := n.addresses(t, "home.dyn.example.org"); len(got) > 0 {
		t.Errorf("DNS answers %v", got)
	}
}

func TestCursorsTellNothing(t *testing.T) {
	t.Parallel()
	n := boot(t, proxied)
	n.set(t, "alice.dyn.example.org", updateapi.HostPut{A: "198.51.100.1"})
	n.set(t, "zoe.lab.dyn.example.org", updateapi.HostPut{A: "198.51.100.2"})
	mine := n.token(t, "*.lab.dyn.example.org")
	var seen []string
	for cursor := ""; ; {
		var page updateapi.HostList
		n.api(t, http.MethodGet, "/hosts?limit=1&cursor="+cursor, mine, nil, http.StatusOK, &page)
		for _, h := range page.Hosts {
			seen = append(seen, h.Name)
		}
		if cursor = page.Cursor; cursor == "" {
			break
		}
		if text, _ := base64.RawURLEncoding.DecodeString(cursor); strings.Contains(string(text), "alice") {
			t.Fatalf("the cursor says %q", text)
		}
	}
	if !slices.Equal(seen, []string{"zoe.lab.dyn.example.org."}) {
		t.Errorf("the device sees %v", seen)
	}
	wantProblem(t, "a cursor of somebody else's make", n.call(t, "GET", "/hosts?cursor="+base64.RawURLEncoding.EncodeToString([]byte("c=a&z=dyn.example.org.")), mine, ""), 422)
}

func TestATokenForOneFamilyDoesNotSpeakForTheOther(t *testing.T) {
	t.Parallel()
	n := boot(t, proxied)
	n.set(t, "both.dyn.example.org", updateapi.HostPut{A: "198.51.100.1", AAAA: "2001:db8::1", Offline: true})
	n.set(t, "four.dyn.example.org", updateapi.HostPut{A: "198.51.100.1"})
	four := device{n: n, token: n.mint(t, updateapi.TokenCreate{Names: []string{"both.dyn.example.org", "four.dyn.example.org"}, Types: []string{"A"}}).Secret}
	for _, c := range []struct{ query, want string }{
		{"hostname=both.dyn.example.org&myip=198.51.100.9", "nohost\n"},
		{"hostname=both.dyn.example.org&myip=preserve&wildcard=ON", "nohost\n"},
		{"hostname=four.dyn.example.org&myip=198.51.100.9&wildcard=ON", "good 198.51.100.9\n"},
		{"hostname=four.dyn.example.org&offline=YES", "good\n"},
	} {
		if r := four.update(t, c.query); r.body != c.want {
			t.Errorf("%s: %q, want %q", c.query, r.body, c.want)
		}
	}
	if got := n.addresses(t, "both.dyn.example.org"); len(got) > 0 {
		t.Errorf("a withdrawn host is answered %v", got)
	}
}

func TestWhatNamesNoAddressMakesNoHost(t *testing.T) {
	t.Parallel()
	n := boot(t, proxied)
	d := device{n: n, token: n.token(t, "*.dyn.example.org"), client: "2001:db8:9::1"}
	for _, c := range []struct{ query, want string }{
		{"hostname=new.dyn.example.org&myip=preserve", "nochg\n"},
		{"hostname=new.dyn.example.org&offline=YES", "nochg\n"},
		{"hostname=new.dyn.example.org&ip6lanprefix=", "nochg\n"}, // a Fritz!Box on a line without IPv6
		{"hostname=new.dyn.example.org&ip6lanprefix=2001:db8:1:2::/64", "dnserr\n"},
	} {
		if r := d.update(t, c.query); r.body != c.want {
			t.Errorf("%s: %q, want %q", c.query, r.body, c.want)
		}
	}
	wantProblem(t, "the host", n.call(t, "GET", "/hosts/new.dyn.example.org", d.token, ""), 404)
	if r := d.update(t, "hostname=new.dyn.example.org&myip=198.51.100.9&myipv6=2001:db8:1:2::/64"); r.body != "good 198.51.100.9\n" {
		t.Errorf("a prefix for a host without IPv6 is said to be set: %q", r.body)
	}
}

func TestPreconditions(t *testing.T) {
	t.Parallel()
	n := boot(t, proxied)
	admin := n.adminToken(t)
	const host, a, b = "/hosts/home.dyn.example.org", `{"a":"198.51.100.1"}`, `{"a":"198.51.100.2"}`
	if r := n.call(t, "PUT", host, admin, a, "If-None-Match", "*"); r.status != 201 {
		t.Fatalf("%d %s", r.status, r.body)
	}
	wantProblem(t, "made twice", n.call(t, "PUT", host, admin, b, "If-None-Match", "*"), 412)
	wantProblem(t, "another If-None-Match", n.call(t, "PUT", host, admin, b, "If-None-Match", `"1"`), 422)
	wantProblem(t, "none of several", n.call(t, "PUT", host, admin, b, "If-Match", `"7", "8"`), 412)
	if r := n.call(t, "PUT", host, admin, b, "If-Match", `"7", "1"`); r.status != 200 {
		t.Errorf("one of several: %d %s", r.status, r.body)
	}
}

func TestOddTokenIDsAreNotFound(t *testing.T) {
	t.Parallel()
	n := boot(t, proxied)
	made := n.mint(t, updateapi.TokenCreate{Names: []string{"home.dyn.example.org"}})
	for _, id := range []string{made.ID + "zzz", made.ID[:5], "a%20b%20cd", "......"} {
		wantProblem(t, id, n.call(t, "GET", "/tokens/"+id, n.adminToken(t), ""), 404)
		wantProblem(t, "rotate "+id, n.call(t, "POST", "/tokens/"+id+"/rotate", n.adminToken(t), ""), 404)
	}
}

// Two stores that are copies of each other have the same tokens.
func TestRevocationReachesEveryStoreOfAListener(t *testing.T) {
	t.Parallel()
	const second = `two.example.org:{{dns}} {
	bind 127.0.0.1
	ddns {
		database {{dir}}/copy.db
		ns ns.example.net
		update 127.0.0.1:{{https}}
	}
}
`
	n := boot(t, proxied)
	made := n.mint(t, updateapi.TokenCreate{Names: []string{"home.dyn.example.org"}})
	if _, said, code := n.ddnsctl(t, "backup", n.path("copy.db")); code != 0 {
		t.Fatal(said)
	}
	n.write(t, proxied+second)
	n.restart(t)
	d := device{n: n, token: made.Secret}
	if r := d.update(t, "hostname=home.dyn.example.org&myip=198.51.100.7"); r.body != "good 198.51.100.7\n" {
		t.Errorf("%q", r.body)
	}
	n.api(t, http.MethodDelete, "/tokens/"+made.ID, n.adminToken(t), nil, http.StatusNoContent, nil)
	if r := d.update(t, "hostname=home.dyn.example.org&myip=198.51.100.8"); r.status != 401 {
		t.Errorf("after the revocation: %d %q", r.status, r.body)
	}
}

func TestAReloadForgivesNobody(t *testing.T) {
	t.Parallel()
	n := boot(t, strings.Replace(proxied, "rate 1000000/1s", "rate 2/1h", 1))
	d := device{n: n, token: n.token(t, "home.dyn.example.org")}
	for i, want := range []int{200, 200, 503} {
		if i == 2 {
			if err := n.reload(t); err != nil {
				t.Fatal(err)
			}
		}
		if r := d.update(t, "hostname=home.dyn.example.org&myip=198.51.100.7"); r.status != want {
			t.Errorf("request %d: %d, want %d", i, r.status, want)
		}
	}
}

// A request that names the server in its target, and no path.
func TestNoRedirectRepeatsAQuery(t *testing.T) {
	t.Parallel()
	n := boot(t, strings.Replace(proxied, "tls internal", "tls off", 1))
	conn, err := net.Dial("tcp", n.addr(t, "https"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "GET http://%s?token=secret HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", n.addr(t, "https"))
	r, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil || r.StatusCode != 404 || r.Header.Get("Location") != "" {
		t.Errorf("%v %v", r, err)
	}
}

// Whoever takes a backup and stops reading does not keep the server from
// stopping, and what was under way when it stops is answered.
func TestAStalledBackupHoldsNobodyUp(t *testing.T) {
	t.Parallel()
	n := boot(t, strings.Replace(busy, "tls internal", "tls off", 1))
	admin := n.adminToken(t)
	n.https = &http.Client{Transport: &http.Transport{}}
	hosts := updateapi.Import{}
	for i := range updateapi.MaxImport {
		hosts.Hosts = append(hosts.Hosts, updateapi.ImportHost{Name: fmt.Sprintf("h%04d.dyn.example.org", i),
			HostPut: updateapi.HostPut{A: "198.51.100.7", Note: strings.Repeat("n", 256)}})
	}
	for page := range 10 {
		for i := range hosts.Hosts {
			hosts.Hosts[i].Name = fmt.Sprintf("h%d-%04d.dyn.example.org", page, i)
		}
		req, err := http.NewRequest(http.MethodPost, "http://"+n.addr(t, "https")+"/api/v1/hosts", jsonOf(t, hosts))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+admin)
		if r, err := n.do(req); err != nil || r.status != 200 {
			t.Fatal(r, err)
		}
	}
	conn, err := net.Dial("tcp", n.addr(t, "https"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.(*net.TCPConn).SetReadBuffer(4096); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(conn, "GET /api/v1/backup HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n\r\n", admin)
	if _, err := io.ReadFull(conn, make([]byte, 100)); err != nil {
		t.Fatal(err)
	}
	n.end(t, syscall.SIGTERM) // fails when that takes longer than patience
}

func jsonOf(t testing.TB, v any) io.Reader {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return bytes.NewReader(b)
}
