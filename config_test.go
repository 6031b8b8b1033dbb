package ddns

import (
	"strings"
	"testing"
	"time"

	"github.com/coredns/caddy"
)

// read parses one ddns block as it stands in a server block for dyn.example.org.
func read(block string) (*config, error) {
	c := caddy.NewTestController("dns", block)
	c.ServerBlockKeys = []string{"dyn.example.org.:53"}
	return parse(c)
}

func TestAMistakeIsNamedWithItsLineAndWhatIsWanted(t *testing.T) {
	for _, c := range []struct{ name, block, want string }{
		{"no name server", "ddns {\n}", ":2 - Error during parsing: ns: nothing given, at least one name server is wanted"},
		{"no block at all", "ddns", "ns: nothing given"},
		{"ns without name", "ddns {\nns\n}", `:2 - Error during parsing: ns: nothing given, the name of a name server`},
		{"ns that is no name", "ddns {\nns bad..name\n}", `ns: "bad..name" given, the name of a name server`},
		{"ns with a wildcard", "ddns {\nns *.example.net\n}", `ns: "*.example.net" given`},
		{"ns with a bad address", "ddns {\nns ns1 ns2\n}", `ns: "ns1 ns2" given`},
		{"ns in the zone without address", "ddns {\nns ns1.dyn.example.org\n}", "lies in the zone: its addresses too are wanted"},
		{"ns outside the zone with one", "ddns {\nns ns1.example.net 192.0.2.1\n}", "lies outside the zone: no addresses are wanted"},
		{"ns at the apex", "ddns {\nns dyn.example.org 192.0.2.1\n}", "a name below the zone or outside it is wanted"},
		{"ns twice", "ddns {\nns a.example.net\nns a.example.net\n}", ":3 - Error during parsing: ns: \"a.example.net\" given, each name server once"},
		{"unspecified ns address", "ddns {\nns ns1.dyn.example.org 0.0.0.0\n}", "ns:"},
		{"unknown property", "ddns {\nnss a\n}", ":2 - Error during parsing: nss: unknown property, one of admin_token, database"},
		{"property twice", "ddns {\nns a.example.net\nttl 60s\nttl 60s\n}", ":4 - Error during parsing: ttl: given twice, once is wanted"},
		{"ddns twice", "ddns {\nns a.example.net\n}\nddns {\nns a.example.net\n}", "ddns: given twice in one server block"},
		{"a zone that is none", "ddns bad..zone {\nns a.example.net\n}", `ddns: zone "bad..zone`},
		{"the root", "ddns . {\nns a.example.net\n}", `ddns: zone "."`},
		{"a zone twice", "ddns a.org A.org. {\nns a.example.net\n}", "is given twice"},
		{"database without file", "ddns {\nns a.example.net\ndatabase\n}", "database: nothing given, one file is wanted"},
		{"two databases", "ddns {\nns a.example.net\ndatabase a b\n}", `database: "a b" given, one file is wanted`},
		{"redis without URL", "ddns {\nns a.example.net\nredis\n}", ":3 - Error during parsing: redis: no Redis URL, want redis://HOST:PORT"},
		{"redis of another scheme", "ddns {\nns a.example.net\nredis http://h\n}", "redis: redis URL 1: unknown scheme, want redis://"},
		{"redis and database", "ddns {\nns a.example.net\nredis redis://h\ndatabase f\n}", "database: given beside redis, one of the two is wanted"},
		{"wait without redis", "ddns {\nns a.example.net\nwait 1\n}", "wait: given without redis"},
		{"wait for nobody", "ddns {\nns a.example.net\nredis redis://h\nwait 0\n}", `wait: "0" given, REPLICAS [TIMEOUT]`},
		{"wait too long", "ddns {\nns a.example.net\nredis redis://h\nwait 1 1m\n}", `wait: "1 1m" given`},
		{"a prefix with braces", "ddns {\nns a.example.net\nprefix a{b:\nredis redis://h\n}", `prefix: "a{b:" given, a word without braces is wanted`},
		{"redis_auth without file", "ddns {\nns a.example.net\nredis redis://h\nredis_auth user\n}", "redis_auth: 1 words given, a user and a file with the password are wanted"},
		{"sentinel_auth without Sentinel", "ddns {\nns a.example.net\nredis redis://h\nsentinel_auth u f\n}", "sentinel_auth: given without Sentinel"},
		{"redis_tls without TLS", "ddns {\nns a.example.net\nredis redis://h\nredis_tls ca\n}", "redis_tls: given for redis:// or unix://, rediss:// is wanted"},
		{"redis_tls with two", "ddns {\nns a.example.net\nredis rediss://h\nredis_tls ca cert\n}", `redis_tls: "ca cert" given, CA [CERT KEY]`},
		{"mbox that is none", "ddns {\nns a.example.net\nmbox a@b@c\n}", `mbox: "a@b@c" given, a mailbox such as`},
		{"ttl without value", "ddns {\nns a.example.net\nttl\n}", "ttl: nothing given, a duration of 1s to 24h"},
		{"ttl that is none", "ddns {\nns a.example.net\nttl soon\n}", `ttl: "soon" given`},
		{"ttl too long", "ddns {\nns a.example.net\nttl 48h\n}", `ttl: "48h" given`},
		{"ttl of nothing", "ddns {\nns a.example.net\nttl 0s\n}", `ttl: "0s" given`},
		{"ttl of half a second", "ddns {\nns a.example.net\nttl 1500ms\n}", `ttl: "1500ms" given`},
		{"update without port", "ddns {\nns a.example.net\nupdate localhost\ntls off\n}", `update: "localhost" given, [HOST]:PORT such as`},
		{"update with port 0", "ddns {\nns a.example.net\nupdate :0\ntls off\n}", `update: ":0" given`},
		{"update with a word", "ddns {\nns a.example.net\nupdate :https\ntls off\n}", `update: ":https" given`},
		{"update with two", "ddns {\nns a.example.net\nupdate :1 :2\ntls off\n}", `update: ":1 :2" given`},
		{"tls without update", "ddns {\nns a.example.net\ntls off\n}", "tls: given without update"},
		{"rate without update", "ddns {\nns a.example.net\nrate 1/1s\n}", "rate: given without update"},
		{"tls with a word", "ddns {\nns a.example.net\nupdate :8443\ntls on\n}", `tls: "on" given, CERT KEY, internal or off is wanted`},
		{"tls with three", "ddns {\nns a.example.net\nupdate :8443\ntls a b c\n}", `tls: "a b c" given`},
		{"tls off for everybody", "ddns {\nns a.example.net\nupdate :8443\ntls off\n}", `tls: "off" given for :8443, a loopback address or trusted_proxies`},
		{"tls internal without admin_token", "ddns {\nns a.example.net\nupdate :8443\ntls internal\n}", "admin_token, which is wanted too"},
		{"admin_token without file", "ddns {\nns a.example.net\nupdate localhost:8443\ntls off\nadmin_token\n}", "admin_token: nothing given, one file is wanted"},
		{"no trusted proxy", "ddns {\nns a.example.net\nupdate :8443\ntls off\ntrusted_proxies\n}", "trusted_proxies: nothing given"},
		{"a trusted proxy by name", "ddns {\nns a.example.net\nupdate :8443\ntls off\ntrusted_proxies 10.0.0.0/8 proxy\n}", `trusted_proxies: "proxy" given, addresses or prefixes`},
		{"publish what", "ddns {\nns a.example.net\nupdate localhost:8443\ntls off\npublish all\n}", `publish: "all" given, public or any is wanted`},
		{"rate without duration", "ddns {\nns a.example.net\nupdate localhost:8443\ntls off\nrate 60\n}", `rate: "60" given, COUNT/DURATION such as 60/1m`},
		{"rate of nothing", "ddns {\nns a.example.net\nupdate localhost:8443\ntls off\nrate 0/1m\n}", `rate: "0/1m" given`},
		{"fallthrough to no zone", "ddns {\nns a.example.net\nfallthrough a..b\n}", `fallthrough: "a..b" given, zones are wanted`},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := read(c.block)
			if err == nil {
				t.Fatal("it passes")
			}
			if !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "Testfile:") {
				t.Errorf("got  %v\nwant %s", err, c.want)
			}
		})
	}
}

