package test

import (
	"bufio"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/coredns-ddns/ddns/updateapi"
)

// raw sends a request as it is written, with \n for each line end of the head,
// and reads the response to the connection's end.
func (n *node) raw(t testing.TB, request string) string {
	t.Helper()
	conn, err := tls.Dial("tcp", n.addr(t, "https"), &tls.Config{RootCAs: n.roots(t), ServerName: "localhost"})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(patience))
	head, body, _ := strings.Cut(request, "\n\n")
	if _, err := io.WriteString(conn, strings.ReplaceAll(head, "\n", "\r\n")+"\r\n\r\n"+body); err != nil {
		t.Fatal(err)
	}
	response, err := io.ReadAll(conn)
	if err != nil {
		t.Fatal(err)
	}
	return string(response)
}

func basic(user, password string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
}

// Routers read responses octet by octet.
func TestDyndns2OnTheWire(t *testing.T) {
	t.Parallel()
	n := boot(t, proxied)
	auth := "\nAuthorization: " + basic("", n.token(t, "home.dyn.example.org"))
	const update = "/nic/update?hostname=home.dyn.example.org&myip=198.51.100.7"
	const form = "hostname=home.dyn.example.org&myip=198.51.100.7"
	const ok, no = "200 OK", "401 Unauthorized"
	for _, c := range []struct{ intent, request, status, body string }{
		{"HTTP/1.0", "GET " + update + " HTTP/1.0" + auth, ok, "good 198.51.100.7\n"},
		{"HTTP/1.0 with Host", "GET " + update + " HTTP/1.0\nHost: localhost" + auth, ok, "nochg 198.51.100.7\n"},
		{"HTTP/1.1", "GET " + update + " HTTP/1.1\nHost: localhost\nConnection: close" + auth, ok, "nochg 198.51.100.7\n"},
		{"a name for the server that it does not know", "GET " + update + " HTTP/1.1\nHost: members.dyndns.org\nConnection: close" + auth, ok, "nochg 198.51.100.7\n"},
		{"a form in HTTP/1.0", "POST /nic/update HTTP/1.0\nContent-Type: application/x-www-form-urlencoded\nContent-Length: " +
			strconv.Itoa(len(form)) + auth + "\n\n" + form, ok, "nochg 198.51.100.7\n"},
		{"no credentials", "GET " + update + " HTTP/1.1\nHost: localhost\nConnection: close", no, "badauth\n"},
		{"no credentials in HTTP/1.0", "GET " + update + " HTTP/1.0", no, "badauth\n"},
		{"a wrong token", "GET " + update + " HTTP/1.0\nAuthorization: " + basic("home", "secret"), no, "badauth\n"},
		{"a foreign host", "GET /nic/update?hostname=x.dyn.example.org HTTP/1.0" + auth, ok, "nohost\n"},
		{"no host", "GET /nic/update HTTP/1.0" + auth, ok, "notfqdn\n"},
		{"no address", "GET " + update + "x HTTP/1.0" + auth, ok, "dnserr\n"},
		{"a body too large", "POST /nic/update HTTP/1.0\nContent-Type: application/x-www-form-urlencoded\nContent-Length: 70000" + auth + "\n\n" +
			"hostname=home.dyn.example.org&myip=198.51.100.7&x=" + strings.Repeat("x", 70000), "413 Request Entity Too Large", "911\n"},
	} {
		t.Run(c.intent, func(t *testing.T) {
			if !strings.Contains(c.request, "\n\n") {
				c.request += "\n\n"
			}
			response := n.raw(t, c.request)
			head, body, _ := strings.Cut(response, "\r\n\r\n")
			status, headers, _ := strings.Cut(head, "\r\n")
			headers = "\r\n" + headers + "\r\n"
			if _, got, _ := strings.Cut(status, " "); got != c.status || body != c.body {
				t.Errorf("%q %q, want %q %q", status, body, c.status, c.body)
			}
			if !strings.Contains(headers, fmt.Sprintf("\r\nContent-Length: %d\r\n", len(body))) || strings.Contains(headers, "Transfer-Encoding") {
				t.Errorf("want a Content-Length of %d and no chunks: %q", len(body), headers)
			}
			challenged := strings.Contains(headers, "\r\nWww-Authenticate: Basic realm=\"ddns\"\r\n")
			if challenged != (c.status == no) {
				t.Errorf("a challenge goes with 401 and with nothing else: %q", headers)
			}
		})
	}
}

func TestHTTP2(t *testing.T) {
	t.Parallel()
	n := boot(t, proxied)
	d := device{n: n, token: n.token(t, "home.dyn.example.org")}
	req := d.request(t, http.MethodGet, "/nic/update?hostname=home.dyn.example.org&myip=198.51.100.7", "")
	res, err := n.client(t).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil || res.ProtoMajor != 2 || res.ContentLength != int64(len(body)) || string(body) != "good 198.51.100.7\n" {
		t.Errorf("%s %q of length %d, %v; want HTTP/2.0", res.Proto, body, res.ContentLength, err)
	}
	if res.TLS.Version < tls.VersionTLS12 {
		t.Errorf("TLS version %x", res.TLS.Version)
	}
	if _, err := tls.Dial("tcp", n.addr(t, "https"), &tls.Config{RootCAs: n.roots(t), ServerName: "localhost", MaxVersion: tls.VersionTLS11}); err == nil {
		t.Error("TLS 1.1 is spoken")
	}
}

