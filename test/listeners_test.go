package test

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/coredns-ddns/ddns/updateapi"
)

func TestZonesOfOneBlock(t *testing.T) {
	t.Parallel()
	corefile := strings.NewReplacer("dyn.example.org:{{dns}} {", ".:{{dns}} {", "ddns {", "ddns dyn.example.org dyn.example.net example.net {").Replace(busy)
	n := boot(t, corefile)
	// In the deepest zone that there is; each has its own SOA.
	for name, zone := range map[string]string{
		"home.dyn.example.org": "dyn.example.org.", "home.dyn.example.net": "dyn.example.net.", "dyn2.example.net": "example.net.",
	} {
		n.serves(t, n.token(t, name), name)
		if r := n.dig(t, "nothing."+name, dns.TypeA); r.Rcode != dns.RcodeNameError || len(r.Ns) != 1 || r.Ns[0].Header().Name != zone {
			t.Errorf("nothing.%s: %v, want NXDOMAIN from %s", name, r, zone)
		}
	}
	if r := n.dig(t, "home.dyn.example.com", dns.TypeA); r.Rcode != dns.RcodeRefused && r.Rcode != dns.RcodeServerFailure {
		t.Errorf("a name in no zone: %v", r)
	}
	// Hosts of several zones in one request, one of them in none.
	token := n.token(t, "a.dyn.example.org", "a.dyn.example.net")
	r := n.get(t, token, "/nic/update?hostname=a.dyn.example.org,a.example.com,a.dyn.example.net&myip=10.0.0.9")
	if want := "good 10.0.0.9\nnohost\ngood 10.0.0.9\n"; r.body != want {
		t.Errorf("update: %q, want %q", r.body, want)
	}
}

// sharedAddress has two databases and three blocks behind one update address, the first
// zone on two DNS addresses.
const sharedAddress = busy + `
dyn.example.org:{{dns2}} {
	bind 127.0.0.1
	ddns {
		database {{dir}}/ddns.db
		ns ns1.dyn.example.org 192.0.2.53
		update 127.0.0.1:{{https}}
		ttl 20s
	}
}
other.example:{{dns}} {
	bind 127.0.0.1
	ddns {
		database {{dir}}/other.db
		ns ns.example.net
		update 127.0.0.1:{{https}}
	}
}
`

func TestBlocksShareAnUpdateAddress(t *testing.T) {
	t.Parallel()
	n := boot(t, sharedAddress)
	home, other := n.token(t, "home.dyn.example.org"), n.token(t, "host.other.example")
	check := func() {
		t.Helper()
		n.serves(t, other, "host.other.example")
		n.serves(t, home, "home.dyn.example.org")
		second := n.at("dns2", "https")
		if got, want := second.addresses(t, "home.dyn.example.org"), n.addresses(t, "home.dyn.example.org"); !slices.Equal(got, want) {
			t.Errorf("the zone's second block answers %v, the first %v", got, want)
		}
		for on, ttl := range map[*node]uint32{n: 60, second: 20} {
			if got := on.dig(t, "home.dyn.example.org", dns.TypeA).Answer[0].Header().Ttl; got != ttl {
				t.Errorf("TTL %d, want its own block's, %d", got, ttl)
			}
		}
		var status updateapi.Status
		n.api(t, http.MethodGet, "/status", n.adminToken(t), nil, http.StatusOK, &status)
		if len(status.Zones) != 2 {
			t.Errorf("the status lists %v, want each zone once", status.Zones)
		}
	}
	check()
	// A token has power over the zones of its own database.
	if r := n.get(t, home, "/nic/update?hostname=host.other.example&myip=10.0.0.1"); r.body != "nohost\n" {
		t.Errorf("update in the other database: %q", r.body)
	}
	for range 3 {
		if err := n.reload(t); err != nil {
			t.Fatal(err)
		}
		check()
	}
	n.restart(t)
	check()
}

func TestSeveralUpdateAddresses(t *testing.T) {
	t.Parallel()
	n := boot(t, strings.NewReplacer("{{dns}}", "{{dns2}}", "{{https}}", "{{second}}", "ready 127.0.0.1:{{ready}}", "").Replace(busy)+
		strings.Replace(busy, "publish any", "publish public", 1))
	token := n.token(t, "home.dyn.example.org")
	n.at("dns", "second").serves(t, token, "home.dyn.example.org")
	if r := n.get(t, token, "/nic/update?hostname=home.dyn.example.org&myip=10.0.0.1"); r.body != "dnserr\n" {
		t.Errorf("each address has settings of its own; this one says %q", r.body)
	}
}

