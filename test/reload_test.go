package test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/miekg/dns"

	"github.com/coredns-ddns/ddns/updateapi"
)

// reloaded is busy with pprof, and with a zone of whoami's beside: what befalls
// that one too is CoreDNS's matter.
const reloaded = busy + `
whoami.example:{{dns}} {
	bind 127.0.0.1
	pprof 127.0.0.1:{{pprof}}
	whoami
}
`

func TestReloadUnderTraffic(t *testing.T) {
	t.Parallel()
	n := boot(t, reloaded)
	f := startTraffic(t, n)
	followers := n.followers(t)
	var files, goroutines int
	for i := range 20 {
		n.write(t, strings.Replace(reloaded, "publish any", fmt.Sprintf("publish any\n\t\tttl %d", 100+i), 1))
		if err := n.reload(t); err != nil {
			t.Error(err)
		}
		if got := n.dig(t, "fixed.dyn.example.org", dns.TypeA).Answer[0].Header().Ttl; got != uint32(100+i) {
			t.Errorf("after the reload the TTL is %d, want %d", got, 100+i)
		}
		f.goOn(t, n)
		if i == 4 {
			files, goroutines = n.openFiles(t), n.goroutines(t)
		}
	}
	if got := n.followers(t); !slices.Equal(got, followers) {
		t.Errorf("zone and tokens were loaded again: followed by goroutines %v, before by %v", got, followers)
	}
	f.stop(t)
	n.await(t, "as many open files as at first", func() bool { return n.openFiles(t) <= files })
	n.await(t, "as many goroutines as at first", func() bool { return n.goroutines(t) <= goroutines })
}

// The reload plugin finds every change by itself.
func TestReloadPluginUnderTraffic(t *testing.T) {
	t.Parallel()
	first := strings.Replace(reloaded, "errors", "errors\n\treload 2s 0s", 1)
	n := boot(t, first)
	f := startTraffic(t, n)
	change := func(corefile string, shown func() bool) {
		t.Helper()
		n.write(t, corefile)
		n.await(t, "effect of the new Corefile", shown)
		f.goOn(t, n)
	}
	const added = `
added.example:{{dns}} {
	bind 127.0.0.1
	ddns {
		database {{dir}}/ddns.db
		ns ns.example.net
		update 127.0.0.1:{{https}}
	}
}
`
	change(strings.Replace(first, "publish any", "publish any\n\t\tttl 77", 1), func() bool {
		return n.dig(t, "fixed.dyn.example.org", dns.TypeA).Answer[0].Header().Ttl == 77
	})
	rcode := func() int { return n.dig(t, "added.example", dns.TypeSOA).Rcode }
	change(first+added, func() bool { return rcode() == dns.RcodeSuccess })
	n.serves(t, n.token(t, "host.added.example"), "host.added.example")
	change(first, func() bool { return rcode() == dns.RcodeRefused })
	f.stop(t)

	token := n.token(t, "fixed.dyn.example.org")
	n.write(t, strings.Replace(first, "rate 1000000/1s", "rate 1/24h", 1))
	n.await(t, "the new rate", func() bool {
		return n.get(t, token, "/nic/update?hostname=fixed.dyn.example.org&myip=192.0.2.1").status == http.StatusServiceUnavailable
	})
}

// A zone whose snapshot takes a while is not loaded again by a reload, and not
// answered before it is loaded at a start.
func TestReloadOfManyHosts(t *testing.T) {
	t.Parallel()
	n := boot(t, reloaded)
	const hosts = 200_000
	admin := n.adminToken(t)
	var batch updateapi.Import
	for i := range hosts {
		batch.Hosts = append(batch.Hosts, updateapi.ImportHost{
			Name:    fmt.Sprintf("h%d.dyn.example.org", i),
			HostPut: updateapi.HostPut{A: fmt.Sprintf("10.%d.%d.%d", i>>16, i>>8&0xff, i&0xff), AAAA: fmt.Sprintf("2001:db8::%x:1", i&0xffff)},
		})
		if len(batch.Hosts) == updateapi.MaxImport {
			n.api(t, http.MethodPost, "/hosts", admin, batch, http.StatusOK, nil)
			batch.Hosts = nil
		}
	}
	followers, f := n.followers(t), startTraffic(t, n)
	for range 5 {
		if err := n.reload(t); err != nil {
			t.Error(err)
		}
		f.goOn(t, n)
	}
	f.stop(t)
	if got := n.followers(t); !slices.Equal(got, followers) {
		t.Errorf("followed by goroutines %v, before by %v", got, followers)
	}

	n.kill(t)
	n.spawn(t)
	last := new(dns.Msg).SetQuestion(fmt.Sprintf("h%d.dyn.example.org.", hosts-1), dns.TypeA)
	n.await(t, "answer", func() bool {
		r, err := n.query("udp", last)
		if err == nil && len(r.Answer) != 1 {
			t.Fatalf("the first answer is %v", r)
		}
		return err == nil
	})
	n.await(t, "start", func() bool { return n.out.contains("\nCoreDNS-") })
}