// A connection serves one request after the other, and a header beyond the
// limit ends it.
func TestKeepAliveAndHeaderLimit(t *testing.T) {
	t.Parallel()
	n := boot(t, proxied)
	conn, err := tls.Dial("tcp", n.addr(t, "https"), &tls.Config{RootCAs: n.roots(t), ServerName: "localhost"})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(patience))
	in := bufio.NewReader(conn)
	for _, c := range []struct {
		header string
		want   int
	}{{"short", 200}, {"short", 200}, {strings.Repeat("x", 40<<10), 431}} {
		fmt.Fprintf(conn, "GET /checkip HTTP/1.1\r\nHost: localhost\r\nX-Filler: %s\r\n\r\n", c.header)
		res, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Fatal(err)
		}
		io.Copy(io.Discard, res.Body)
		if res.StatusCode != c.want {
			t.Errorf("status %d with a header of %d octets, want %d", res.StatusCode, len(c.header), c.want)
		}
	}
}

func TestDyndns2Paths(t *testing.T) {
	t.Parallel()
	n := boot(t, proxied)
	d := device{n: n, token: n.token(t, "home.dyn.example.org")}
	n.url(t)
	for i, path := range []string{"/nic/update", "/v2/update", "/v3/update"} {
		form := url.Values{"hostname": {"home.dyn.example.org"}, "myip": {fmt.Sprintf("198.51.100.%d", i)}}
		want := fmt.Sprintf("good 198.51.100.%d\n", i)
		if r := d.get(t, path+"?"+form.Encode()); r.status != 200 || r.body != want {
			t.Errorf("GET %s: %d %q, want %q", path, r.status, r.body, want)
		}
		if r := n.post(t, d.token, path, form); r.status != 200 || r.body != "nochg"+strings.TrimPrefix(want, "good") {
			t.Errorf("POST %s: %d %q", path, r.status, r.body)
		}
		if r := d.send(t, d.request(t, http.MethodPut, path, "")); r.status != 405 || r.header.Get("Allow") != "GET, POST" {
			t.Errorf("PUT %s: %d, Allow %q", path, r.status, r.header.Get("Allow"))
		}
	}
	if r := d.get(t, "//nic//update?hostname=home.dyn.example.org&myip=198.51.100.2"); r.status != 200 || r.body != "nochg 198.51.100.2\n" {
		t.Errorf("slashes that routers double: %d %q", r.status, r.body)
	}
	if r := d.get(t, "/nic/updates?hostname=home.dyn.example.org"); r.status != 404 {
		t.Errorf("a path that there is not: %d", r.status)
	}
}

// Routers have their own ideas of where a token goes.
func TestCredentials(t *testing.T) {
	t.Parallel()
	n := boot(t, proxied)
	token, admin := n.token(t, "home.dyn.example.org"), n.adminToken(t)
	wrong := token[:len(token)-1] + "!"
	for _, c := range []struct{ intent, header, query, want string }{
		{"Basic", basic("home.dyn.example.org", token), "", "good"},
		{"Basic without a user", basic("", token), "", "nochg"},
		{"Basic with any user", basic("x@y z", token), "", "nochg"},
		{"basic in lower case", strings.Replace(basic("", token), "Basic", "basic", 1), "", "nochg"},
		{"Bearer", "Bearer " + token, "", "nochg"},
		{"Token", "Token " + token, "", "nochg"},
		{"token in the query", "", "&token=" + token, "nochg"},
		{"password in the query", "", "&username=home&password=" + token, "nochg"},
		{"a header goes before the query", basic("", wrong), "&token=" + token, "badauth"},
		{"nothing", "", "", "badauth"},
		{"the token as the user", basic(token, "x"), "", "badauth"},
		{"a scheme that we do not know", "Digest username=\"home\"", "", "badauth"},
		{"wrong in Basic", basic("", wrong), "", "badauth"},
		{"wrong in Bearer", "Bearer " + wrong, "", "badauth"},
		{"wrong in the query", "", "&token=" + wrong, "badauth"},
		{"the operator's is not for devices, in Basic", basic("admin", admin), "", "badauth"},
		{"the operator's is not for devices, in Bearer", "Bearer " + admin, "", "badauth"},
		{"the operator's is not for devices, in the query", "", "&token=" + admin, "badauth"},
	} {
		t.Run(c.intent, func(t *testing.T) {
			d := device{n: n}
			req := d.request(t, http.MethodGet, "/nic/update?hostname=home.dyn.example.org&myip=198.51.100.7"+c.query, "")
			if c.header != "" {
				req.Header.Set("Authorization", c.header)
			}
			r := d.send(t, req)
			want := reply{status: 200, body: c.want + " 198.51.100.7\n"}
			if c.want == "badauth" {
				want = reply{status: 401, body: "badauth\n"}
			}
			if r.status != want.status || r.body != want.body {
				t.Errorf("%d %q, want %d %q", r.status, r.body, want.status, want.body)
			}
			if got := r.header.Get("WWW-Authenticate"); (got == `Basic realm="ddns"`) != (r.status == 401) {
				t.Errorf("WWW-Authenticate %q with %d", got, r.status)
			}
		})
	}
}

