package test

import (
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/coredns-ddns/ddns/plugin/token"
	"github.com/coredns-ddns/ddns/updateapi"
)

// Whatever becomes of Redis for a while, DNS answers the last known good, updates
// are told to come again, and what was acknowledged is there afterwards.
func TestRedisFaults(t *testing.T) {
	t.Parallel()
	config := func(name, value string) func(*testing.T, *redisServer) {
		return func(t *testing.T, r *redisServer) { r.do(t, "CONFIG", "SET", name, value) }
	}
	for name, c := range map[string]struct {
		breaks, mends func(*testing.T, *redisServer)
		says          string // in the log
	}{
		"stopped": {
			func(t *testing.T, r *redisServer) { r.end(t, syscall.SIGTERM) },
			func(t *testing.T, r *redisServer) { r.start(t) },
			`cannot follow the store`,
		},
		"killed": {
			func(t *testing.T, r *redisServer) { r.end(t, syscall.SIGKILL) },
			func(t *testing.T, r *redisServer) { r.start(t) },
			`cannot follow the store`,
		},
		"frozen": {
			func(t *testing.T, r *redisServer) { r.signal(t, syscall.SIGSTOP) },
			func(t *testing.T, r *redisServer) { r.signal(t, syscall.SIGCONT) },
			`cannot follow the store`,
		},
		"out of memory": {
			config("maxmemory", "1"),
			config("maxmemory", "0"),
			`failed .*OOM`,
		},
		"with a password of a sudden": {
			func(t *testing.T, r *redisServer) {
				r.do(t, "CONFIG", "SET", "requirepass", "secret")
				r.ask("-a", "secret", "--no-auth-warning", "CLIENT", "KILL", "TYPE", "normal")
			},
			func(t *testing.T, r *redisServer) {
				r.ask("-a", "secret", "--no-auth-warning", "CONFIG", "SET", "requirepass", "")
			},
			`failed .*wants other credentials than those given`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := startRedis(t, durably...)
			f := startFleet(t, r, 2)
			secret := f.token(t, "home.dyn.example.org")
			f.nodes[0].good(t, secret, "home.dyn.example.org", "10.0.0.1")
			f.answers(t, "home.dyn.example.org", "10.0.0.1")
			l, e := f.look(t), f.endure(t)

			c.breaks(t, r)
			start := time.Now()
			for _, n := range f.nodes {
				for _, a := range []string{"10.0.0.2", "10.0.0.1"} {
					n.get(t, secret, "/nic/update?hostname=home.dyn.example.org&myip="+a).retryLater(t)
				}
				n.waitLog(t, c.says)
			}
			t.Logf("four updates are refused within %v", time.Since(start).Round(time.Millisecond))
			c.mends(t, r)
			start = time.Now()
			for _, n := range f.nodes {
				root := n.url(t)
				n.await(t, "update done", func() bool {
					body, err := n.update(root, secret, "home.dyn.example.org", "10.0.0.3")
					return err == nil && strings.HasSuffix(body, " 10.0.0.3\n")
				})
			}
			t.Logf("both nodes take updates after %v", time.Since(start).Round(time.Millisecond))
			e.stop(t)
			f.equal(t)
			e.check(t)
			l.stop(t)
		})
	}
}

// endurance is routers that update both of a fleet's nodes whatever they are
// told.
type endurance struct {
	fleet         *fleet
	routers       []*router
	done          chan struct{}
	once          sync.Once
	all           sync.WaitGroup
	good, refused atomic.Int64
}

func (f *fleet) endure(t *testing.T) *endurance {
	t.Helper()
	e := &endurance{fleet: f, done: make(chan struct{})}
	t.Cleanup(e.end)
	e.routers = append(f.nodes[0].routers(t, 4)[:2], f.nodes[1].routers(t, 4)[2:]...)
	for i, r := range e.routers {
		root := f.nodes[i/2].url(t)
		e.all.Go(func() {
			for {
				select {
				case <-e.done:
					return
				case <-time.After(5 * time.Millisecond):
				}
				body, err := r.update(root)
				switch {
				case err == nil && r.acked == r.sent:
					e.good.Add(1)
				case err == nil && strings.Trim(body, "91\n") == "" && body != "":
					e.refused.Add(1)
				default:
					t.Errorf("update of %v: %q, %v", r.names, body, err)
				}
			}
		})
	}
	f.nodes[0].await(t, "updates", func() bool { return e.good.Load() > 100 })
	return e
}

// end ends it, before the nodes end.
func (e *endurance) end() {
	e.once.Do(func() { close(e.done) })
	e.all.Wait()
}

func (e *endurance) stop(t *testing.T) {
	t.Helper()
	good := e.good.Load()
	e.fleet.nodes[0].await(t, "more updates", func() bool { return e.good.Load() > good+20 })
	e.end()
	t.Logf("%d updates done, %d refused", e.good.Load(), e.refused.Load())
	if e.refused.Load() == 0 {
		t.Error("no update was refused")
	}
}

// check compares both nodes with what the routers have been told.
func (e *endurance) check(t *testing.T) {
	t.Helper()
	for _, n := range e.fleet.nodes {
		admin := n.adminToken(t)
		for _, r := range e.routers {
			r.check(t, n, admin)
		}
	}
}

