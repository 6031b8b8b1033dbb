package test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coredns-ddns/ddns/updateapi"
)

// What a subtree's holder tries, and what comes of it.
func TestSubtreeGrant(t *testing.T) {
	t.Parallel()
	n := boot(t, proxied)
	admin := n.adminToken(t)
	d := device{n: n, token: n.token(t, "*.home.dyn.example.org")}
	for _, c := range []struct{ host, want string }{
		{"nas.home.dyn.example.org", "good"},
		{"a.b.c.home.dyn.example.org", "good"},
		{"NAS.HOME.DYN.EXAMPLE.ORG.", "nochg"},
		{"*.home.dyn.example.org", "good"},
		{"*.nas.home.dyn.example.org", "good"},
		{"home.dyn.example.org", "nohost"},
		{"evilhome.dyn.example.org", "nohost"},
		{"evil-home.dyn.example.org", "nohost"},
		{"x.evilhome.dyn.example.org", "nohost"},
		{"home.dyn.example.org.evil.example", "nohost"},
		{"nas.home.dyn.example.org.example.org", "nohost"},
		{"*.dyn.example.org", "nohost"},
		{"dyn.example.org", "nohost"},
		{"example.org", "nohost"},
		{`evil\.home.dyn.example.org`, "notfqdn"},
		{`evil\046home.dyn.example.org`, "notfqdn"},
		{".home.dyn.example.org", "notfqdn"},
		{"x.*.home.dyn.example.org", "notfqdn"},
	} {
		r := d.update(t, "myip=198.51.100.7&hostname="+strings.ReplaceAll(c.host, `\`, "%5C"))
		if word, _, _ := strings.Cut(strings.TrimSpace(r.body), " "); r.status != 200 || word != c.want {
			t.Errorf("%s: %d %q, want %s", c.host, r.status, r.body, c.want)
		}
		if refused := c.want == "nohost"; refused && len(n.addresses(t, c.host)) > 0 {
			t.Errorf("%s is answered", c.host)
		}
		if strings.Contains(c.want, "no") && c.want != "nochg" {
			for _, method := range []string{"GET", "PUT", "DELETE"} {
				r := n.call(t, method, "/hosts/"+strings.ReplaceAll(c.host, `\`, "%5C"), d.token, `{"a":"198.51.100.7"}`)
				wantProblem(t, method+" "+c.host, r, map[string]int{"nohost": 403, "notfqdn": 422}[c.want])
			}
		}
	}
	var list updateapi.HostList
	n.api(t, "GET", "/hosts", admin, nil, 200, &list)
	if len(list.Hosts) != 4 {
		t.Errorf("there are %d hosts, want 4: %+v", len(list.Hosts), list.Hosts)
	}
}

// A device sees its own hosts, and cannot tell what else there is.
func TestDeviceSeesItsOwn(t *testing.T) {
	t.Parallel()
	n := boot(t, proxied)
	admin := n.adminToken(t)
	var hosts []updateapi.ImportHost
	for i := range 30 {
		hosts = append(hosts, updateapi.ImportHost{Name: fmt.Sprintf("a%d.dyn.example.org", i)},
			updateapi.ImportHost{Name: fmt.Sprintf("a%d.home.dyn.example.org", i)})
	}
	hosts = append(hosts, updateapi.ImportHost{Name: "ns1.dyn.example.org"})
	n.api(t, "POST", "/hosts", admin, updateapi.Import{Hosts: hosts}, 200, nil)

	list := func(token string) (names []string) {
		t.Helper()
		for cursor, pages := "", 0; pages == 0 || cursor != ""; pages++ {
			var page updateapi.HostList
			n.api(t, "GET", "/hosts?limit=7&cursor="+cursor, token, nil, 200, &page)
			if len(page.Hosts) > 7 || pages > 20 {
				t.Fatalf("page %d has %d hosts, at most 7 are wanted", pages, len(page.Hosts))
			}
			for _, h := range page.Hosts {
				names = append(names, h.Name)
			}
			cursor = page.Cursor
		}
		slices.Sort(names)
		return names
	}
	var below, literal, all []string
	for _, h := range hosts {
		if all = append(all, h.Name+"."); strings.Contains(h.Name, ".home.") {
			below = append(below, h.Name+".")
		} else if h.Name != "ns1.dyn.example.org" {
			literal = append(literal, h.Name+".")
		}
	}
	for intent, c := range map[string]struct {
		token string
		want  []string
	}{
		"a subtree":                {n.token(t, "*.home.dyn.example.org"), below},
		"names":                    {n.token(t, append([]string{"none.dyn.example.org"}, literal...)...), literal},
		"all but what is reserved": {n.token(t, "*.dyn.example.org"), slices.Concat(below, literal)},
		"the operator":             {admin, all},
	} {
		if slices.Sort(c.want); !slices.Equal(list(c.token), c.want) {
			t.Errorf("%s: %d hosts %v, want %d", intent, len(list(c.token)), list(c.token), len(c.want))
		}
	}

	token := n.token(t, "*.home.dyn.example.org")
	for _, path := range []string{"", "/history"} {
		is := n.call(t, "GET", "/hosts/a1.dyn.example.org"+path, token, "")
		isNot := n.call(t, "GET", "/hosts/nothing.dyn.example.org"+path, token, "")
		if wantProblem(t, "a foreign host", is, 403); is.body != isNot.body {
			t.Errorf("a foreign host that exists is told from one that does not: %s %s", is.body, isNot.body)
		}
	}
}

func TestReservedNames(t *testing.T) {
	t.Parallel()
	n := newNode(t, strings.Replace(proxied, "tls internal", "tls {{dir}}/ca.pem {{dir}}/key.pem", 1))
	n.certificate(t, "ca.pem", "key.pem", "update.dyn.example.org")
	n.start(t)
	all := device{n: n, token: n.token(t, "*.dyn.example.org")}
	for _, host := range []string{"dyn.example.org", "ns1.dyn.example.org", "NS1.dyn.example.org.", "x.ns1.dyn.example.org", "*.ns1.dyn.example.org",
		"_acme-challenge.dyn.example.org", "_acme-challenge.ns1.dyn.example.org", "update.dyn.example.org", "x.update.dyn.example.org",
		"_acme-challenge.update.dyn.example.org"} {
		if r := all.update(t, "hostname="+host+"&myip=198.51.100.66"); r.status != 200 || r.body != "nohost\n" {
			t.Errorf("%s by a subtree: %d %q", host, r.status, r.body)
		}
		if host == "*.ns1.dyn.example.org" {
			continue // a grant of *. is a subtree
		}
		own := device{n: n, token: n.token(t, host)}
		if r := own.update(t, "hostname="+host+"&myip=198.51.100.9"); r.status != 200 || !strings.Contains("good 198.51.100.9\n nochg 198.51.100.9\n", r.body) {
			t.Errorf("%s by its name: %d %q", host, r.status, r.body)
		}
	}
	if got := n.addresses(t, "dyn.example.org"); !slices.Equal(got, []string{"198.51.100.9"}) {
		t.Errorf("the apex is answered %v", got)
	}
	for _, host := range []string{"xns1.dyn.example.org", "ns2.dyn.example.org", "_acme-challenge.home.dyn.example.org", "xupdate.dyn.example.org"} {
		if r := all.update(t, "hostname="+host+"&myip=198.51.100.7"); r.body != "good 198.51.100.7\n" {
			t.Errorf("%s, which is not reserved: %d %q", host, r.status, r.body)
		}
	}
}

func TestTypes(t *testing.T) {
	t.Parallel()
	n := boot(t, proxied)
	d := device{n: n, token: n.mint(t, updateapi.TokenCreate{Names: []string{"home.dyn.example.org"}, Types: []string{"AAAA"}}).Secret}
	operator := updateapi.HostPut{A: "198.51.100.1"}
	n.api(t, "PUT", homePath, n.adminToken(t), operator, 201, nil)
	for _, s := range []step{
		{"myip=198.51.100.7", "nohost\n", "198.51.100.1"},
		{"myip=198.51.100.7&myipv6=2001:db8::7", "nohost\n", "198.51.100.1"},
		{"myip=&myipv6=2001:db8::7", "nohost\n", "198.51.100.1"},
		{"offline=YES", "nohost\n", "198.51.100.1"},
		{"myip=2001:db8::7", "good 2001:db8::7\n", "198.51.100.1 2001:db8::7"},
		{"myipv6=2001:db8:1::/64", "good 2001:db8:1::/64\n", "198.51.100.1 2001:db8:1::7"},
	} {
		if r := d.update(t, "hostname=home.dyn.example.org&"+s.query); r.status != 200 || r.body != s.want {
			t.Errorf("%s: %d %q, want %q", s.query, r.status, r.body, s.want)
		}
		if got := strings.Join(n.addresses(t, "home.dyn.example.org"), " "); got != s.dns {
			t.Errorf("after %s DNS answers %q, want %q", s.query, got, s.dns)
		}
	}
	wantProblem(t, "PUT of the other family", n.call(t, "PUT", homePath, d.token, `{"a":"198.51.100.7"}`), 403)
	wantProblem(t, "PUT that withdraws both", n.call(t, "PUT", homePath, d.token, `{"aaaa":"2001:db8::7","offline":true}`), 403)
	wantProblem(t, "DELETE of both families", n.call(t, "DELETE", homePath, d.token, ""), 403)
	n.api(t, "PUT", homePath, d.token, updateapi.HostPut{AAAA: "2001:db8::8"}, 200, nil)
	if got := strings.Join(n.addresses(t, "home.dyn.example.org"), " "); got != "198.51.100.1 2001:db8::8" {
		t.Errorf("after a PUT of its own family DNS answers %q", got)
	}
}

// A quota counts the hosts that there are, whoever made them, and creations
// that race do not overshoot it.
func TestQuota(t *testing.T) {
	t.Parallel()
	n := boot(t, proxied)
	admin := n.adminToken(t)
	d := device{n: n, token: n.mint(t, updateapi.TokenCreate{Names: []string{"*.home.dyn.example.org", "home.dyn.example.org"}, Quota: 5}).Secret}
	n.api(t, "PUT", "/hosts/old.home.dyn.example.org", admin, updateapi.HostPut{A: "198.51.100.1"}, 201, nil)

	var made sync.Map
	var all sync.WaitGroup
	for i := range 24 {
		all.Go(func() {
			host := fmt.Sprintf("h%d.home.dyn.example.org", i)
			r, err := n.do(d.request(t, "GET", "/nic/update?myip=198.51.100.7&hostname="+host, ""))
			switch {
			case err == nil && r.body == "good 198.51.100.7\n":
				made.Store(host, true)
			case err != nil || r.body != "nohost\n":
				t.Errorf("%s: %v %d %q", host, err, r.status, r.body)
			}
		})
	}
	all.Wait()
	var hosts []string
	for host := range made.Range {
		hosts = append(hosts, host.(string))
	}
	if len(hosts) != 4 {
		t.Fatalf("%d hosts were made beside the one there was, want 4", len(hosts))
	}
	if r := d.update(t, "myip=198.51.100.8&hostname="+strings.Join(hosts, ",")+",home.dyn.example.org"); r.body != strings.Repeat("good 198.51.100.8\n", 4)+"nohost\n" {
		t.Errorf("with the quota used up, hosts that there are: %d %q", r.status, r.body)
	}
	wantProblem(t, "PUT over the quota", n.call(t, "PUT", homePath, d.token, `{}`), 403)
	n.api(t, "DELETE", "/hosts/"+hosts[0], d.token, nil, 204, nil)
	n.api(t, "DELETE", "/hosts/"+hosts[1], d.token, nil, 204, nil)
	if r := d.update(t, "myip=198.51.100.8&hostname=home.dyn.example.org,x.home.dyn.example.org,y.home.dyn.example.org"); r.body != "good 198.51.100.8\ngood 198.51.100.8\nnohost\n" {
		t.Errorf("with two to spare: %d %q", r.status, r.body)
	}
}

func TestSourcesAndExpiry(t *testing.T) {
	t.Parallel()
	const query = "hostname=home.dyn.example.org&myip=198.51.100.7"
	n := boot(t, proxied)
	token := n.mint(t, updateapi.TokenCreate{Names: []string{"home.dyn.example.org"}, Sources: []netip.Prefix{
		netip.MustParsePrefix("203.0.113.0/24"), netip.MustParsePrefix("2001:db8:1::/48")}}).Secret
	for client, want := range map[string]int{"203.0.113.9": 200, "203.0.114.9": 401, "2001:db8:1::9": 200, "2001:db8:2::9": 401, "": 401, "::ffff:203.0.113.9": 200} {
		if r := (device{n: n, token: token, client: client}).update(t, query); r.status != want {
			t.Errorf("from %q: %d %q, want %d", client, r.status, r.body, want)
		}
	}

	expiring := device{n: n, token: n.mint(t, updateapi.TokenCreate{Names: []string{"home.dyn.example.org"}, Expires: time.Now().Add(4 * time.Second)}).Secret}
	if r := expiring.update(t, query); r.status != 200 {
		t.Errorf("before it expires: %d %q", r.status, r.body)
	}
	var last reply
	n.await(t, "expiry", func() bool {
		last = expiring.update(t, query)
		return last.status != 200
	})
	if last.status != 401 || last.body != "badauth\n" || last.header.Get("WWW-Authenticate") == "" {
		t.Errorf("expired: %d %q", last.status, last.body)
	}
}

// two stores and three zones behind one address
const shared = `dyn.example.org:{{dns}} two.example.org:{{dns}} {
	bind 127.0.0.1
	ready 127.0.0.1:{{ready}}
	errors
	ddns {
		database {{dir}}/one.db
		ns ns.example.net
		update 127.0.0.1:{{https}}
		tls internal
		admin_token {{dir}}/admin.token
		rate 1000000/1s
	}
}
`

const alsoShared = `sub.dyn.example.org:{{dns}} {
	bind 127.0.0.1
	errors
	ddns {
		database {{dir}}/other.db
		ns ns.example.net
		update 127.0.0.1:{{https}}
	}
}
`

// A token has power over the zones of its own store only.
func TestStoresShareAnAddress(t *testing.T) {
	t.Parallel()
	n := boot(t, shared)
	admin := n.adminToken(t)
	early := device{n: n, token: n.token(t, "x.sub.dyn.example.org", "*.dyn.example.org")}
	if r := early.update(t, "hostname=x.sub.dyn.example.org&myip=198.51.100.7"); r.body != "good 198.51.100.7\n" {
		t.Fatalf("%d %q", r.status, r.body)
	}
	n.write(t, shared+alsoShared)
	n.restart(t)

	// The zone has moved to another store, and with it what its hosts are.
	other := device{n: n, token: n.token(t, "*.sub.dyn.example.org")}
	if r := other.update(t, "hostname=x.sub.dyn.example.org,x.dyn.example.org,x.two.example.org&myip=198.51.100.8"); r.body != "good 198.51.100.8\nnohost\nnohost\n" {
		t.Errorf("%d %q", r.status, r.body)
	}
	if r := early.update(t, "hostname=x.sub.dyn.example.org,x.dyn.example.org&myip=198.51.100.9"); r.body != "nohost\ngood 198.51.100.9\n" {
		t.Errorf("%d %q", r.status, r.body)
	}
	if got := n.addresses(t, "x.sub.dyn.example.org"); !slices.Equal(got, []string{"198.51.100.8"}) {
		t.Errorf("DNS answers %v", got)
	}
	wantProblem(t, "GET from another store", n.call(t, "GET", "/hosts/x.sub.dyn.example.org", early.token, ""), 403)
	var who updateapi.Whoami
	n.api(t, "GET", "/whoami", early.token, nil, http.StatusOK, &who)
	for _, h := range who.Hosts {
		if h.Stored != nil || len(h.DNS) > 0 {
			t.Errorf("whoami tells of another store: %+v", h)
		}
	}
	wantProblem(t, "a token for two stores", n.call(t, "POST", "/tokens", admin, `{"names":["a.dyn.example.org","a.sub.dyn.example.org"]}`), 422)

	// Of several zones the operator sees all, or one.
	if r := (device{n: n, token: n.token(t, "x.dyn.example.org", "x.two.example.org")}).update(t, "hostname=x.dyn.example.org,x.two.example.org&myip=198.51.100.5"); r.body != "good 198.51.100.5\ngood 198.51.100.5\n" {
		t.Errorf("hosts of two zones of one store: %d %q", r.status, r.body)
	}
	for query, want := range map[string]string{"": "[x.dyn.example.org. x.sub.dyn.example.org. x.sub.dyn.example.org. x.two.example.org.]",
		"?zone=two.example.org": "[x.two.example.org.]", "?zone=sub.dyn.example.org": "[x.sub.dyn.example.org.]", "?zone=no.example.org": "[]"} {
		var list updateapi.HostList
		n.api(t, "GET", "/hosts"+query, admin, nil, 200, &list)
		names := []string{}
		for _, h := range list.Hosts {
			names = append(names, h.Name)
		}
		if slices.Sort(names); fmt.Sprint(names) != want {
			t.Errorf("%q lists %v, want %s", query, names, want)
		}
	}
	for path, want := range map[string]int{"/hosts": 4, "/tokens": 3} {
		found := map[string]bool{}
		for cursor, pages := "", 0; pages == 0 || cursor != ""; pages++ {
			var page struct {
				Hosts, Tokens []json.RawMessage
				Cursor        string
			}
			n.api(t, "GET", path+"?limit=1&cursor="+cursor, admin, nil, 200, &page)
			for _, one := range append(page.Hosts, page.Tokens...) {
				found[string(one)] = true
			}
			if cursor = page.Cursor; pages > 20 {
				t.Fatalf("%s has no end", path)
			}
		}
		if len(found) != want {
			t.Errorf("%s, one a page: %d, want %d", path, len(found), want)
		}
	}
	var status updateapi.Status
	n.api(t, "GET", "/status", admin, nil, 200, &status)
	if len(status.Zones) != 3 || !status.Ready || status.Tokens != 3 {
		t.Errorf("status %+v", status)
	}
	wantProblem(t, "a backup of one of two stores", n.call(t, "GET", "/backup", admin, ""), 422)
	if r := n.call(t, "GET", "/backup?zone=sub.dyn.example.org", admin, ""); r.status != 200 || len(r.body) == 0 {
		t.Errorf("a backup of a zone's store: %d", r.status)
	}
}
