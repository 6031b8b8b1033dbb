package updateapi

import (
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"testing"

	"github.com/coredns-ddns/ddns/plugin/zone"
)

func request(remote string, headers ...string) *http.Request {
	r := &http.Request{RemoteAddr: remote, Header: http.Header{}}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	return r
}

var proxies = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}

func TestTheClientAddressIsBelievedAsFarAsProxiesAreTrusted(t *testing.T) {
	const xff, fwd = "X-Forwarded-For", "Forwarded"
	for _, c := range []struct {
		name    string
		remote  string
		headers []string
		want    string
	}{
		{"no proxy", "198.51.100.7:999", nil, "198.51.100.7"},
		{"forged by a stranger", "198.51.100.7:999", []string{xff, "203.0.113.9"}, "198.51.100.7"},
		{"forged by a stranger, Forwarded", "198.51.100.7:999", []string{fwd, "for=203.0.113.9"}, "198.51.100.7"},
		{"IPv4 in IPv6", "[::ffff:198.51.100.7]:999", nil, "198.51.100.7"},
		{"a link-local peer", "[fe80::1%eth0]:999", nil, "fe80::1"},
		{"a proxy that says nothing", "10.0.0.1:999", nil, "10.0.0.1"},
		{"a proxy", "10.0.0.1:999", []string{xff, "203.0.113.9"}, "203.0.113.9"},
		{"a proxy behind a proxy", "10.0.0.1:999", []string{xff, "203.0.113.9, 10.2.3.4"}, "203.0.113.9"},
		{"what the client forged is left of the truth", "10.0.0.1:999", []string{xff, "1.2.3.4, 203.0.113.9"}, "203.0.113.9"},
		{"two lines are one list", "10.0.0.1:999", []string{xff, "1.2.3.4", xff, "203.0.113.9"}, "203.0.113.9"},
		{"proxies all the way", "10.0.0.1:999", []string{xff, "10.9.9.9, 10.2.3.4"}, "10.9.9.9"},
		{"malformed next to us", "10.0.0.1:999", []string{xff, "203.0.113.9, nonsense"}, "10.0.0.1"},
		{"malformed behind a good hop", "10.0.0.1:999", []string{xff, "nonsense, 10.2.3.4"}, "10.2.3.4"},
		{"empty", "10.0.0.1:999", []string{xff, ""}, "10.0.0.1"},
		{"unknown", "10.0.0.1:999", []string{xff, "unknown"}, "10.0.0.1"},
		{"with a port", "10.0.0.1:999", []string{xff, "203.0.113.9:1234"}, "203.0.113.9"},
		{"IPv6", "[fd00::1]:999", []string{xff, "2001:db8::7"}, "2001:db8::7"},
		{"IPv6 in brackets", "[fd00::1]:999", []string{xff, "[2001:db8::7]"}, "2001:db8::7"},
		{"IPv6 in brackets with a port", "[fd00::1]:999", []string{xff, "[2001:db8::7]:1234"}, "2001:db8::7"},
		{"IPv4 in brackets", "10.0.0.1:999", []string{xff, "[203.0.113.9]"}, "10.0.0.1"},
		{"a zone identifier", "10.0.0.1:999", []string{xff, "fe80::1%eth0"}, "10.0.0.1"},
		{"IPv4 in IPv6 by a proxy", "10.0.0.1:999", []string{xff, "::ffff:203.0.113.9"}, "203.0.113.9"},
		{"Forwarded", "10.0.0.1:999", []string{fwd, `for=203.0.113.9;proto=https;by=10.0.0.1`}, "203.0.113.9"},
		{"Forwarded, quoted IPv6", "10.0.0.1:999", []string{fwd, `For="[2001:db8::7]:4711"`}, "2001:db8::7"},
		{"Forwarded, several", "10.0.0.1:999", []string{fwd, `for=1.2.3.4, for=203.0.113.9, for=10.3.3.3`}, "203.0.113.9"},
		{"Forwarded, obfuscated", "10.0.0.1:999", []string{fwd, `for=_hidden`}, "10.0.0.1"},
		{"Forwarded, without for", "10.0.0.1:999", []string{fwd, `for=203.0.113.9, proto=http`}, "10.0.0.1"},
		{"Forwarded, broken quotes", "10.0.0.1:999", []string{fwd, `for="203.0.113.9`}, "10.0.0.1"},
		{"both, and they agree", "10.0.0.1:999", []string{xff, "203.0.113.9", fwd, "for=203.0.113.9"}, "203.0.113.9"},
		{"both, and one is the client's", "10.0.0.1:999", []string{xff, "203.0.113.9", fwd, "for=6.6.6.6"}, "invalid IP"},
	} {
		if got := clientAddr(request(c.remote, c.headers...), proxies); got.String() != c.want {
			t.Errorf("%s: %v, want %s", c.name, got, c.want)
		}
	}
}