// until sends text over a connection of its own and reads until the server ends
// that.
func (n *node) until(t *testing.T, text string) (answer string, ended bool) {
	t.Helper()
	conn, err := tls.Dial("tcp", n.addr(t, "https"), &tls.Config{RootCAs: n.roots(t), ServerName: "localhost"})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, _ = io.WriteString(conn, text) // the server may end it before it has read all
	conn.SetReadDeadline(time.Now().Add(2 * patience))
	b, err := io.ReadAll(conn)
	timeout, ok := err.(net.Error)
	return string(b), !ok || !timeout.Timeout()
}

// What is too long or too slow is cut off, and changes nothing.
func TestLimits(t *testing.T) {
	t.Parallel()
	n := boot(t, busy)
	token := n.token(t, "home.dyn.example.org")
	n.serves(t, token, "home.dyn.example.org")
	before := n.addresses(t, "home.dyn.example.org")
	auth := "Host: localhost\r\nAuthorization: Bearer " + token + "\r\n"
	const form = "Content-Type: application/x-www-form-urlencoded\r\n"
	header, body := strings.Repeat("x", 21<<10), strings.Repeat("x", 65<<10) // net/http lets 4 KiB more pass
	pad := "hostname=home.dyn.example.org&myip=10.9.9.9&pad="
	for name, c := range map[string]struct {
		send string
		want string // the answer's beginning; "": none
	}{
		"long header": {
			"GET /nic/update?hostname=home.dyn.example.org&myip=10.9.9.9 HTTP/1.1\r\n" + auth + "X: " + header + "\r\n\r\n",
			"HTTP/1.1 431 "},
		"long request line": {
			"GET /nic/update?" + pad + header + " HTTP/1.1\r\n" + auth + "\r\n",
			"HTTP/1.1 431 "},
		"long body": {
			fmt.Sprintf("POST /nic/update HTTP/1.1\r\n%s%sConnection: close\r\nContent-Length: %d\r\n\r\n%s%s", auth, form, len(pad)+len(body), pad, body),
			"HTTP/1.1 413 "},
		"slow header": {
			"GET /nic/update?hostname=home.dyn.example.org&myip=10.9.9.9 HTTP/1.1\r\n" + auth,
			""},
		"slow body": { // whose parameters up to there would do
			"POST /nic/update?hostname=home.dyn.example.org HTTP/1.1\r\n" + auth + form + "Content-Length: 20\r\n\r\nmyip=10.9",
			"HTTP/1.1 400 "},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			answer, ended := n.until(t, c.send)
			if !ended || !strings.HasPrefix(answer, c.want) || c.want == "" && answer != "" {
				t.Errorf("the server answers %q and ended: %v, want %q", answer, ended, c.want)
			}
			if got := n.addresses(t, "home.dyn.example.org"); !slices.Equal(got, before) {
				t.Errorf("DNS answers %v, want %v as before", got, before)
			}
		})
	}
}

// A device whose connection breaks amid a body has said nothing.
func TestBodyThatBreaksOff(t *testing.T) {
	t.Parallel()
	n := boot(t, busy)
	token := n.token(t, "home.dyn.example.org")
	n.serves(t, token, "home.dyn.example.org")
	before := n.addresses(t, "home.dyn.example.org")
	conn, err := tls.Dial("tcp", n.addr(t, "https"), &tls.Config{RootCAs: n.roots(t), ServerName: "localhost"})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "POST /nic/update?hostname=home.dyn.example.org HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %s\r\n"+
		"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 40\r\n\r\nmyip=10.9", token)
	conn.CloseWrite()
	if b, _ := io.ReadAll(conn); bytes.Contains(b, []byte("good")) || bytes.Contains(b, []byte("nochg")) {
		t.Errorf("the server answers %q", b)
	}
	if got := n.addresses(t, "home.dyn.example.org"); !slices.Equal(got, before) {
		t.Errorf("DNS answers %v, want %v as before", got, before)
	}
}

func TestIdleConnectionsHarmNobody(t *testing.T) {
	t.Parallel()
	n := boot(t, busy)
	token := n.token(t, "home.dyn.example.org")
	var mu sync.Mutex
	var idle []net.Conn
	t.Cleanup(func() {
		for _, c := range idle {
			c.Close()
		}
	})
	var all sync.WaitGroup
	for i := range 20 {
		all.Go(func() {
			for range 100 {
				c, err := net.Dial("tcp", n.addr(t, "https"))
				if err != nil {
					t.Error(err)
					return
				}
				if i%4 == 0 { // the others do not even shake hands
					c = tls.Client(c, &tls.Config{InsecureSkipVerify: true})
					if err := c.(*tls.Conn).Handshake(); err != nil {
						t.Error(err)
					}
				}
				mu.Lock()
				idle = append(idle, c)
				mu.Unlock()
			}
		})
	}
	n.addr(t, "dns")
	all.Wait()
	for range 20 {
		n.serves(t, token, "home.dyn.example.org")
		n.client(t).CloseIdleConnections() // the next one comes anew
	}
	if len(idle) != 2000 {
		t.Errorf("%d idle connections, want 2000", len(idle))
	}
}
