package test

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/coredns-ddns/ddns/updateapi"
)

// fleet are nodes that share a Redis.
type fleet struct {
	redis *redisServer
	nodes []*node
}

// onRedis makes busy's Corefile one of a node with a Redis.
func onRedis(corefile string, r *redisServer) string {
	return strings.Replace(corefile, "database {{dir}}/ddns.db", "redis "+r.url(), 1)
}

// asEdge takes all that is for updates out of busy's Corefile.
func asEdge(corefile string) string {
	var kept []string
	for line := range strings.Lines(corefile) {
		words := strings.Fields(line)
		if len(words) == 0 || !slices.Contains([]string{"update", "tls", "admin_token", "publish", "rate"}, words[0]) {
			kept = append(kept, line)
		}
	}
	return strings.Join(kept, "")
}

// startFleet starts count nodes on a Redis that has no zone yet, and makes it
// with ddnsctl.
func startFleet(t testing.TB, r *redisServer, count int) *fleet {
	t.Helper()
	f := &fleet{redis: r}
	for range count {
		n := newNode(t, onRedis(busy, r))
		n.spawn(t)
		f.nodes = append(f.nodes, n)
	}
	for _, n := range f.nodes {
		n.await(t, "start", n.started)
	}
	f.nodes[0].ctl(t, ctlDone, "store", "init")
	f.awaitReady(t)
	return f
}

// started says whether the node runs, ready or not.
func (n *node) started() bool { return n.out.contains("\nCoreDNS-") }

func (f *fleet) awaitReady(t testing.TB) {
	t.Helper()
	for _, n := range f.nodes {
		n.await(t, "ready", func() bool { return n.saysReady(t) })
	}
}

// token is one of the first node's that all nodes know.
func (f *fleet) token(t testing.TB, names ...string) string {
	t.Helper()
	token := f.nodes[0].token(t, names...)
	f.knows(t, token)
	return token
}

// knows waits until all nodes know a token.
func (f *fleet) knows(t testing.TB, token string) {
	t.Helper()
	for _, n := range f.nodes {
		n.keepSecret(token)
		n.await(t, "token known", func() bool { return n.get(t, token, "/api/v1/whoami").status == http.StatusOK })
	}
}

// good updates name through a node, which answers it at once.
func (n *node) good(t testing.TB, token, name, a string) {
	t.Helper()
	if r := n.get(t, token, "/nic/update?hostname="+name+"&myip="+a); r.body != "good "+a+"\n" {
		t.Errorf("update of %s: %d %q", name, r.status, r.body)
	}
	if got := n.addresses(t, name); !slices.Equal(got, []string{a}) {
		t.Errorf("DNS answers %v for %s, want %s", got, name, a)
	}
}

// answers waits until all nodes answer name with a.
func (f *fleet) answers(t testing.TB, name, a string) {
	t.Helper()
	for _, n := range f.nodes {
		n.await(t, name+" "+a, func() bool { return slices.Equal(n.addresses(t, name), []string{a}) })
	}
}

// equal checks that all nodes have come to what Redis has: each host, the
// revision, the serial.
func (f *fleet) equal(t testing.TB) {
	t.Helper()
	revision, _ := strconv.ParseUint(f.redis.do(t, "HGET", key("meta"), "revision"), 10, 64)
	hosts := f.redis.hosts(t)
	for i, n := range f.nodes {
		if n.ports["https"] == 0 {
			continue // nobody to ask
		}
		var zone updateapi.ZoneStatus
		n.await(t, fmt.Sprintf("node %d at Redis's revision %d", i, revision), func() bool {
			s, err := statusOf(n, n.url(t), n.adminToken(t))
			if err == nil {
				zone = s.Zones[0]
			}
			return err == nil && zone.Error == "" && zone.Revision == revision
		})
		if zone.Hosts != len(hosts) {
			t.Errorf("node %d has %d hosts, Redis %d", i, zone.Hosts, len(hosts))
		}
	}
	for name, state := range hosts {
		field := strings.Fields(state)
		want := slices.DeleteFunc(field[1:3], func(s string) bool { return s == "-" })
		for i, n := range f.nodes {
			if got := n.addresses(t, name+".dyn.example.org"); !slices.Equal(got, want) {
				t.Errorf("node %d answers %v for %s, Redis has %v", i, got, name, want)
			}
		}
	}
	until(t, "one serial on all nodes", func() bool {
		return !slices.ContainsFunc(f.nodes, func(n *node) bool { return n.serial(t) != f.nodes[0].serial(t) })
	})
}

// lookout asks all nodes again and again for a host that nobody changes.
type lookout struct {
	once  sync.Once
	done  chan struct{}
	all   sync.WaitGroup
	asked atomic.Int64
	mu    sync.Mutex
	wrong []string
}

// look makes a host and starts to ask for it, and for the serial.
func (f *fleet) look(t testing.TB) *lookout {
	t.Helper()
	const name, a = "fixed.dyn.example.org", "192.0.2.1"
	f.nodes[0].ctl(t, ctlDone, "host", "set", name, "--a", a)
	f.answers(t, name, a)
	l := &lookout{done: make(chan struct{})}
	t.Cleanup(l.end)
	for i, n := range f.nodes {
		l.all.Go(func() {
			host, apex := new(dns.Msg).SetQuestion(name+".", dns.TypeA), new(dns.Msg).SetQuestion("dyn.example.org.", dns.TypeSOA)
			for served := uint32(0); ; l.asked.Add(1) {
				select {
				case <-l.done:
					return
				case <-time.After(2 * time.Millisecond):
				}
				r, err := n.query("udp", host)
				if err != nil || len(r.Answer) != 1 || r.Answer[0].(*dns.A).A.String() != a {
					l.say("node %d answers %v, %v for %s, want %s", i, r, err, name, a)
				}
				if r, err = n.query("udp", apex); err != nil || len(r.Answer) != 1 {
					l.say("node %d answers %v, %v for the SOA", i, r, err)
					continue
				}
				serial := r.Answer[0].(*dns.SOA).Serial
				if int32(serial-served) < 0 && served != 0 {
					l.say("node %d: the serial went back from %d to %d", i, served, serial)
				}
				served = serial
			}
		})
	}
	return l
}

func (l *lookout) say(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.wrong = append(l.wrong, fmt.Sprintf(format, args...))
}

// end ends it, before the nodes end.
func (l *lookout) end() {
	l.once.Do(func() { close(l.done) })
	l.all.Wait()
}

// stop ends it and reports what was answered wrongly.
func (l *lookout) stop(t testing.TB) {
	t.Helper()
	l.end()
	for _, w := range l.wrong[:min(5, len(l.wrong))] {
		t.Error(w)
	}
	if l.asked.Load() == 0 {
		t.Error("nothing was asked")
	}
}