// setUp runs the blocks of one Corefile through setup, each with its own zone.
func setUp(t *testing.T, blocks ...string) error {
	t.Helper()
	c := caddy.NewTestController("dns", "")
	for i, block := range blocks {
		next := caddy.NewTestController("dns", block)
		next.ServerBlockIndex = i
		next.ServerBlockKeys = []string{"dyn.example.org.:53"}
		if n := c.Get(nodeKey{}); n != nil {
			next.Set(nodeKey{}, n)
		}
		if err := setup(next); err != nil {
			return err
		}
		c.Set(nodeKey{}, next.Get(nodeKey{}))
	}
	return nil
}

func TestBlocksThatShareAListenerHaveToAgree(t *testing.T) {
	const first = "ddns {\nns a.example.net\ndatabase a.db\nupdate localhost:8443\ntls off\n}"
	for _, c := range []struct{ name, second, want string }{
		{"the address alone", "ddns b.org {\nns a.example.net\ndatabase b.db\nupdate localhost:8443\n}", ""},
		{"the same zone and database", "ddns {\nns a.example.net\ndatabase a.db\nupdate localhost:8443\n}", ""},
		{"settings again", "ddns b.org {\nns a.example.net\nupdate localhost:8443\nrate 1/1s\n}",
			"rate: given for localhost:8443, whose settings are those of Testfile:4"},
		{"the same zone, another database", "ddns {\nns a.example.net\ndatabase b.db\nupdate localhost:8443\n}",
			"update: zone dyn.example.org. is given for localhost:8443 in the stores /"},
		{"no certificate anywhere", "ddns b.org {\nns a.example.net\nupdate localhost:9443\n}",
			"tls: nothing given for localhost:9443, and the server block has no tls either"},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := setUp(t, first, c.second)
			switch {
			case c.want == "" && err != nil:
				t.Error(err)
			case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
				t.Errorf("got  %v\nwant %s", err, c.want)
			}
		})
	}
}