// A new block that cannot start for one of many reasons, some found before our
// start-up hooks ran and some after.
func TestFailedReloadLeavesTheOldInstanceServing(t *testing.T) {
	t.Parallel()
	const other = `
other.example:{{otherdns}} {
	bind 127.0.0.1
	ddns {
		database {{dir}}/other.db
		ns ns.example.net
		update 127.0.0.1:{{otherhttps}}
		tls internal
		admin_token {{dir}}/admin.token
		publish any
	}
}
`
	occupied := func(name string) func(*testing.T, *node) func() {
		return func(t *testing.T, n *node) func() {
			l, err := net.Listen("tcp", n.addr(t, name))
			if err != nil {
				t.Fatal(err)
			}
			return func() { l.Close() }
		}
	}
	for name, c := range map[string]struct {
		corefile string
		obstacle func(*testing.T, *node) (remove func())
		says     string
	}{
		"plugin":               {corefile: busy + strings.Replace(other, "bind", "bound", 1), says: "Corefile:17"},
		"property":             {corefile: busy + strings.Replace(other, "ns ns", "nameserver ns", 1), says: "nameserver"},
		"occupied DNS port":    {busy + other, occupied("otherdns"), "address already in use"},
		"occupied update port": {busy + other, occupied("otherhttps"), "free"},
		"foreign database": {busy + other, func(t *testing.T, n *node) func() {
			file := n.path("other.db")
			if err := os.WriteFile(file, []byte(strings.Repeat("not a database\n", 1000)), 0o600); err != nil {
				t.Fatal(err)
			}
			return func() { os.Remove(file) }
		}, "other.db is not a database"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := boot(t, busy)
			token := n.token(t, "home.dyn.example.org")
			n.write(t, c.corefile)
			remove := func() {}
			if c.obstacle != nil {
				remove = c.obstacle(t, n)
			}
			for range 3 {
				if err := n.reload(t); err == nil || !strings.Contains(err.Error(), c.says) {
					t.Errorf("reload says %v, want %q in it", err, c.says)
				}
				n.serves(t, token, "home.dyn.example.org")
			}
			remove()
			if locked(t, n.path("other.db")) {
				t.Error("the failed reload holds the new database's lock")
			}
			if !unused(n.port(t, "otherhttps")) {
				t.Error("the failed reload holds the new update address")
			}

			n.write(t, busy+other)
			if err := n.reload(t); err != nil {
				t.Fatal(err)
			}
			n.serves(t, token, "home.dyn.example.org")
			n.at("otherdns", "otherhttps").serves(t, n.at("otherdns", "otherhttps").token(t, "a.other.example"), "a.other.example")
		})
	}
}

// A reload that is the first to bring ddns lets go when it fails, and works when
// it does not.
func TestFailedReloadThatAddsTheFirstBlock(t *testing.T) {
	t.Parallel()
	const without = `example.net:{{dns}} {
	bind 127.0.0.1
	whoami
}
`
	with := without + strings.NewReplacer("{{dns}}", "{{newdns}}", "ready 127.0.0.1:{{ready}}", "").Replace(busy)
	n := boot(t, without)
	for range 3 {
		l, err := net.Listen("tcp", n.addr(t, "newdns"))
		if err != nil {
			t.Fatal(err)
		}
		n.write(t, with)
		if err := n.reload(t); err == nil || !strings.Contains(err.Error(), "address already in use") {
			t.Errorf("reload says %v", err)
		}
		l.Close()
		if locked(t, n.path("ddns.db")) || !unused(n.port(t, "https")) {
			t.Error("the failed reload holds the database's lock or the update address")
		}
		if r := n.dig(t, "any.example.net", dns.TypeA); r.Rcode != dns.RcodeSuccess {
			t.Errorf("the old instance answers %v", r)
		}
	}
	for range 2 {
		n.write(t, with)
		if err := n.reload(t); err != nil {
			t.Fatal(err)
		}
		added := n.at("newdns", "https")
		added.serves(t, added.token(t, "home.dyn.example.org"), "home.dyn.example.org")

		n.write(t, without)
		if err := n.reload(t); err != nil {
			t.Fatal(err)
		}
		if locked(t, n.path("ddns.db")) || !unused(n.port(t, "https")) {
			t.Error("without ddns the database or the update address is still held")
		}
	}
}