func FuzzClientAddr(f *testing.F) {
	f.Add("203.0.113.9, 10.2.3.4", "")
	f.Add("", `for="[2001:db8::7]:4711";by=x, for=_y`)
	f.Fuzz(func(t *testing.T, xff, fwd string) {
		r := request("10.0.0.1:999")
		if xff != "" {
			r.Header.Set("X-Forwarded-For", xff)
		}
		if fwd != "" {
			r.Header.Set("Forwarded", fwd)
		}
		a := clientAddr(r, proxies)
		if !a.IsValid() && (xff == "" || fwd == "") || a.Zone() != "" || a.Is4In6() {
			t.Errorf("%v", a)
		}
		r.RemoteAddr = "198.51.100.7:999"
		if a := clientAddr(r, proxies); a.String() != "198.51.100.7" {
			t.Errorf("a stranger is believed: %v", a)
		}
	})
}

func TestWhatAnAddressParameterMeans(t *testing.T) {
	v4, v6 := netip.MustParseAddr("203.0.113.9"), netip.MustParseAddr("2001:db8::9")
	there := zone.State{A: netip.MustParseAddr("192.0.2.1"), AAAA: netip.MustParseAddr("2001:db8:1:2:a:b:c:d")}
	for _, c := range []struct {
		query   string
		client  netip.Addr
		a, aaaa string // what becomes of the host that is there; "" is none
		echo    string
		wrong   bool
	}{
		{"", v4, "203.0.113.9", "2001:db8:1:2:a:b:c:d", "203.0.113.9", false},
		{"", v6, "192.0.2.1", "2001:db8::9", "2001:db8::9", false},
		{"myip=", v4, "203.0.113.9", "2001:db8:1:2:a:b:c:d", "203.0.113.9", false},
		{"myip=198.51.100.7", v6, "198.51.100.7", "2001:db8:1:2:a:b:c:d", "198.51.100.7", false},
		{"myip=2001:DB8::7", v4, "192.0.2.1", "2001:db8::7", "2001:DB8::7", false},
		{"myip=198.51.100.7,2001:db8::7", v4, "198.51.100.7", "2001:db8::7", "198.51.100.7,2001:db8::7", false},
		{"myip=198.51.100.7&myipv6=2001:db8::7", v4, "198.51.100.7", "2001:db8::7", "198.51.100.7,2001:db8::7", false},
		{"myip=&myipv6=2001:db8::7", v4, "", "2001:db8::7", "2001:db8::7", false},
		{"myipv6=", v4, "192.0.2.1", "", "", false},
		{"myipv4=", v4, "", "2001:db8:1:2:a:b:c:d", "", false},
		{"myip=preserve&myipv6=2001:db8::7", v4, "192.0.2.1", "2001:db8::7", "2001:db8::7", false},
		{"myip=auto&myipv6=preserve", v4, "203.0.113.9", "2001:db8:1:2:a:b:c:d", "203.0.113.9", false},
		{"ipv4=198.51.100.7&ipv6=2001:db8::7", v4, "198.51.100.7", "2001:db8::7", "198.51.100.7,2001:db8::7", false},
		{"ip=2001:db8::7", v4, "192.0.2.1", "2001:db8::7", "2001:db8::7", false},
		{"myipv6=2001:db8:9:8::/64", v4, "192.0.2.1", "2001:db8:9:8:a:b:c:d", "2001:db8:9:8::/64", false},
		{"ipv6prefix=2001:db8:9:20::/59", v4, "192.0.2.1", "2001:db8:9:22:a:b:c:d", "2001:db8:9:20::/59", false},
		{"myip=198.51.100.7&ip6lanprefix=2001:db8:9:8::/64", v4, "198.51.100.7", "2001:db8:9:8:a:b:c:d", "198.51.100.7,2001:db8:9:8::/64", false},
		{"myipv6=2001:db8::7&ipv6prefix=2001:db8:9:8::/64", v4, "192.0.2.1", "2001:db8::7", "2001:db8::7", false},
		{"offline=YES", v4, "192.0.2.1", "2001:db8:1:2:a:b:c:d", "", false},
		{"myip=::ffff:198.51.100.7", v4, "198.51.100.7", "2001:db8:1:2:a:b:c:d", "::ffff:198.51.100.7", false},
		{"myip=198.51.100.7,198.51.100.7", v4, "198.51.100.7", "2001:db8:1:2:a:b:c:d", "198.51.100.7", false},
		{"myip=198.51.100.7,", v4, "198.51.100.7", "2001:db8:1:2:a:b:c:d", "198.51.100.7", false},
		{"myip=,2001:db8::7", v4, "192.0.2.1", "2001:db8::7", "2001:db8::7", false},
		{"ip6lanprefix=", v4, "192.0.2.1", "2001:db8:1:2:a:b:c:d", "", false},
		{"myip=198.51.100.7&ipv6prefix=", v4, "198.51.100.7", "2001:db8:1:2:a:b:c:d", "198.51.100.7", false},
		{"myip=nonsense", v4, "", "", "", true},
		{"myip=198.51.100.7,198.51.100.8", v4, "", "", "", true},
		{"myip=,", v4, "", "", "", true},
		{"myipv6=fe80::1%25eth0", v4, "", "", "", true},
		{"myipv6=2001:db8::/65", v4, "", "", "", true},
		{"ipv6prefix=198.51.100.0/24", v4, "", "", "", true},
	} {
		form, err := url.ParseQuery(c.query)
		if err != nil {
			t.Fatal(err)
		}
		ask, echo, err := dyndns2Ask(form, c.client)
		echoed := echo.of(ask.of(there))
		if (err != nil) != c.wrong {
			t.Errorf("%q: %v", c.query, err)
		}
		if c.wrong || err != nil {
			continue
		}
		got := ask.of(there)
		if spell(got.A) != c.a || spell(got.AAAA) != c.aaaa || strings.Join(echoed, ",") != c.echo {
			t.Errorf("%q: %v %v, echo %v; want %s %s, echo %s", c.query, got.A, got.AAAA, echoed, c.a, c.aaaa, c.echo)
		}
	}
}

