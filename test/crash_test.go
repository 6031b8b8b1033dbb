package test

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/coredns-ddns/ddns/updateapi"
)

// busy is a node that lets routers do as much as they can.
const busy = `dyn.example.org:{{dns}} {
	bind 127.0.0.1
	ready 127.0.0.1:{{ready}}
	errors
	ddns {
		database {{dir}}/ddns.db
		ns ns1.dyn.example.org 192.0.2.53
		update 127.0.0.1:{{https}}
		tls internal
		admin_token {{dir}}/admin.token
		publish any
		rate 1000000/1s
	}
}
`

// crashRounds is how often the server is killed; DDNS_CRASH_ROUNDS says it for
// a longer hunt.
func crashRounds(t *testing.T) int {
	text := os.Getenv("DDNS_CRASH_ROUNDS")
	if text == "" {
		return 10
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("DDNS_CRASH_ROUNDS is %q, want a number", text)
	}
	return n
}

// router updates its two hosts, both families at once, with addresses that
// count its requests: what DNS answers tells which request that was.
type router struct {
	names    [2]string
	token    string
	client   *http.Client
	sent     uint32 // requests, the last of which may have got no answer
	acked    uint32
	revision [2]uint64 // seen after the last crash
}

func (r *router) addresses(k uint32) (a, aaaa string) {
	low := [4]byte{10, byte(k >> 16), byte(k >> 8), byte(k)}
	high := [16]byte{0: 0x20, 1: 0x01, 2: 0x0d, 3: 0xb8, 13: low[1], 14: low[2], 15: low[3]}
	return netip.AddrFrom4(low).String(), netip.AddrFrom16(high).String()
}

// update sends the next request. An error is a lost connection.
func (r *router) update(root string) (body string, err error) {
	r.sent++
	a, aaaa := r.addresses(r.sent)
	req, err := http.NewRequest(http.MethodGet, fmt.Sprintf("%s/nic/update?hostname=%s,%s&myip=%s&myipv6=%s",
		root, r.names[0], r.names[1], a, aaaa), nil)
	if err != nil {
		return "", err
	}
	req.SetBasicAuth("device", r.token)
	res, err := (&node{https: r.client}).do(req)
	if err != nil {
		return "", err
	}
	if line := fmt.Sprintf("good %s,%s\n", a, aaaa); res.body == line+line {
		r.acked = r.sent
	}
	return res.body, nil
}

// routers makes some, each with a token and a connection of its own.
func (n *node) routers(t *testing.T, count int) []*router {
	t.Helper()
	roots, addr := n.roots(t), n.addr(t, "https")
	routers := make([]*router, count)
	for i := range routers {
		own := &http.Transport{
			TLSClientConfig:   &tls.Config{RootCAs: roots, ServerName: "localhost"},
			ForceAttemptHTTP2: i%2 == 0, // the others speak HTTP/1.1
			DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, network, addr)
			},
		}
		t.Cleanup(own.CloseIdleConnections)
		names := [2]string{fmt.Sprintf("router%d.dyn.example.org", i), fmt.Sprintf("nas%d.dyn.example.org", i)}
		routers[i] = &router{names: names, token: n.token(t, names[0], names[1]),
			client: &http.Client{Transport: own, Timeout: patience}}
	}
	return routers
}

// published is the highest revision and the latest serial that anybody has
// been told.
type published struct {
	serial   uint32
	revision uint64
}

// watch asks for both until done is closed. It ends early with the server.
func (p *published) watch(n *node, root, admin string, done <-chan struct{}) {
	soa := new(dns.Msg).SetQuestion("dyn.example.org.", dns.TypeSOA)
	c := dns.Client{Timeout: time.Second}
	for {
		select {
		case <-done:
			return
		default:
		}
		if r, _, err := c.Exchange(soa, fmt.Sprintf("127.0.0.1:%d", n.ports["dns"])); err == nil && len(r.Answer) == 1 {
			p.serial = r.Answer[0].(*dns.SOA).Serial
		}
		if s, err := statusOf(n, root, admin); err == nil {
			p.revision = max(p.revision, s.Zones[0].Revision)
		}
	}
}

