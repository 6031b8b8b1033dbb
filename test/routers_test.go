package test

import (
	"slices"
	"strconv"
	"strings"
	"testing"
)

// routerHosts are what the routers' token may update.
var routerHosts = []string{"home.dyn.example.org", "nas.dyn.example.org", "tv.dyn.example.org"}

// routerRequest is a request as a router's firmware makes it.
type routerRequest struct {
	name string
	url  string   // as README has it for pasting; as the firmware builds it where README gives no URL
	fill []string // what the firmware puts in, after each of its placeholders
	args []string // how curl speaks like the firmware

	status int
	body   string
	home   []string // what DNS answers then for home.dyn.example.org
}

// What router firmware sends, in turn, and what it is told. The address of the
// one before stays where a router says nothing of its family.
var routerRequests = []routerRequest{
	{
		name: "curl from its own address", url: "https://ddns.example.org/nic/update?hostname=home.dyn.example.org",
		args:   []string{"-H", "X-Forwarded-For: 198.51.100.1", "-u", "home:TOKEN"},
		status: 200, body: "good 198.51.100.1\n", home: []string{"198.51.100.1"},
	},
	{
		name: "Fritz!Box", url: fritz,
		fill:   []string{"<domain>", "home.dyn.example.org", "<ipaddr>", "198.51.100.2", "<ip6addr>", "2001:db8:2::1"},
		args:   fritzArgs,
		status: 200, body: "good 198.51.100.2,2001:db8:2::1\n", home: []string{"198.51.100.2", "2001:db8:2::1"},
	},
	{
		name: "Fritz!Box again", url: fritz,
		fill:   []string{"<domain>", "home.dyn.example.org", "<ipaddr>", "198.51.100.2", "<ip6addr>", "2001:db8:2::1"},
		args:   fritzArgs,
		status: 200, body: "nochg 198.51.100.2,2001:db8:2::1\n", home: []string{"198.51.100.2", "2001:db8:2::1"},
	},
	{
		name: "Fritz!Box on DS-Lite", url: fritz,
		fill:   []string{"<domain>", "home.dyn.example.org", "<ipaddr>", "", "<ip6addr>", "2001:db8:2::2"},
		args:   fritzArgs,
		status: 200, body: "good 2001:db8:2::2\n", home: []string{"2001:db8:2::2"},
	},
	{
		name: "Fritz!Box without IPv6", url: fritz,
		fill:   []string{"<domain>", "home.dyn.example.org", "<ipaddr>", "198.51.100.3", "<ip6addr>", ""},
		args:   fritzArgs,
		status: 200, body: "good 198.51.100.3\n", home: []string{"198.51.100.3"},
	},
	{
		name: "UniFi", url: "ddns.example.org/nic/update?hostname=%h&myip=%i",
		fill:   []string{"%h", "home.dyn.example.org", "%i", "198.51.100.4", "ddns.example.org", "https://ddns.example.org"},
		args:   []string{"-0", "-A", "inadyn/2.10.0 https://github.com/troglobit/inadyn/issues", "-u", "home:TOKEN"},
		status: 200, body: "good 198.51.100.4\n", home: []string{"198.51.100.4"},
	},
	{
		name: "UniFi behind another router", url: "ddns.example.org/nic/update?hostname=%h&myip=%i",
		fill:   []string{"%h", "home.dyn.example.org", "%i", "192.168.1.4", "ddns.example.org", "https://ddns.example.org"},
		args:   []string{"-0", "-A", "inadyn/2.10.0 https://github.com/troglobit/inadyn/issues", "-u", "home:TOKEN"},
		status: 503, body: "dnserr\n", home: []string{"198.51.100.4"},
	},
	{
		name: "OPNsense", url: "https://ddns.example.org/nic/update?hostname=home.dyn.example.org&myip=198.51.100.5&wildcard=NOCHG",
		args:   opnsense,
		status: 200, body: "good 198.51.100.5\n", home: []string{"198.51.100.5"},
	},
	{
		name: "OPNsense over IPv6", url: "https://ddns.example.org/nic/update?hostname=home.dyn.example.org&myip=2001%3Adb8%3A5%3A%3A1&wildcard=NOCHG",
		args:   opnsense,
		status: 200, body: "good 2001:db8:5::1\n", home: []string{"198.51.100.5", "2001:db8:5::1"},
	},
	{
		name: "OPNsense with a foreign host", url: "https://ddns.example.org/nic/update?hostname=foreign.dyn.example.org&myip=198.51.100.5&wildcard=NOCHG",
		args:   opnsense,
		status: 422, body: "nohost\n", home: []string{"198.51.100.5", "2001:db8:5::1"},
	},
	{
		name: "OPNsense, own URL", url: "https://ddns.example.org/nic/update?hostname=__HOSTNAME__&myip=__MYIP__",
		fill:   []string{"__HOSTNAME__", "home.dyn.example.org,nas.dyn.example.org", "__MYIP__", "198.51.100.6"},
		args:   slices.Concat(opnsense, []string{"-X", "POST"}),
		status: 200, body: "good 198.51.100.6\ngood 198.51.100.6\n", home: []string{"198.51.100.6", "2001:db8:5::1"},
	},
	{ // the body without its line end is compared with "good %IP%"
		name: "pfSense", url: "https://ddns.example.org/nic/update?hostname=home.dyn.example.org&myip=%IP%",
		fill:   []string{"%IP%", "198.51.100.7"},
		args:   []string{"-A", "phpDynDNS/0.7", "-u", "home:TOKEN"},
		status: 200, body: "good 198.51.100.7\n", home: []string{"198.51.100.7", "2001:db8:5::1"},
	},
	{
		name: "pfSense over IPv6, spelled its own way", url: "https://ddns.example.org/nic/update?hostname=home.dyn.example.org&myip=%IP%",
		fill:   []string{"%IP%", "2001:DB8:7:0::1"},
		args:   []string{"-A", "phpDynDNS/0.7", "-u", "home:TOKEN"},
		status: 200, body: "good 2001:DB8:7:0::1\n", home: []string{"198.51.100.7", "2001:db8:7::1"},
	},
	{
		name: "Synology", url: "https://ddns.example.org/nic/update?hostname=__HOSTNAME__&myip=__MYIP__&username=__USERNAME__&password=__PASSWORD__",
		fill:   []string{"__HOSTNAME__", "home.dyn.example.org", "__MYIP__", "198.51.100.8", "__USERNAME__", "home", "__PASSWORD__", "TOKEN"},
		status: 200, body: "good 198.51.100.8\n", home: []string{"198.51.100.8", "2001:db8:7::1"},
	},
	{ // asks without credentials first, as GNU wget does
		name: "OpenWrt", url: "https://[USERNAME]:[PASSWORD]@ddns.example.org/nic/update?hostname=[DOMAIN]&myip=[IP]",
		fill:   []string{"[USERNAME]", "home", "[PASSWORD]", "TOKEN", "[DOMAIN]", "home.dyn.example.org", "[IP]", "198.51.100.9"},
		args:   []string{"--http1.1", "--anyauth"},
		status: 200, body: "good 198.51.100.9\n", home: []string{"198.51.100.9", "2001:db8:7::1"},
	},
	{
		name: "MikroTik", url: `https://ddns.example.org/nic/update\3Fhostname=home.dyn.example.org&myip=$ip`,
		fill:   []string{`\3F`, "?", "$ip", "198.51.100.10"},
		args:   []string{"--http1.1", "-A", "Mikrotik/7.x Fetch", "-u", "home:TOKEN"},
		status: 200, body: "good 198.51.100.10\n", home: []string{"198.51.100.10", "2001:db8:7::1"},
	},
	{
		name: "a router that knows dyndns.org of old", url: "https://ddns.example.org/nic/update?system=dyndns&hostname=home.dyn.example.org&myip=198.51.100.11&wildcard=NOCHG&mx=NOCHG&backmx=NOCHG",
		args:   []string{"--http1.1", "-A", "", "-u", "home:TOKEN"},
		status: 200, body: "good 198.51.100.11\n", home: []string{"198.51.100.11", "2001:db8:7::1"},
	},
	{
		name: "a router that names no server in HTTP/1.0", url: "https://ddns.example.org/nic/update?hostname=home.dyn.example.org&myip=198.51.100.12",
		args:   []string{"-0", "-H", "Host:", "--tls-max", "1.2", "-u", "home:TOKEN"},
		status: 200, body: "good 198.51.100.12\n", home: []string{"198.51.100.12", "2001:db8:7::1"},
	},
	{
		name: "a router that is told nothing", url: "https://ddns.example.org/nic/update?hostname=home.dyn.example.org",
		args:   []string{"--http1.1"},
		status: 401, body: "badauth\n", home: []string{"198.51.100.12", "2001:db8:7::1"},
	},
}

