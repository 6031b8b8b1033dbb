package test

import (
	"fmt"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/coredns-ddns/ddns/plugin/token"
	"github.com/coredns-ddns/ddns/updateapi"
)

// Whatever is done through one of three nodes the others know too, and a fourth
// one that takes no updates answers all the same.
func TestNodesOnOneRedisServeTheSame(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	f := startFleet(t, r, 3)
	edge := boot(t, asEdge(onRedis(busy, r)))
	everywhere := &fleet{redis: r, nodes: append(slices.Clone(f.nodes), edge)}

	for i, n := range f.nodes {
		name := fmt.Sprintf("h%d.dyn.example.org", i)
		made := n.mint(t, updateapi.TokenCreate{Names: []string{name}})
		start := time.Now()
		f.knows(t, made.Secret)
		known := time.Since(start)
		for j, other := range f.nodes {
			a := fmt.Sprintf("10.0.%d.%d", i, j)
			other.good(t, made.Secret, name, a)
			start = time.Now()
			everywhere.answers(t, name, a)
			t.Logf("an update through node %d is answered everywhere after %v", j, time.Since(start).Round(time.Millisecond))
		}

		start = time.Now()
		n.api(t, http.MethodDelete, "/tokens/"+made.ID, n.adminToken(t), nil, http.StatusNoContent, nil)
		for _, other := range f.nodes {
			path := "/nic/update?hostname=" + name + "&myip=10.0.9.9"
			other.await(t, "revoked token refused", func() bool { return other.get(t, made.Secret, path).status == http.StatusUnauthorized })
		}
		t.Logf("a token of node %d is known everywhere after %v, revoked after %v", i, known.Round(time.Millisecond), time.Since(start).Round(time.Millisecond))
	}
	everywhere.equal(t)
	f.sameHistory(t, "h0.dyn.example.org")
	f.nodes[1].ctl(t, ctlDone, "host", "delete", "h0.dyn.example.org")
	for _, n := range everywhere.nodes {
		n.await(t, "deleted host gone", func() bool { return n.dig(t, "h0.dyn.example.org", dns.TypeA).Rcode == dns.RcodeNameError })
	}
	everywhere.equal(t)
	f.nodes[2].ctl(t, ctlDone, "store", "check", "dyn.example.org")
	f.nodes[2].ctl(t, ctlDone, "store", "check", "tokens")
}

// sameHistory is a host's history, which all nodes tell alike.
func (f *fleet) sameHistory(t testing.TB, name string) []updateapi.Past {
	t.Helper()
	var first updateapi.History
	for i, n := range f.nodes {
		var h updateapi.History
		n.api(t, http.MethodGet, "/hosts/"+name+"/history", n.adminToken(t), nil, http.StatusOK, &h)
		if i == 0 {
			first = h
		} else if !slices.Equal(h.States, first.States) {
			t.Errorf("node %d tells %v of %s, the first %v", i, h.States, name, first.States)
		}
	}
	return first.States
}

// Two nodes that update one host at once come to the same end, and its history
// is what Redis committed last.
func TestOneHostUpdatedThroughTwoNodesAtOnce(t *testing.T) {
	t.Parallel()
	const times, name = 500, "home.dyn.example.org"
	f := startFleet(t, startRedis(t), 3)
	secret := f.token(t, name)
	l := f.look(t)

	var all sync.WaitGroup
	var again atomic.Int64
	start := time.Now()
	for i, n := range f.nodes[:2] {
		root := n.url(t)
		all.Go(func() {
			for k := range times {
				a := fmt.Sprintf("10.%d.%d.%d", i, k>>8, k&0xff)
				for {
					body, err := n.update(root, secret, name, a)
					if err == nil && body == "911\n" {
						again.Add(1)
						continue
					}
					if err != nil || body != "good "+a+"\n" && body != "nochg "+a+"\n" {
						t.Errorf("update through node %d: %q, %v", i, body, err)
					}
					break
				}
			}
		})
	}
	all.Wait()
	l.stop(t)
	t.Logf("%d updates in %v, %d told to come again", 2*times, time.Since(start).Round(time.Millisecond), again.Load())
	f.equal(t)

	var committed, told []string
	for line := range strings.Lines(f.redis.do(t, "XREVRANGE", key("feed"), "+", "-", "COUNT", "20")) {
		if state, ok := strings.CutPrefix(strings.TrimSpace(line), "home "); ok {
			committed = append(committed, strings.Join(strings.Fields(state)[:2], " "))
		}
	}
	for _, p := range f.sameHistory(t, name) {
		told = append(told, fmt.Sprint(p.Revision, " ", p.A))
	}
	if len(told) != 20 || !slices.Equal(told, committed) {
		t.Errorf("the history is %v, the latest commits are %v", told, committed)
	}
}

// update is one update, from any goroutine.
func (n *node) update(root, secret, name, a string) (body string, err error) {
	req, err := http.NewRequest(http.MethodGet, root+"/nic/update?hostname="+name+"&myip="+a, nil)
	if err != nil {
		return "", err
	}
	req.SetBasicAuth("device", secret)
	r, err := n.do(req)
	return r.body, err
}