// Update addresses come and go by reload, connections to the others stay.
func TestReloadMovesUpdateAddresses(t *testing.T) {
	t.Parallel()
	n := boot(t, busy)
	token := n.token(t, "home.dyn.example.org")
	second := strings.Replace(busy, "{{https}}", "{{second}}", 1)
	both := busy + strings.NewReplacer("{{https}}", "{{second}}", "{{dns}}", "{{dns2}}", "ready 127.0.0.1:{{ready}}", "").Replace(busy)
	for _, step := range []struct {
		corefile string
		serves   []string
		ends     string
	}{
		{both, []string{"https", "second"}, ""},
		{second, []string{"second"}, "https"},
		{both, []string{"https", "second"}, ""},
		{busy, []string{"https"}, "second"},
	} {
		n.write(t, step.corefile)
		if err := n.reload(t); err != nil {
			t.Fatal(err)
		}
		for _, name := range step.serves {
			n.at("dns", name).serves(t, token, "home.dyn.example.org")
		}
		if step.ends != "" && !unused(n.port(t, step.ends)) {
			t.Errorf("%s is still listened on", step.ends)
		}
	}
}

// at is the same node, whose {{dns}} and {{https}} are other ports of it.
func (n *node) at(dnsPort, httpsPort string) *node {
	return &node{dir: n.dir, cmd: n.cmd, out: n.out, exited: n.exited,
		ports: map[string]int{"dns": n.ports[dnsPort], "https": n.ports[httpsPort]}}
}

var fresh atomic.Uint32

// serves updates name and looks it up: both sides of the node are there.
func (n *node) serves(t testing.TB, token, name string) {
	t.Helper()
	k := fresh.Add(1)
	a := fmt.Sprintf("10.0.%d.%d", k>>8&0xff, k&0xff)
	if r := n.get(t, token, "/nic/update?hostname="+name+"&myip="+a); r.body != "good "+a+"\n" {
		t.Errorf("update of %s: %d %q", name, r.status, r.body)
	}
	if got := n.addresses(t, name); !slices.Equal(got, []string{a}) {
		t.Errorf("DNS answers %v for %s, want %s", got, name, a)
	}
}

// locked says whether a process has the file locked, as bbolt does.
func locked(t testing.TB, file string) bool {
	t.Helper()
	f, err := os.Open(file)
	if os.IsNotExist(err) {
		return false
	}
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	return syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) != nil
}

func (n *node) openFiles(t testing.TB) int {
	t.Helper()
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", n.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	return len(files)
}

var total = regexp.MustCompile(`goroutine profile: total (\d+)`)

func (n *node) goroutines(t testing.TB) int {
	t.Helper()
	m := total.FindStringSubmatch(n.pprof(t, "goroutine?debug=1"))
	if m == nil {
		t.Fatal("pprof does not count the goroutines")
	}
	count, _ := strconv.Atoi(m[1])
	return count
}

var following = regexp.MustCompile(`goroutine (\d+) [^\n]*\n(?:[^\n]+\n)*[^\n]*/replica\.\(\*follower`)

// followers are the goroutines that keep the node's copies. Each loads its copy
// first, so the same ones after a reload mean that nothing was loaded again.
func (n *node) followers(t testing.TB) []string {
	t.Helper()
	var ids []string
	for _, m := range following.FindAllStringSubmatch(n.pprof(t, "goroutine?debug=2"), -1) {
		ids = append(ids, m[1])
	}
	slices.Sort(ids)
	if len(ids) == 0 {
		t.Fatal("no goroutine follows")
	}
	return ids
}

func (n *node) pprof(t testing.TB, path string) string {
	t.Helper()
	r, err := http.Get("http://" + n.addr(t, "pprof") + "/debug/pprof/" + path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