const (
	fritz    = "https://ddns.example.org/nic/update?hostname=<domain>&myip=<ipaddr>&myipv6=<ip6addr>"
	fritzLAN = "https://ddns.example.org/nic/update?hostname=nas.dyn.example.org,tv.dyn.example.org&ip6lanprefix=<ip6lanprefix>"
)

var (
	fritzArgs = []string{"-0", "-A", "Fritz!Box DDNS/1.0.1", "-H", "Connection: close", "--tls-max", "1.2", "-u", "home:TOKEN"}
	opnsense  = []string{"--http1.1", "-A", "OPNsense-dyndns", "-u", "home:TOKEN"}
)

func TestRouters(t *testing.T) {
	t.Parallel()
	n := boot(t, behindProxy)
	token := n.token(t, routerHosts...)
	for _, r := range routerRequests {
		t.Run(r.name, func(t *testing.T) {
			body, status := n.curl(t, token, r)
			if status != r.status || body != r.body {
				t.Errorf("the router is told %d %q, want %d %q", status, body, r.status, r.body)
			}
			n.answers(t, "home.dyn.example.org", r.home...)
		})
	}
}

// A Fritz!Box moves the hosts of its LAN to the prefix that it has now.
func TestFritzBoxMovesTheLAN(t *testing.T) {
	t.Parallel()
	n := boot(t, home)
	token := n.token(t, routerHosts...)
	for host, addr := range map[string]string{"nas.dyn.example.org": "2001:db8:1:10::17", "tv.dyn.example.org": "2001:db8:1:11:aa:bbff:fecc:dd"} {
		if r := n.get(t, token, "/nic/update?hostname="+host+"&myip=198.51.100.7,"+addr); r.status != 200 {
			t.Fatalf("%d %q", r.status, r.body)
		}
	}
	body, status := n.curl(t, token, routerRequest{
		url:  fritzLAN,
		fill: []string{"<ip6lanprefix>", "2001:db8:2:20::/60"},
		args: fritzArgs,
	})
	if want := "good 2001:db8:2:20::/60\ngood 2001:db8:2:20::/60\n"; status != 200 || body != want {
		t.Errorf("the Fritz!Box is told %d %q, want 200 %q", status, body, want)
	}
	n.answers(t, "nas.dyn.example.org", "198.51.100.7", "2001:db8:2:20::17")
	n.answers(t, "tv.dyn.example.org", "198.51.100.7", "2001:db8:2:21:aa:bbff:fecc:dd")
}

