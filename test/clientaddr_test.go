package test

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"github.com/coredns-ddns/ddns/updateapi"
)

// from is a client with a source address of its own on loopback.
func (n *node) from(t testing.TB, source string) *http.Client {
	t.Helper()
	addr := n.addr(t, "https")
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(source)}, Timeout: patience}
	return &http.Client{Timeout: patience, Transport: &http.Transport{
		DisableKeepAlives: true,
		TLSClientConfig:   n.client(t).Transport.(*http.Transport).TLSClientConfig.Clone(), // nil where there is no TLS
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, network, addr)
		},
	}}
}

// checkIP asks for the client address over c, with headers.
func checkIP(t testing.TB, c *http.Client, root string, headers http.Header) reply {
	t.Helper()
	req, err := http.NewRequest(http.MethodGet, root+"/checkip", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header = headers
	res, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return reply{res.StatusCode, res.Header, string(body)}
}

func TestCheckIP(t *testing.T) {
	t.Parallel()
	n := boot(t, proxied)
	for client, want := range map[string]string{"": "127.0.0.1", "203.0.113.9": "203.0.113.9", "2001:DB8::9": "2001:db8::9"} {
		d := device{n: n, client: client}
		if r := d.get(t, "/checkip"); r.status != 200 || r.body != want || !strings.HasPrefix(r.header.Get("Content-Type"), "text/plain") {
			t.Errorf("/checkip: %d %q of %s, want %q", r.status, r.body, r.header.Get("Content-Type"), want)
		}
		const before, after = "<html><head><title>Current IP Check</title></head><body>", "</body></html>\r\n"
		if r := d.get(t, "/checkip/dyndns"); r.status != 200 || r.body != before+"Current IP Address: "+want+after ||
			!strings.HasPrefix(r.header.Get("Content-Type"), "text/html") {
			t.Errorf("/checkip/dyndns: %d %q of %s", r.status, r.body, r.header.Get("Content-Type"))
		}
	}
}

func TestTrustedProxies(t *testing.T) {
	t.Parallel()
	n := boot(t, strings.Replace(proxied, "trusted_proxies 127.0.0.1", "trusted_proxies 127.0.0.1 192.0.2.0/24 2001:db8:ff::/48", 1))
	type headers = http.Header
	xff, fwd := "X-Forwarded-For", "Forwarded"
	for _, c := range []struct {
		intent, peer string
		headers      headers
		want         string
	}{
		{"the proxy itself", "127.0.0.1", nil, "127.0.0.1"},
		{"one hop", "127.0.0.1", headers{xff: {"203.0.113.9"}}, "203.0.113.9"},
		{"Forwarded", "127.0.0.1", headers{fwd: {"for=203.0.113.9;proto=https;by=192.0.2.1"}}, "203.0.113.9"},
		{"Forwarded with IPv6 and a port", "127.0.0.1", headers{fwd: {`proto=https;For="[2001:db8::9]:4711"`}}, "2001:db8::9"},
		{"a port", "127.0.0.1", headers{xff: {"203.0.113.9:4711"}}, "203.0.113.9"},
		{"IPv4 mapped", "127.0.0.1", headers{xff: {"::ffff:203.0.113.9"}}, "203.0.113.9"},
		{"an untrusted peer's are forged", "127.0.0.2", headers{xff: {"203.0.113.9"}}, "127.0.0.2"},
		{"an untrusted peer's Forwarded too", "127.0.0.2", headers{fwd: {"for=203.0.113.9"}}, "127.0.0.2"},
		{"trusted hops are passed from the right", "127.0.0.1", headers{xff: {"203.0.113.9, 192.0.2.7,2001:db8:ff::1"}}, "203.0.113.9"},
		{"what is left of the client is forged", "127.0.0.1", headers{xff: {"203.0.113.66, 203.0.113.9, 192.0.2.7"}}, "203.0.113.9"},
		{"lines are one list", "127.0.0.1", headers{xff: {"203.0.113.66, 203.0.113.9", "192.0.2.7"}}, "203.0.113.9"},
		{"elements of Forwarded too", "127.0.0.1", headers{fwd: {"for=203.0.113.66, for=203.0.113.9", "for=192.0.2.7"}}, "203.0.113.9"},
		{"nothing but proxies", "127.0.0.1", headers{xff: {"192.0.2.8, 192.0.2.7"}}, "192.0.2.8"},
		{"malformed at the right", "127.0.0.1", headers{xff: {"203.0.113.9, nonsense"}}, "127.0.0.1"},
		{"malformed after a good hop", "127.0.0.1", headers{xff: {"203.0.113.9, nonsense, 192.0.2.7"}}, "192.0.2.7"},
		{"empty", "127.0.0.1", headers{xff: {""}}, "127.0.0.1"},
		{"an empty element", "127.0.0.1", headers{xff: {"203.0.113.9,,192.0.2.7"}}, "192.0.2.7"},
		{"unknown", "127.0.0.1", headers{fwd: {"for=203.0.113.9, for=unknown"}}, "127.0.0.1"},
		{"obfuscated", "127.0.0.1", headers{fwd: {"for=_hidden"}}, "127.0.0.1"},
		{"without for", "127.0.0.1", headers{fwd: {"for=203.0.113.9, proto=https"}}, "127.0.0.1"},
		{"a broken quote", "127.0.0.1", headers{fwd: {`for="203.0.113.9`}}, "127.0.0.1"},
		{"a zone identifier", "127.0.0.1", headers{xff: {"fe80::1%eth0"}}, "127.0.0.1"},
		{"both agree", "127.0.0.1", headers{xff: {"203.0.113.9"}, fwd: {"for=203.0.113.9"}}, "203.0.113.9"},
	} {
		if r := checkIP(t, n.from(t, c.peer), n.url(t), c.headers); r.status != 200 || r.body != c.want {
			t.Errorf("%s: %d %q, want %q", c.intent, r.status, r.body, c.want)
		}
	}

	// Where both are there and disagree nobody knows; least of all is it the proxy.
	disagree := headers{xff: {"203.0.113.9"}, fwd: {"for=203.0.113.66"}}
	if r := checkIP(t, n.from(t, "127.0.0.1"), n.url(t), disagree); r.status != 400 {
		t.Errorf("both disagree: %d %q", r.status, r.body)
	}
	local := n.mint(t, updateapi.TokenCreate{Names: []string{"home.dyn.example.org"}, Sources: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}})
	d := device{n: n, token: local.Secret}
	req := d.request(t, http.MethodGet, "/nic/update?hostname=home.dyn.example.org&myip=198.51.100.7", "")
	for name, values := range disagree {
		req.Header[name] = values
	}
	if r := d.send(t, req); r.status != 401 {
		t.Errorf("a token for the proxy's machine is taken from somebody unknown: %d %q", r.status, r.body)
	}
}