// A node whose Redis is not there yet waits for it, and for the operator.
func TestStartWithRedisAway(t *testing.T) {
	t.Parallel()
	r := newRedis(t)
	n := newNode(t, onRedis(busy, r))
	edge := newNode(t, asEdge(onRedis(busy, r)))
	f := &fleet{redis: r, nodes: []*node{n, edge}}
	for _, n := range f.nodes {
		n.spawn(t)
		n.await(t, "start", n.started)
	}
	unknown, _ := token.Mint()
	waits := func(says string) {
		t.Helper()
		for _, n := range f.nodes {
			if r := n.dig(t, "home.dyn.example.org", dns.TypeA); r.Rcode != dns.RcodeServerFailure {
				t.Errorf("without a zone DNS answers %v", r)
			}
			if n.saysReady(t) {
				t.Error("ready without a zone")
			}
			n.waitLog(t, "cannot follow the store.*"+says)
		}
		n.get(t, unknown, "/nic/update?hostname=home.dyn.example.org&myip=10.0.0.1").retryLater(t)
		n.await(t, "status that says "+says, func() bool {
			status, _, code := n.ddnsctl(t, "status")
			return code == ctlUnavailable && strings.Contains(status, says)
		})
	}
	waits("connection refused")
	n.ctl(t, ctlUnavailable, "store", "init")
	r.start(t)
	waits("ddnsctl store init")
	if keys := r.do(t, "DBSIZE"); keys != "0" {
		t.Errorf("%s keys before the operator made any", keys)
	}
	if _, said, code := n.ddnsctl(t, "store", "init"); code != ctlDone || !strings.Contains(said, "dyn.example.org.") {
		t.Errorf("ddnsctl store init: status %d: %s", code, said)
	}
	start := time.Now()
	f.awaitReady(t)
	t.Logf("ready %v after store init", time.Since(start).Round(time.Millisecond))
	if _, said, code := n.ddnsctl(t, "store", "init"); code != ctlDone || !strings.Contains(said, "already") {
		t.Errorf("ddnsctl store init once more: status %d: %s", code, said)
	}
	n.good(t, n.token(t, "home.dyn.example.org"), "home.dyn.example.org", "10.0.0.1")
	f.answers(t, "home.dyn.example.org", "10.0.0.1")
	f.equal(t)
}

// A password comes from a file, is taken anew by a reload, and nobody is told it.
func TestRedisPassword(t *testing.T) {
	t.Parallel()
	const right, wrong = "correct-horse-battery", "incorrect-donkey-battery"
	r := startRedis(t, "--requirepass", right)
	n := newNode(t, strings.Replace(onRedis(busy, r), "ns ns1", "redis_auth default {{dir}}/redis.password\n\t\tns ns1", 1))
	n.put(t, "redis.password", wrong+"\n")
	n.keepSecret(right)
	n.keepSecret(wrong)
	n.spawn(t)
	n.await(t, "start", n.started)
	n.waitLog(t, `cannot follow the store.*WRONGPASS`)
	n.ctl(t, ctlUnavailable, "store", "init")
	if n.saysReady(t) {
		t.Error("ready with a wrong password")
	}

	inURL := strings.Replace(onRedis(busy, r), "redis://", "redis://:"+wrong+"@", 1)
	n.write(t, inURL)
	if err := n.reload(t); err != nil {
		t.Errorf("reload: %v", err)
	}
	n.waitLog(t, `(?s)WRONGPASS.*WRONGPASS`)

	n.put(t, "redis.password", right+"\n")
	n.write(t, strings.Replace(onRedis(busy, r), "ns ns1", "redis_auth default {{dir}}/redis.password\n\t\tns ns1", 1))
	if err := n.reload(t); err != nil {
		t.Errorf("reload: %v", err)
	}
	n.ctl(t, ctlDone, "store", "init")
	n.await(t, "ready", func() bool { return n.saysReady(t) })
	n.serves(t, n.token(t, "home.dyn.example.org"), "home.dyn.example.org")

	if err := os.Remove(n.path("redis.password")); err != nil {
		t.Fatal(err)
	}
	if err := n.reload(t); err == nil || !strings.Contains(err.Error(), "redis_auth: ") || !strings.Contains(err.Error(), "is wanted") {
		t.Errorf("reload without the password's file says %v", err)
	}
	n.serves(t, n.token(t, "home.dyn.example.org"), "home.dyn.example.org")
}

// A reload keeps stores and copies, and loses nothing.
func TestReloadWithRedisUnderTraffic(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	corefile := onRedis(reloaded, r)
	n := newNode(t, corefile)
	n.spawn(t)
	n.await(t, "start", n.started)
	n.ctl(t, ctlDone, "store", "init")
	n.await(t, "ready", func() bool { return n.saysReady(t) })
	f := startTraffic(t, n)
	followers := n.followers(t)
	var files int
	for i := range 10 {
		n.write(t, strings.Replace(corefile, "publish any", "publish any\n\t\tttl "+strconv.Itoa(100+i), 1))
		if err := n.reload(t); err != nil {
			t.Error(err)
		}
		f.goOn(t, n)
		if i == 4 {
			files = n.openFiles(t)
		}
	}
	if got := n.followers(t); !slices.Equal(got, followers) {
		t.Errorf("zone and tokens were loaded again: followed by goroutines %v, before by %v", got, followers)
	}
	f.stop(t)
	n.await(t, "as many open files as before", func() bool { return n.openFiles(t) <= files })
	(&fleet{r, []*node{n}}).equal(t)

	// Another prefix is another store: the copies of the old one go.
	n.write(t, strings.Replace(corefile, "publish any", "publish any\n\t\tprefix other:", 1))
	if err := n.reload(t); err != nil {
		t.Fatal(err)
	}
	if rcode := n.dig(t, "fixed.dyn.example.org", dns.TypeA).Rcode; rcode != dns.RcodeServerFailure {
		t.Errorf("of a zone that is not there yet DNS answers %v", rcode)
	}
	n.write(t, corefile)
	if err := n.reload(t); err != nil {
		t.Fatal(err)
	}
	n.await(t, "answer", func() bool { return slices.Equal(n.addresses(t, "fixed.dyn.example.org"), []string{"192.0.2.1"}) })
}