// comeBack checks the reply of dyndns2 to one that has to wait.
func comeBack(t *testing.T, r reply) {
	t.Helper()
	after, err := strconv.Atoi(r.header.Get("Retry-After"))
	if r.status != 503 || r.body != "911\n" || err != nil || after < 1 {
		t.Errorf("%d %q, Retry-After %q; want 503, 911 and some seconds", r.status, r.body, r.header.Get("Retry-After"))
	}
}

// One request is one event, however many hosts and families it names.
func TestRate(t *testing.T) {
	t.Parallel()
	n := boot(t, strings.Replace(proxied, "rate 1000000/1s", "rate 3/24h", 1))
	d := device{n: n, token: n.token(t, "home.dyn.example.org", "nas.dyn.example.org")}
	other := device{n: n, token: n.token(t, "next.dyn.example.org")}
	const hosts = "hostname=home.dyn.example.org,nas.dyn.example.org"
	for _, c := range []struct{ query, want string }{
		{hosts + "&myip=198.51.100.7,2001:db8::7", "good 198.51.100.7,2001:db8::7\ngood 198.51.100.7,2001:db8::7\n"},
		{hosts + "&myip=198.51.100.8", "good 198.51.100.8\ngood 198.51.100.8\n"}, // routers send the families in two calls
		{hosts + "&myipv6=2001:db8::8", "good 2001:db8::8\ngood 2001:db8::8\n"},
	} {
		if r := d.update(t, c.query); r.status != 200 || r.body != c.want {
			t.Errorf("%s: %d %q, want %q", c.query, r.status, r.body, c.want)
		}
	}
	comeBack(t, d.update(t, hosts+"&myip=198.51.100.9"))
	if r := n.call(t, "GET", "/whoami", d.token, ""); r.header.Get("Retry-After") == "" {
		t.Errorf("over REST: %d without Retry-After", r.status)
	} else {
		wantProblem(t, "over REST", r, 503)
	}
	if got := strings.Join(n.addresses(t, "home.dyn.example.org"), " "); got != "198.51.100.8 2001:db8::8" {
		t.Errorf("DNS answers %q after a request that came too soon", got)
	}
	if r := other.update(t, "hostname=next.dyn.example.org&myip=198.51.100.7"); r.body != "good 198.51.100.7\n" {
		t.Errorf("another token is told %d %q", r.status, r.body)
	}
	var status updateapi.Status // the operator is not throttled
	for range 5 {
		n.api(t, http.MethodGet, "/status", n.adminToken(t), nil, http.StatusOK, &status)
	}
}

// Wrong tokens are limited by client address; a valid token passes all the same,
// for neighbours share addresses.
func TestFailedAuthenticationIsLimited(t *testing.T) {
	t.Parallel()
	const query = "hostname=home.dyn.example.org&myip=198.51.100.7"
	n := boot(t, proxied)
	token := n.token(t, "home.dyn.example.org")
	for intent, c := range map[string]struct{ client, neighbour, other string }{
		"IPv4 by address": {"203.0.113.9", "203.0.113.9", "203.0.113.10"},
		"IPv6 by /64":     {"2001:db8:1:1::1", "2001:db8:1:1::2", "2001:db8:1:2::1"},
	} {
		t.Run(intent, func(t *testing.T) {
			from := func(client, token string) reply {
				return device{n: n, client: client, token: token}.update(t, query)
			}
			for range 40 { // a client that asks to be challenged has not failed
				if r := from(c.client, ""); r.status != 401 || r.body != "badauth\n" {
					t.Fatalf("without credentials: %d %q", r.status, r.body)
				}
			}
			for i := range 20 {
				if r := from(c.client, "wrong"); r.status != 401 || r.body != "badauth\n" {
					t.Fatalf("wrong token %d: %d %q", i+1, r.status, r.body)
				}
			}
			comeBack(t, from(c.neighbour, "wrong"))
			comeBack(t, from(c.neighbour, token[:len(token)-6]+"000000"))
			if r := from(c.client, ""); r.status != 401 {
				t.Errorf("over the limit without credentials: %d %q", r.status, r.body)
			}
			if r := from(c.client, token); r.status != 200 || !regexp.MustCompile(`^(good|nochg) 198.51.100.7\n$`).MatchString(r.body) {
				t.Errorf("over the limit with the valid token: %d %q", r.status, r.body)
			}
			if r := from(c.other, "wrong"); r.status != 401 {
				t.Errorf("another address: %d %q", r.status, r.body)
			}
		})
	}
}