// What README tells to paste into a router is what the tests send.
func TestReadmeHasTheUpdateURLs(t *testing.T) {
	t.Parallel()
	readme := readRepository(t, "README.md")
	urls := []string{fritzLAN}
	for _, r := range routerRequests {
		if len(r.fill) > 0 { // not one that the firmware builds
			urls = append(urls, r.url)
		}
	}
	for _, url := range urls {
		if !strings.Contains(readme, url) {
			t.Errorf("README.md does not have %s", url)
		}
	}
}

// curl sends a router's request with token and returns the reply.
func (n *node) curl(t testing.TB, token string, r routerRequest) (body string, status int) {
	t.Helper()
	server := "localhost:" + strconv.Itoa(n.port(t, "https"))
	finish := strings.NewReplacer("ddns.example.org", server, "TOKEN", token)
	args := []string{"-sS", "-g", "--cacert", "ca.pem", "-w", "%{http_code}"}
	for _, arg := range r.args {
		args = append(args, finish.Replace(arg))
	}
	url := finish.Replace(strings.NewReplacer(r.fill...).Replace(r.url))
	out := n.run(t, "curl", append(args, url)...)
	if len(out) < 3 {
		t.Fatalf("curl says %q", out)
	}
	body, code := out[:len(out)-3], out[len(out)-3:]
	status, err := strconv.Atoi(code)
	if err != nil {
		t.Fatalf("curl says %q", out)
	}
	return body, status
}