// plain makes a client of the node's that speaks HTTP without TLS.
func (n *node) plain(t testing.TB) string {
	t.Helper()
	n.https = &http.Client{Timeout: patience, Transport: &http.Transport{}}
	return "http://" + n.addr(t, "https")
}

func TestPlainHTTP(t *testing.T) {
	t.Parallel()
	off := strings.Replace(proxied, "tls internal", "tls off", 1)

	t.Run("on loopback for everybody there", func(t *testing.T) {
		n := boot(t, strings.Replace(off, "trusted_proxies 127.0.0.1", "", 1))
		root := n.plain(t)
		for _, source := range []string{"127.0.0.1", "127.0.0.2"} {
			if r := checkIP(t, n.from(t, source), root, nil); r.body != source {
				t.Errorf("%d %q, want %s", r.status, r.body, source)
			}
		}
	})
	t.Run("elsewhere for the proxies alone", func(t *testing.T) {
		n := boot(t, strings.Replace(off, "update 127.0.0.1:", "update 0.0.0.0:", 1))
		root := n.plain(t)
		if r := checkIP(t, n.from(t, "127.0.0.1"), root, http.Header{"X-Forwarded-For": {"203.0.113.9"}}); r.body != "203.0.113.9" {
			t.Errorf("%d %q, want the client of the proxy", r.status, r.body)
		}
		if res, err := n.from(t, "127.0.0.2").Get(root + "/checkip"); err == nil {
			res.Body.Close()
			t.Errorf("another peer is answered %s", res.Status)
		}
	})
	t.Run("not elsewhere without proxies", func(t *testing.T) {
		corefile := strings.Replace(off, "update 127.0.0.1:", "update 0.0.0.0:", 1)
		n := newNode(t, strings.Replace(corefile, "trusted_proxies 127.0.0.1", "", 1))
		if said := n.refuses(t); !strings.Contains(said, "tls") || !strings.Contains(said, "trusted_proxies") {
			t.Errorf("coredns says %q", said)
		}
	})
}