func FuzzDyndns2(f *testing.F) {
	f.Add("hostname=a.dyn.example.org,b.dyn.example.org&myip=198.51.100.7&myipv6=2001:db8::/59&wildcard=ON&offline=YES")
	f.Add("hostname=&myip=,&ipv6prefix=::/16")
	f.Fuzz(func(t *testing.T, query string) {
		form, _ := url.ParseQuery(query) // as much as can be read, like the server
		for _, h := range hostnames(form) {
			if n := dyndns2Name(h); n != "" && (!strings.HasSuffix(string(n), ".") || strings.ToLower(string(n)) != string(n)) {
				t.Errorf("%q is taken for %q", h, n)
			}
		}
		ask, echo, err := dyndns2Ask(form, netip.MustParseAddr("203.0.113.9"))
		if err != nil {
			return
		}
		st := ask.of(zone.State{AAAA: netip.MustParseAddr("2001:db8::1")})
		if st.A.IsValid() && !st.A.Is4() || st.AAAA.IsValid() && (!st.AAAA.Is6() || st.AAAA.Is4In6() || st.AAAA.Zone() != "") {
			t.Errorf("%q makes %v %v", query, st.A, st.AAAA)
		}
		for _, e := range echo.of(st) {
			if strings.ContainsAny(e, " \r\n") {
				t.Errorf("%q is echoed as %q", query, e)
			}
		}
	})
}

func TestPublish(t *testing.T) {
	for text, want := range map[string]struct{ public, any bool }{
		"198.51.100.7": {true, true}, "2001:db8::7": {true, true}, "8.8.8.8": {true, true},
		"0.0.0.0": {false, false}, "::": {false, false}, "255.255.255.255": {false, false},
		"224.0.0.1": {false, false}, "ff02::1": {false, false},
		"0.1.2.3": {false, true}, "127.0.0.1": {false, true}, "::1": {false, true},
		"10.0.0.1": {false, true}, "172.16.0.1": {false, true}, "172.32.0.1": {true, true},
		"192.168.1.1": {false, true}, "169.254.1.1": {false, true}, "fe80::1": {false, true},
		"100.64.0.1": {false, true}, "100.128.0.1": {true, true}, "240.0.0.1": {false, true},
		"fd00::1": {false, true}, "fc00::1": {false, true}, "::ffff:10.0.0.1": {false, true},
		"::127.0.0.1": {false, true}, "fec0::1": {false, true}, "64:ff9b::7f00:1": {false, true},
	} {
		a, err := parseAddr(text)
		if err != nil {
			t.Fatal(err)
		}
		if got := PublishPublic.check(a) == nil; got != want.public {
			t.Errorf("public %s: %v", text, got)
		}
		if got := PublishAny.check(a) == nil; got != want.any {
			t.Errorf("any %s: %v", text, got)
		}
	}
}