// Killed at any moment, the server has kept whatever it acknowledged, and of
// what it did not acknowledge all or nothing.
func TestKillMidUpdates(t *testing.T) {
	t.Parallel()
	n := boot(t, busy)
	routers, root, admin := n.routers(t, 12), n.url(t), n.adminToken(t)
	var last published
	total := 0
	for round := range crashRounds(t) {
		total += n.updateAndKill(t, routers, &last, root, admin)
		n.start(t)
		if serial := n.serial(t); int32(serial-last.serial) < 0 {
			t.Errorf("round %d: the serial went back from %d to %d", round, last.serial, serial)
		}
		s, err := statusOf(n, root, admin)
		if err != nil {
			t.Fatal(err)
		}
		if s.Zones[0].Revision < last.revision {
			t.Errorf("round %d: the zone's revision went back from %d to %d", round, last.revision, s.Zones[0].Revision)
		}
		for _, r := range routers {
			r.check(t, n, admin)
		}
		if t.Failed() {
			return
		}
	}
	t.Logf("%d updates acknowledged", total)
}

// updateAndKill has all routers update at once, kills the server when some
// hundreds of updates are acknowledged, and says how many were.
func (n *node) updateAndKill(t *testing.T, routers []*router, last *published, root, admin string) int {
	t.Helper()
	var acked atomic.Int64
	var killed atomic.Bool
	var all sync.WaitGroup
	enough, done := make(chan struct{}), make(chan struct{})
	mark := int64(200 + rand.IntN(400))
	for _, r := range routers {
		all.Go(func() {
			for {
				body, err := r.update(root)
				if err != nil {
					if !killed.Load() {
						t.Errorf("update of %v: %v", r.names, err)
					}
					return
				}
				if r.acked != r.sent {
					t.Errorf("update of %v: %q", r.names, body)
					return
				}
				if acked.Add(1) == mark {
					close(enough)
				}
			}
		})
	}
	all.Go(func() { last.watch(n, root, admin, done) })
	select {
	case <-enough:
	case <-time.After(patience):
		t.Errorf("%d updates within %v, want %d", acked.Load(), patience, mark)
	}
	killed.Store(true)
	n.kill(t)
	close(done)
	all.Wait()
	return int(acked.Load())
}

// check compares store and DNS with what d has been told, right after a start.
func (r *router) check(t *testing.T, n *node, admin string) {
	t.Helper()
	var hosts [2]updateapi.Host
	for i, name := range r.names {
		n.api(t, http.MethodGet, "/hosts/"+name, admin, nil, http.StatusOK, &hosts[i])
		if hosts[i].Revision < r.revision[i] {
			t.Errorf("%s: revision went back from %d to %d", name, r.revision[i], hosts[i].Revision)
		}
		r.revision[i] = hosts[i].Revision
	}
	for k := r.acked; k <= r.sent; k++ {
		a, aaaa := r.addresses(k)
		if hosts[0].A != a {
			continue
		}
		for i, name := range r.names {
			if hosts[i].A != a || hosts[i].AAAA != aaaa {
				t.Errorf("%s has %s and %s, want %s and %s: half an update", name, hosts[i].A, hosts[i].AAAA, a, aaaa)
			}
			if got := n.addresses(t, name); len(got) != 2 || got[0] != a || got[1] != aaaa {
				t.Errorf("DNS answers %v for %s, the store has %s and %s", got, name, a, aaaa)
			}
		}
		r.acked, r.sent = k, k
		return
	}
	t.Errorf("%s has %s: not what request %d (acknowledged) to %d (sent) set", r.names[0], hosts[0].A, r.acked, r.sent)
}

// statusOf is GET /api/v1/status, from any goroutine.
func statusOf(n *node, root, admin string) (updateapi.Status, error) {
	var s updateapi.Status
	return s, n.readAPI(root, "/status", admin, &s)
}

// readAPI gets path below the API's root into into, from any goroutine.
func (n *node) readAPI(root, path, token string, into any) error {
	req, err := http.NewRequest(http.MethodGet, root+"/api/v1"+path, nil)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	r, err := n.do(req)
	if err != nil {
		return err
	}
	if r.status != http.StatusOK {
		return fmt.Errorf("GET %s: %d %s", path, r.status, r.body)
	}
	return json.Unmarshal([]byte(r.body), into)
}
