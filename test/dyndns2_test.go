package test

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"github.com/coredns-ddns/ddns/updateapi"
)

// proxied is a node whose clients stand behind a proxy on loopback, so that a
// test chooses the addresses that they come from.
const proxied = `dyn.example.org:{{dns}} {
	bind 127.0.0.1
	ready 127.0.0.1:{{ready}}
	errors
	ddns {
		database {{dir}}/ddns.db
		ns ns1.dyn.example.org 192.0.2.53
		update 127.0.0.1:{{https}}
		tls internal
		admin_token {{dir}}/admin.token
		trusted_proxies 127.0.0.1
		rate 1000000/1s
	}
}
`

// device is somebody who updates hosts.
type device struct {
	n      *node
	token  string // "": none
	client string // the address it has for the proxy; "": there is no proxy
	agent  string
}

// update is a GET of /nic/update with that query.
func (d device) update(t testing.TB, query string) reply {
	t.Helper()
	return d.get(t, "/nic/update?"+query)
}

func (d device) get(t testing.TB, path string) reply {
	t.Helper()
	return d.send(t, d.request(t, http.MethodGet, path, ""))
}

func (d device) request(t testing.TB, method, path, body string) *http.Request {
	t.Helper()
	req, err := http.NewRequest(method, d.n.url(t)+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if d.token != "" {
		req.SetBasicAuth("any user", d.token)
	}
	if d.client != "" {
		req.Header.Set("X-Forwarded-For", d.client)
	}
	if d.agent != "" {
		req.Header.Set("User-Agent", d.agent)
	}
	return req
}

func (d device) send(t testing.TB, req *http.Request) reply {
	t.Helper()
	r, err := d.n.do(req)
	if err != nil {
		t.Fatalf("%s %s: %v", req.Method, req.URL.Path, err)
	}
	return r
}

// step is an update of HOST, its whole reply, and what DNS answers for HOST then.
type step struct {
	query, want string
	dns         string // addresses with spaces between them
}

const both = "hostname=HOST&myip=198.51.100.7&myipv6=2001:db8::7"

// The client's address is 203.0.113.9 but for those that say otherwise.
var parameterCases = []struct {
	intent string
	client string
	steps  []step
}{
	{"each family in its parameter, and again", "", []step{
		{both, "good 198.51.100.7,2001:db8::7\n", "198.51.100.7 2001:db8::7"},
		{both, "nochg 198.51.100.7,2001:db8::7\n", "198.51.100.7 2001:db8::7"},
		{"hostname=HOST&myip=198.51.100.8", "good 198.51.100.8\n", "198.51.100.8 2001:db8::7"}}},
	{"a list of both families in myip", "", []step{
		{"hostname=HOST&myip=198.51.100.7,2001:db8::7", "good 198.51.100.7,2001:db8::7\n", "198.51.100.7 2001:db8::7"}}},
	{"IPv6 alone in myip", "", []step{
		{"hostname=HOST&myip=2001:db8::7", "good 2001:db8::7\n", "2001:db8::7"}}},
	{"other names for myip", "", []step{
		{"hostname=HOST&ip=198.51.100.1", "good 198.51.100.1\n", "198.51.100.1"},
		{"hostname=HOST&myipv4=198.51.100.2", "good 198.51.100.2\n", "198.51.100.2"},
		{"hostname=HOST&ipv4=198.51.100.3&ipv6=2001:db8::3", "good 198.51.100.3,2001:db8::3\n", "198.51.100.3 2001:db8::3"}}},
	{"addresses are echoed as they were spelled", "", []step{
		{"hostname=HOST&myip=2001:DB8:0::0007", "good 2001:DB8:0::0007\n", "2001:db8::7"},
		{"hostname=HOST&myip=2001:db8::7", "nochg 2001:db8::7\n", "2001:db8::7"},
		{"hostname=HOST&myip=::ffff:198.51.100.7", "good ::ffff:198.51.100.7\n", "198.51.100.7 2001:db8::7"}}},
	{"an empty value deletes its family", "", []step{
		{both, "good 198.51.100.7,2001:db8::7\n", "198.51.100.7 2001:db8::7"},
		{"hostname=HOST&myip=198.51.100.7&myipv6=", "good 198.51.100.7\n", "198.51.100.7"},
		{"hostname=HOST&myip=&myipv6=2001:db8::7", "good 2001:db8::7\n", "2001:db8::7"},
		{"hostname=HOST&myip=&myipv6=", "good\n", ""}}},
	{"preserve keeps", "", []step{
		{both, "good 198.51.100.7,2001:db8::7\n", "198.51.100.7 2001:db8::7"},
		{"hostname=HOST&myip=preserve&myipv6=2001:db8::8", "good 2001:db8::8\n", "198.51.100.7 2001:db8::8"},
		{"hostname=HOST&myip=preserve&myipv6=preserve", "nochg\n", "198.51.100.7 2001:db8::8"}}},
	{"auto is the client address", "", []step{
		{"hostname=HOST&myip=auto&myipv6=2001:db8::7", "good 203.0.113.9,2001:db8::7\n", "203.0.113.9 2001:db8::7"}}},
	{"no address is the client address in its family", "", []step{
		{both, "good 198.51.100.7,2001:db8::7\n", "198.51.100.7 2001:db8::7"},
		{"hostname=HOST", "good 203.0.113.9\n", "203.0.113.9 2001:db8::7"},
		{"hostname=HOST&myip=", "nochg 203.0.113.9\n", "203.0.113.9 2001:db8::7"}}},
	{"no address of a client with IPv6", "2001:db8:99::9", []step{
		{both, "good 198.51.100.7,2001:db8::7\n", "198.51.100.7 2001:db8::7"},
		{"hostname=HOST", "good 2001:db8:99::9\n", "198.51.100.7 2001:db8:99::9"}}},
	{"a /64 keeps the lower half", "", []step{
		{"hostname=HOST&myip=2001:db8:1:2:a:b:c:d", "good 2001:db8:1:2:a:b:c:d\n", "2001:db8:1:2:a:b:c:d"},
		{"hostname=HOST&myipv6=2001:db8:9:8::/64", "good 2001:db8:9:8::/64\n", "2001:db8:9:8:a:b:c:d"},
		{"hostname=HOST&ipv6prefix=2001:db8:9:8::/64", "nochg 2001:db8:9:8::/64\n", "2001:db8:9:8:a:b:c:d"}}},
	{"a /59, as Fritz!Box sends it, keeps the subnet too", "", []step{
		{"hostname=HOST&myip=2001:db8:1:2::7", "good 2001:db8:1:2::7\n", "2001:db8:1:2::7"},
		{"hostname=HOST&myip=198.51.100.7&ip6lanprefix=2001:db8:ff:20::/59", "good 198.51.100.7,2001:db8:ff:20::/59\n", "198.51.100.7 2001:db8:ff:22::7"}}},
	{"an empty prefix says nothing", "", []step{
		{both, "good 198.51.100.7,2001:db8::7\n", "198.51.100.7 2001:db8::7"},
		{"hostname=HOST&myip=198.51.100.8&ip6lanprefix=", "good 198.51.100.8\n", "198.51.100.8 2001:db8::7"}}},
	{"a prefix for a host without IPv6, too long or of IPv4", "", []step{
		{"hostname=HOST&myip=198.51.100.7", "good 198.51.100.7\n", "198.51.100.7"},
		{"hostname=HOST&myipv6=2001:db8:9:8::/64", "dnserr\n", "198.51.100.7"},
		{"hostname=HOST&myip=2001:db8:9:8::/65", "dnserr\n", "198.51.100.7"},
		{"hostname=HOST&myip=198.51.100.0/24", "dnserr\n", "198.51.100.7"},
		{"hostname=HOST&ipv6prefix=fd00::/64", "dnserr\n", "198.51.100.7"}}},
	{"offline until the next update", "", []step{
		{both, "good 198.51.100.7,2001:db8::7\n", "198.51.100.7 2001:db8::7"},
		{"hostname=HOST&offline=YES", "good\n", ""},
		{"hostname=HOST&offline=yes", "nochg\n", ""},
		{"hostname=HOST&myip=198.51.100.7", "good 198.51.100.7\n", "198.51.100.7 2001:db8::7"},
		{"hostname=HOST&offline=NO&myip=198.51.100.7", "nochg 198.51.100.7\n", "198.51.100.7 2001:db8::7"}}},
	{"what others know and we do not is ignored", "", []step{
		{both + "&system=dyndns&mx=mail.example.com&backmx=YES&url=http://example.com/&wildcard=&offline=NOCHG&x=%zz", "good 198.51.100.7,2001:db8::7\n", "198.51.100.7 2001:db8::7"}}},
	{"what is no address changes nothing", "", []step{
		{both, "good 198.51.100.7,2001:db8::7\n", "198.51.100.7 2001:db8::7"},
		{"hostname=HOST&myip=198.51.100.300", "dnserr\n", "198.51.100.7 2001:db8::7"},
		{"hostname=HOST&myip=198.51.100.8&myipv6=home", "dnserr\n", "198.51.100.7 2001:db8::7"},
		{"hostname=HOST&myip=198.51.100.8,198.51.100.9", "dnserr\n", "198.51.100.7 2001:db8::7"},
		{"hostname=HOST&myip=fe80::1%25eth0", "dnserr\n", "198.51.100.7 2001:db8::7"}}},
}

func TestDyndns2Parameters(t *testing.T) {
	t.Parallel()
	n := boot(t, proxied)
	token := n.token(t, "*.dyn.example.org")
	for i, c := range parameterCases {
		t.Run(c.intent, func(t *testing.T) {
			d := device{n: n, token: token, client: "203.0.113.9"}
			if c.client != "" {
				d.client = c.client
			}
			host := fmt.Sprintf("h%d.dyn.example.org", i)
			for _, s := range c.steps {
				query := strings.ReplaceAll(s.query, "HOST", host)
				if r := d.update(t, query); r.status != 200 || r.body != s.want {
					t.Errorf("%s: %d %q, want 200 %q", query, r.status, r.body, s.want)
				}
				if got := strings.Join(n.addresses(t, host), " "); got != s.dns {
					t.Errorf("after %s DNS answers %q, want %q", query, got, s.dns)
				}
			}
		})
	}
}

// One router call moves a whole LAN.
func TestDyndns2PrefixMovesFiveHosts(t *testing.T) {
	t.Parallel()
	n := boot(t, proxied)
	d := device{n: n, token: n.token(t, "*.lan.dyn.example.org")}
	var hosts []string
	for i := range 5 {
		host := fmt.Sprintf("pc%d.lan.dyn.example.org", i)
		hosts = append(hosts, host)
		if r := d.update(t, fmt.Sprintf("hostname=%s&myipv6=2001:db8:1:1::%d", host, i+1)); r.status != 200 {
			t.Fatalf("%d %q", r.status, r.body)
		}
	}
	r := d.update(t, "hostname="+strings.Join(hosts, ",")+"&ipv6prefix=2001:db8:2:2::/64")
	if want := strings.Repeat("good 2001:db8:2:2::/64\n", 5); r.body != want {
		t.Errorf("%q, want %q", r.body, want)
	}
	for i, host := range hosts {
		want := []string{fmt.Sprintf("2001:db8:2:2::%d", i+1)}
		if got := n.addresses(t, host); !slices.Equal(got, want) {
			t.Errorf("%s: DNS answers %v, want %v", host, got, want)
		}
	}
}

func TestDyndns2Wildcard(t *testing.T) {
	t.Parallel()
	n := boot(t, proxied)
	d := device{n: n, token: n.token(t, "home.dyn.example.org", "nas.home.dyn.example.org")}
	for _, s := range []struct {
		query string
		below string // what DNS answers for x.home, "NXDOMAIN" when that does not exist
	}{
		{"hostname=nas.home.dyn.example.org&myip=198.51.100.9", "NXDOMAIN"},
		{"hostname=home.dyn.example.org&myip=198.51.100.7", "NXDOMAIN"},
		{"hostname=home.dyn.example.org&myip=198.51.100.7&wildcard=ON", "198.51.100.7"},
		{"hostname=home.dyn.example.org&myip=198.51.100.8", "198.51.100.8"},
		{"hostname=home.dyn.example.org&myip=198.51.100.8&wildcard=NOCHG", "198.51.100.8"},
		{"hostname=home.dyn.example.org&myip=198.51.100.8&wildcard=", "198.51.100.8"},
		{"hostname=home.dyn.example.org&offline=YES", ""},
		{"hostname=home.dyn.example.org&myip=198.51.100.8", "198.51.100.8"},
		{"hostname=home.dyn.example.org&myip=198.51.100.8&wildcard=off", "NXDOMAIN"},
	} {
		if r := d.update(t, s.query); r.status != 200 || !strings.HasPrefix(r.body, "good") && !strings.HasPrefix(r.body, "nochg") {
			t.Fatalf("%s: %d %q", s.query, r.status, r.body)
		}
		got := strings.Join(n.addresses(t, "x.home.dyn.example.org"), " ")
		if n.dig(t, "x.home.dyn.example.org", dns.TypeA).Rcode == dns.RcodeNameError {
			got = "NXDOMAIN"
		}
		if got != s.below {
			t.Errorf("after %s DNS answers %q below, want %q", s.query, got, s.below)
		}
		if got := n.addresses(t, "nas.home.dyn.example.org"); !slices.Equal(got, []string{"198.51.100.9"}) {
			t.Errorf("after %s DNS answers %v for a host below", s.query, got)
		}
	}
}

var longest = strings.Repeat("a23456789.", 23) + "abcdefg.dyn.example.org"

func TestDyndns2Names(t *testing.T) {
	t.Parallel()
	n := boot(t, proxied)
	d := device{n: n, token: n.token(t, "*.dyn.example.org")}
	for intent, c := range map[string]struct{ hostname, want string }{
		"none":                      {"", "notfqdn\n"},
		"a single label":            {"home", "notfqdn\n"},
		"a single label and a dot":  {"home.", "notfqdn\n"},
		"the root":                  {".", "notfqdn\n"},
		"an empty label":            {"home..dyn.example.org", "notfqdn\n"},
		"an empty label in front":   {".home.dyn.example.org", "notfqdn\n"},
		"two trailing dots":         {"home.dyn.example.org..", "notfqdn\n"},
		"a trailing dot":            {"dot.dyn.example.org.", "good 198.51.100.7\n"},
		"upper case":                {"UPPER.Dyn.EXAMPLE.org", "good 198.51.100.7\n"},
		"spaces around":             {" spaces.dyn.example.org ", "good 198.51.100.7\n"},
		"a space inside":            {"ho me.dyn.example.org", "notfqdn\n"},
		"an escaped dot":            {`ho\.me.dyn.example.org`, "notfqdn\n"},
		"an escaped letter":         {`\104ome.dyn.example.org`, "notfqdn\n"},
		"a NUL":                     {"home\x00.dyn.example.org", "notfqdn\n"},
		"a line end":                {"home.dyn.example.org\ngood", "notfqdn\n"},
		"letters beyond ASCII":      {"hömé.dyn.example.org", "notfqdn\n"},
		"a letter that folds to k":  {"\u212aelvin.dyn.example.org", "notfqdn\n"},
		"punycode":                  {"xn--hm-fkaz.dyn.example.org", "good 198.51.100.7\n"},
		"an underscore":             {"_dev.dyn.example.org", "good 198.51.100.7\n"},
		"a label of 63":             {strings.Repeat("l", 63) + ".dyn.example.org", "good 198.51.100.7\n"},
		"a label of 64":             {strings.Repeat("l", 64) + ".dyn.example.org", "notfqdn\n"},
		"255 octets":                {longest, "good 198.51.100.7\n"},
		"256 octets":                {"1" + longest, "notfqdn\n"},
		"a wildcard":                {"*.wild.dyn.example.org", "good 198.51.100.7\n"},
		"a star alone":              {"*", "notfqdn\n"},
		"a star inside":             {"a.*.dyn.example.org", "notfqdn\n"},
		"a star in a label":         {"*a.dyn.example.org", "notfqdn\n"},
		"another zone":              {"home.example.com", "nohost\n"},
		"the zone above":            {"example.org", "nohost\n"},
		"a zone that ends the same": {"home.xdyn.example.org", "nohost\n"},
	} {
		t.Run(intent, func(t *testing.T) {
			query := url.Values{"hostname": {c.hostname}, "myip": {"198.51.100.7"}}.Encode()
			if r := d.update(t, query); r.status != 200 || r.body != c.want {
				t.Errorf("%.80q: %d %q, want 200 %q", c.hostname, r.status, r.body, c.want)
			}
		})
	}
	for _, host := range []string{"upper.dyn.example.org", longest, "any.wild.dyn.example.org"} {
		if got := n.addresses(t, host); !slices.Equal(got, []string{"198.51.100.7"}) {
			t.Errorf("%.80s: DNS answers %v", host, got)
		}
	}
}

// A name outside the grant does not hold the others back, and is not touched.
func TestDyndns2Lists(t *testing.T) {
	t.Parallel()
	n := boot(t, proxied)
	d := device{n: n, token: n.token(t, "*.home.dyn.example.org")}
	neighbour := device{n: n, token: n.token(t, "next.dyn.example.org")}
	if r := neighbour.update(t, "hostname=next.dyn.example.org&myip=198.51.100.1"); r.body != "good 198.51.100.1\n" {
		t.Fatalf("%d %q", r.status, r.body)
	}
	var many []string
	for i := range 21 {
		many = append(many, fmt.Sprintf("m%d.home.dyn.example.org", i))
	}
	for _, c := range []struct{ intent, agent, hosts, want string }{
		{"granted and foreign", "", "a.home.dyn.example.org,next.dyn.example.org,b.home.dyn.example.org",
			"good 198.51.100.7\nnohost\ngood 198.51.100.7\n"},
		{"the same twice", "", "c.home.dyn.example.org,C.home.dyn.example.org.", "good 198.51.100.7\ngood 198.51.100.7\n"},
		{"an entry that is no name, an empty one", "", "a.home.dyn.example.org,,b,", "nochg 198.51.100.7\nnotfqdn\n"},
		{"empty ones only", "", ",", "notfqdn\n"},
		{"twenty", "", strings.Join(many[:20], ","), strings.Repeat("good 198.51.100.7\n", 20)},
		{"twenty-one", "", strings.Join(many, ","), "numhost\n"},
	} {
		if r := d.update(t, "myip=198.51.100.7&hostname="+c.hosts); r.status != 200 || r.body != c.want {
			t.Errorf("%s: %d %q, want 200 %q", c.intent, r.status, r.body, c.want)
		}
	}
	if got := n.addresses(t, "next.dyn.example.org"); !slices.Equal(got, []string{"198.51.100.1"}) {
		t.Errorf("the foreign host is answered %v", got)
	}
	if got := n.addresses(t, many[20]); len(got) > 0 {
		t.Errorf("a host of a request with too many is answered %v", got)
	}

	// It takes every 2xx for a success.
	d.agent = "OPNsense-dyndns/1.0"
	if r := d.update(t, "myip=198.51.100.7&hostname=a.home.dyn.example.org"); r.status != 200 || r.body != "nochg 198.51.100.7\n" {
		t.Errorf("OPNsense is told %d %q", r.status, r.body)
	}
	if r := d.update(t, "myip=198.51.100.7&hostname=a.home.dyn.example.org,next.dyn.example.org"); r.status < 400 || r.body != "nochg 198.51.100.7\nnohost\n" {
		t.Errorf("OPNsense is told %d %q of a host that is not granted, want 4xx or 5xx", r.status, r.body)
	}
}

func TestPublish(t *testing.T) {
	t.Parallel()
	private := []string{"127.0.0.1", "169.254.1.1", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "100.64.0.1",
		"100.127.255.255", "0.1.2.3", "240.0.0.1", "::1", "fe80::1", "fc00::1", "fdff::1", "::ffff:10.0.0.1"}
	none := []string{"0.0.0.0", "::", "224.0.0.1", "239.255.255.255", "255.255.255.255", "ff02::1", "::ffff:0.0.0.0", "::ffff:255.255.255.255"}
	public := []string{"198.51.100.7", "172.32.0.1", "100.128.0.1", "2001:db8::7"}
	check := func(n *node, addrs []string, want string) {
		t.Helper()
		d := device{n: n, token: n.token(t, "*.dyn.example.org")}
		for _, a := range addrs {
			host := strings.NewReplacer(".", "-", ":", "-").Replace("h"+a) + ".dyn.example.org"
			r := d.update(t, "hostname="+host+"&myip="+a)
			if want := strings.ReplaceAll(want, "ADDR", a); r.status != 200 || r.body != want {
				t.Errorf("%s: %d %q, want 200 %q", a, r.status, r.body, want)
			}
			if refused := want == "dnserr\n"; refused != (n.dig(t, host, dns.TypeA).Rcode == dns.RcodeNameError) {
				t.Errorf("%s: there is a host although it was refused, or none although not", a)
			}
		}
	}
	n := boot(t, proxied)
	check(n, slices.Concat(private, none), "dnserr\n")
	check(n, public, "good ADDR\n")
	n = boot(t, strings.Replace(proxied, "rate ", "publish any\n\t\trate ", 1))
	check(n, none, "dnserr\n")
	check(n, slices.Concat(private, public), "good ADDR\n")
}

func TestRefreshIsNotHistory(t *testing.T) {
	t.Parallel()
	n := boot(t, proxied)
	d := device{n: n, token: n.token(t, "home.dyn.example.org")}
	for _, want := range []string{"good", "nochg", "nochg", "nochg"} {
		if r := d.update(t, "hostname=home.dyn.example.org&myip=198.51.100.7"); r.body != want+" 198.51.100.7\n" {
			t.Errorf("%d %q, want %s", r.status, r.body, want)
		}
	}
	var history updateapi.History
	n.api(t, http.MethodGet, "/hosts/home.dyn.example.org/history", d.token, nil, http.StatusOK, &history)
	if len(history.States) != 1 {
		t.Errorf("%d states in the history, want 1", len(history.States))
	}
}