// Without the tokens nobody can tell who may update.
func TestLostTokens(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	f := startFleet(t, r, 2)
	secret := f.token(t, "home.dyn.example.org")
	f.nodes[0].good(t, secret, "home.dyn.example.org", "10.0.0.1")
	f.answers(t, "home.dyn.example.org", "10.0.0.1")
	l := f.look(t)
	r.do(t, "RENAME", "ddns:{tokens}:meta", "{tokens}aside")
	for _, n := range f.nodes {
		n.await(t, "update refused", func() bool {
			a := "10.0.1." + strconv.Itoa(int(fresh.Add(1)%250))
			return n.get(t, secret, "/nic/update?hostname=home.dyn.example.org&myip="+a).status == http.StatusServiceUnavailable
		})
	}
	revision := r.do(t, "HGET", key("meta"), "revision")
	unknown, _ := token.Mint()
	for _, n := range f.nodes {
		for _, secret := range []string{secret, unknown} {
			n.get(t, secret, "/nic/update?hostname=home.dyn.example.org&myip=10.0.0.2").retryLater(t)
		}
	}
	if now := r.do(t, "HGET", key("meta"), "revision"); now != revision {
		t.Errorf("the zone went from revision %s to %s", revision, now)
	}
	r.do(t, "RENAME", "{tokens}aside", "ddns:{tokens}:meta")
	for _, n := range f.nodes {
		n.await(t, "wrong token refused", func() bool {
			return n.get(t, unknown, "/nic/update?hostname=home.dyn.example.org&myip=10.0.0.2").status == http.StatusUnauthorized
		})
	}
	l.stop(t)
	f.nodes[1].good(t, secret, "home.dyn.example.org", "10.0.0.3")
	f.answers(t, "home.dyn.example.org", "10.0.0.3")
	f.equal(t)
}

// An emptied Redis is not the truth until an operator says so.
func TestEmptiedRedis(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	f := startFleet(t, r, 2)
	secret := f.token(t, "home.dyn.example.org")
	f.nodes[0].good(t, secret, "home.dyn.example.org", "10.0.0.1")
	f.answers(t, "home.dyn.example.org", "10.0.0.1")
	l := f.look(t)
	refuses := func(who string, n *node) {
		t.Helper()
		for _, path := range []string{"&myip=10.0.0.2", "&myip=10.0.0.1"} {
			if t.Failed() {
				t.Fatal(who)
			}
			n.get(t, secret, "/nic/update?hostname=home.dyn.example.org"+path).retryLater(t)
		}
		req := updateapi.TokenCreate{Names: []string{"home.dyn.example.org"}}
		n.api(t, http.MethodPost, "/tokens", n.adminToken(t), req, http.StatusServiceUnavailable, nil)
	}
	r.do(t, "FLUSHALL")
	for _, n := range f.nodes {
		refuses("a node that knows the zone", n)
		n.waitLog(t, `Zone dyn.example.org.: cannot follow the store.*ddnsctl store forget`)
		n.waitLog(t, `Tokens of .*: cannot follow the store.*ddnsctl store forget`)
		if status := n.ctl(t, ctlDone, "status"); !strings.Contains(status, "store forget") {
			t.Errorf("ddnsctl status: %s", status)
		}
	}
	fresh := newNode(t, onRedis(busy, r))
	fresh.spawn(t)
	fresh.await(t, "start", fresh.started)
	refuses("a fresh node", fresh)
	if keys := r.do(t, "DBSIZE"); keys != "0" {
		t.Errorf("%s keys in an emptied Redis, want none", keys)
	}
	if r := fresh.dig(t, "home.dyn.example.org", dns.TypeA); r.Rcode != dns.RcodeServerFailure || fresh.saysReady(t) {
		t.Errorf("a fresh node answers %v, ready: %v", r, fresh.saysReady(t))
	}
	for _, n := range f.nodes {
		refuses("a node beside a fresh one", n)
	}
	// A mistaken init makes an empty zone, and that one is not the truth either.
	fresh.ctl(t, ctlDone, "store", "init")
	fresh.await(t, "ready", func() bool { return fresh.saysReady(t) })
	for _, n := range f.nodes {
		refuses("a node beside an empty zone", n)
	}
	l.stop(t)

	start := time.Now()
	f.nodes[1].ctl(t, ctlDone, "store", "forget", "tokens")
	f.nodes[0].ctl(t, ctlDone, "store", "forget", "dyn.example.org")
	f.nodes = append(f.nodes, fresh)
	for _, n := range f.nodes {
		n.await(t, "empty zone", func() bool { return n.dig(t, "home.dyn.example.org", dns.TypeA).Rcode == dns.RcodeNameError })
		n.await(t, "token forgotten", func() bool {
			return n.get(t, secret, "/nic/update?hostname=home.dyn.example.org&myip=10.0.0.2").status == http.StatusUnauthorized
		})
	}
	t.Logf("all take the loss %v after store forget", time.Since(start).Round(time.Millisecond))
	if _, said, code := f.nodes[0].ddnsctl(t, "store", "forget", "dyn.example.org"); code != ctlDone || !strings.Contains(said, "Nothing") {
		t.Errorf("store forget with nothing lost: status %d: %s", code, said)
	}
	secret = f.token(t, "home.dyn.example.org")
	for i, n := range f.nodes {
		a := "10.0.1." + string('1'+rune(i))
		n.good(t, secret, "home.dyn.example.org", a)
		f.answers(t, "home.dyn.example.org", a)
	}
	f.equal(t)
}