func TestPropertiesAreRead(t *testing.T) {
	cfg, err := read(`ddns dyn.example.org b.org {
		database /var/lib/ddns.db
		ns NS1.dyn.example.org 192.0.2.1 2001:db8::1
		ns ns.example.net
		mbox host.master@example.org
		ttl 30
		update 192.0.2.1:8443
		tls off
		admin_token /etc/ddns/admin.token
		trusted_proxies 192.0.2.9 2001:db8::/32
		publish any
		rate 5/10s
		fallthrough b.org
	}`)
	if err != nil {
		t.Fatal(err)
	}
	u := cfg.update
	switch {
	case len(cfg.zones) != 2 || cfg.zones[1] != "b.org.":
		t.Errorf("zones %v", cfg.zones)
	case len(cfg.ns) != 2 || cfg.ns[0].Name != "ns1.dyn.example.org." || len(cfg.ns[0].Addrs) != 2:
		t.Errorf("ns %v", cfg.ns)
	case cfg.mbox != "host.master.example.org." || cfg.ttl != 30*time.Second:
		t.Errorf("mbox %v, ttl %v", cfg.mbox, cfg.ttl)
	case len(u.trusted) != 2 || u.trusted[0].Bits() != 32 || u.rate.Count != 5 || u.tls.mode != tlsOff:
		t.Errorf("update %+v", u)
	case !cfg.fall.Through("a.b.org.") || cfg.fall.Through("a.dyn.example.org."):
		t.Errorf("fallthrough %v", cfg.fall)
	}
}

// FuzzCorefile holds that no Corefile makes the parser panic, and that what
// passes can be served.
func FuzzCorefile(f *testing.F) {
	f.Add("ddns {\nns a.example.net\n}")
	f.Add("ddns dyn.example.org {\nns ns1.dyn.example.org 192.0.2.1\nttl 60s\nupdate :8443\ntls internal\nadmin_token t\nrate 1/1s\n}")
	f.Add("ddns {\nns\nmbox\nttl\nupdate\ntls\nadmin_token\ntrusted_proxies\npublish\nrate\nfallthrough\n}")
	f.Fuzz(func(t *testing.T, block string) {
		cfg, err := read(block)
		if err != nil {
			return
		}
		if len(cfg.zones) == 0 || len(cfg.ns) == 0 || cfg.ttl < time.Second {
			t.Errorf("%q passes as %+v", block, cfg)
		}
	})
}
