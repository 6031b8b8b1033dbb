package test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"github.com/coredns-ddns/ddns/updateapi"
)

const dnsCorefile = `dyn.example.org:{{dns}} other.example.net:{{dns}} {
	bind 127.0.0.1
	errors
	ddns dyn.example.org {
		database {{dir}}/ddns.db
		ns ns1.dyn.example.org 192.0.2.53
		ns ns2.dyn.example.org 192.0.2.55 2001:db8::53
		ns deep.ns.dyn.example.org 192.0.2.54
		ns ns.example.com
		mbox dns.admin@example.org
		ttl 2m
		update localhost:{{https}}
		tls internal
		admin_token {{dir}}/admin.token
		publish any
	}
	file {{dir}}/other.db other.example.net
}
`

// set puts a host as the operator does.
func (n *node) set(t testing.TB, name string, h updateapi.HostPut) {
	t.Helper()
	req := updateapi.Import{Hosts: []updateapi.ImportHost{{Name: name, HostPut: h}}}
	n.api(t, http.MethodPost, "/hosts", n.adminToken(t), req, http.StatusOK, nil)
}

// answerText is a section with its records in the order of their text.
func answerText(rrs []dns.RR) string {
	var lines []string
	for _, rr := range rrs {
		lines = append(lines, strings.Join(strings.Fields(rr.String()), " "))
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

func TestEveryQuestionHasItsAnswer(t *testing.T) {
	t.Parallel()
	n := newNode(t, dnsCorefile)
	n.put(t, "other.db", "other.example.net. 60 IN SOA a. b. 1 2 3 4 5\nwww.other.example.net. 60 IN A 192.0.2.99\n")
	n.start(t)
	for name, h := range map[string]updateapi.HostPut{
		"dyn.example.org":               {A: "192.0.2.1", AAAA: "2001:db8::1"},
		"home.dyn.example.org":          {A: "192.0.2.7", AAAA: "2001:db8::7"},
		"six.dyn.example.org":           {AAAA: "2001:db8::6", TTL: 30},
		"empty.dyn.example.org":         {},
		"gone.dyn.example.org":          {A: "192.0.2.8", Offline: true},
		"a.b.ent.dyn.example.org":       {A: "192.0.2.9"},
		"wild.dyn.example.org":          {A: "192.0.2.10", Wildcard: true},
		"taken.wild.dyn.example.org":    {AAAA: "2001:db8::11"},
		"off.wild.dyn.example.org":      {A: "192.0.2.12", Offline: true},
		"*.star.dyn.example.org":        {A: "192.0.2.13"},
		"host.star.dyn.example.org":     {A: "192.0.2.14"},
		"offwild.dyn.example.org":       {A: "192.0.2.15", Offline: true, Wildcard: true},
		"below.ns1.dyn.example.org":     {A: "192.0.2.16"},
		"ns1.dyn.example.org":           {A: "192.0.2.17"}, // goes before the Corefile
		"*.dyn.example.org":             {A: "192.0.2.18"},
		"_srv.under.dyn.example.org":    {A: "192.0.2.19"},
		"xn--mller-kva.dyn.example.org": {A: "192.0.2.21"},
	} {
		n.set(t, name, h)
	}
	const soa = "SOA"
	const nx, none = "NXDOMAIN", "NOERROR"
	for _, c := range []struct {
		name  string
		qtype uint16
		rcode string
		want  string // the answer, or SOA where there is none
	}{
		{"home.dyn.example.org.", dns.TypeA, none, "home.dyn.example.org. 120 IN A 192.0.2.7"},
		{"home.dyn.example.org.", dns.TypeAAAA, none, "home.dyn.example.org. 120 IN AAAA 2001:db8::7"},
		{"hOmE.dYn.example.ORG.", dns.TypeA, none, "hOmE.dYn.example.ORG. 120 IN A 192.0.2.7"},
		{"home.dyn.example.org.", dns.TypeMX, none, soa},
		{"home.dyn.example.org.", dns.TypeANY, none, "home.dyn.example.org. 120 IN A 192.0.2.7\nhome.dyn.example.org. 120 IN AAAA 2001:db8::7"},
		{"six.dyn.example.org.", dns.TypeAAAA, none, "six.dyn.example.org. 30 IN AAAA 2001:db8::6"},
		{"six.dyn.example.org.", dns.TypeA, none, soa},
		{"empty.dyn.example.org.", dns.TypeA, none, soa},
		{"gone.dyn.example.org.", dns.TypeA, none, soa},
		{"b.ent.dyn.example.org.", dns.TypeA, none, soa},
		{"ent.dyn.example.org.", dns.TypeA, none, soa},
		{"no.ent.dyn.example.org.", dns.TypeA, nx, soa},
		{"no.home.dyn.example.org.", dns.TypeA, nx, soa},
		{"any.wild.dyn.example.org.", dns.TypeA, none, "any.wild.dyn.example.org. 120 IN A 192.0.2.10"},
		{"x.any.wild.dyn.example.org.", dns.TypeA, none, "x.any.wild.dyn.example.org. 120 IN A 192.0.2.10"},
		{"any.wild.dyn.example.org.", dns.TypeAAAA, none, soa},
		{"*.wild.dyn.example.org.", dns.TypeA, none, "*.wild.dyn.example.org. 120 IN A 192.0.2.10"},
		{"taken.wild.dyn.example.org.", dns.TypeA, none, soa},
		{"x.taken.wild.dyn.example.org.", dns.TypeA, nx, soa},
		{"off.wild.dyn.example.org.", dns.TypeA, none, soa},
		{"any.star.dyn.example.org.", dns.TypeA, none, "any.star.dyn.example.org. 120 IN A 192.0.2.13"},
		{"host.star.dyn.example.org.", dns.TypeA, none, "host.star.dyn.example.org. 120 IN A 192.0.2.14"},
		{"star.dyn.example.org.", dns.TypeA, none, soa},
		{"any.offwild.dyn.example.org.", dns.TypeA, none, soa},
		{`with\.dot.dyn.example.org.`, dns.TypeA, none, `with\.dot.dyn.example.org. 120 IN A 192.0.2.18`},
		{`\000\255.dyn.example.org.`, dns.TypeA, none, `\000\255.dyn.example.org. 120 IN A 192.0.2.18`},
		{"nothing.dyn.example.org.", dns.TypeA, none, "nothing.dyn.example.org. 120 IN A 192.0.2.18"},
		{"under.dyn.example.org.", dns.TypeA, none, soa},
		{"dyn.example.org.", dns.TypeA, none, "dyn.example.org. 120 IN A 192.0.2.1"},
		{"dyn.example.org.", dns.TypeMX, none, soa},
		{"dyn.example.org.", dns.TypeNS, none, "dyn.example.org. 120 IN NS deep.ns.dyn.example.org.\ndyn.example.org. 120 IN NS ns.example.com.\ndyn.example.org. 120 IN NS ns1.dyn.example.org.\ndyn.example.org. 120 IN NS ns2.dyn.example.org."},
		{"ns1.dyn.example.org.", dns.TypeA, none, "ns1.dyn.example.org. 120 IN A 192.0.2.17"},
		{"ns1.dyn.example.org.", dns.TypeAAAA, none, soa},
		{"ns2.dyn.example.org.", dns.TypeAAAA, none, "ns2.dyn.example.org. 120 IN AAAA 2001:db8::53"},
		{"ns2.dyn.example.org.", dns.TypeMX, none, soa},
		{"x.ns2.dyn.example.org.", dns.TypeA, nx, soa},
		{"ns1.dyn.example.org.", dns.TypeMX, none, soa},
		{"below.ns1.dyn.example.org.", dns.TypeA, none, "below.ns1.dyn.example.org. 120 IN A 192.0.2.16"},
		{"other.ns1.dyn.example.org.", dns.TypeA, nx, soa},
		{"ns.dyn.example.org.", dns.TypeA, none, soa},
		{"deep.ns.dyn.example.org.", dns.TypeA, none, "deep.ns.dyn.example.org. 120 IN A 192.0.2.54"},
		{"other.ns.dyn.example.org.", dns.TypeA, nx, soa},
		{"www.other.example.net.", dns.TypeA, none, "www.other.example.net. 60 IN A 192.0.2.99"},
	} {
		t.Run(fmt.Sprint(c.name, " ", dns.TypeToString[c.qtype]), func(t *testing.T) {
			r := n.dig(t, c.name, c.qtype)
			if got := dns.RcodeToString[r.Rcode]; got != c.rcode || !r.Authoritative || r.RecursionAvailable {
				t.Errorf("%s, aa %v, ra %v; want %s", got, r.Authoritative, r.RecursionAvailable, c.rcode)
			}
			if c.want != soa {
				if got := answerText(r.Answer); got != c.want || len(r.Ns) > 0 && c.name != "www.other.example.net." {
					t.Errorf("got\n%s\nwant\n%s", got, c.want)
				}
				return
			}
			if len(r.Answer) != 0 || len(r.Ns) != 1 {
				t.Fatalf("%d answers, %d authorities; want none and the SOA", len(r.Answer), len(r.Ns))
			}
			s, ok := r.Ns[0].(*dns.SOA)
			if !ok || s.Hdr.Name != "dyn.example.org." || s.Hdr.Ttl != 120 || s.Minttl != 120 ||
				s.Ns != "ns1.dyn.example.org." || s.Mbox != "dns.admin.example.org." || s.Serial == 0 {
				t.Errorf("the authority is %v", r.Ns[0])
			}
		})
	}
	t.Run("the addresses of name servers come along", func(t *testing.T) {
		r := n.dig(t, "dyn.example.org", dns.TypeNS)
		want := "deep.ns.dyn.example.org. 120 IN A 192.0.2.54\nns1.dyn.example.org. 120 IN A 192.0.2.17\n" +
			"ns2.dyn.example.org. 120 IN A 192.0.2.55\nns2.dyn.example.org. 120 IN AAAA 2001:db8::53"
		if got := answerText(r.Extra); got != want {
			t.Errorf("got\n%s\nwant\n%s", got, want)
		}
	})
	t.Run("names not ours are refused", func(t *testing.T) {
		if r := n.dig(t, "example.org", dns.TypeA); r.Rcode != dns.RcodeRefused {
			t.Errorf("%s", dns.RcodeToString[r.Rcode])
		}
	})
}

func TestNoWildcardPosesAsTheUpdateListener(t *testing.T) {
	t.Parallel()
	n := newNode(t, strings.Replace(dnsCorefile, "tls internal", "tls {{dir}}/ca.pem {{dir}}/key.pem", 1))
	n.put(t, "other.db", "other.example.net. 60 IN SOA a. b. 1 2 3 4 5\n")
	n.certificate(t, n.path("ca.pem"), n.path("key.pem"), "ddns.dyn.example.org")
	n.start(t)
	n.set(t, "*.dyn.example.org", updateapi.HostPut{A: "192.0.2.66"})
	for name, want := range map[string][]string{
		"elsewhere": {"192.0.2.66"}, "ddns": nil, "_acme-challenge.ddns": nil, "x.ddns": nil,
	} {
		if got := n.addresses(t, name+".dyn.example.org"); !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
	n.set(t, "ddns.dyn.example.org", updateapi.HostPut{A: "192.0.2.67"})
	if got := n.addresses(t, "ddns.dyn.example.org"); !slices.Equal(got, []string{"192.0.2.67"}) {
		t.Errorf("as a host it is %v", got)
	}
}

func TestFallthroughAsksTheNextPluginForNamesWeLack(t *testing.T) {
	t.Parallel()
	n := newNode(t, `dyn.example.org:{{dns}} {
	bind 127.0.0.1
	ddns {
		database {{dir}}/ddns.db
		ns ns.example.com
		update localhost:{{https}}
		tls internal
		admin_token {{dir}}/admin.token
		fallthrough
	}
	file {{dir}}/static.db dyn.example.org
}
`)
	n.put(t, "static.db", `dyn.example.org. 60 IN SOA a. b. 1 2 3 4 5
www.dyn.example.org. 60 IN A 192.0.2.99
home.dyn.example.org. 60 IN A 192.0.2.98
`)
	n.start(t)
	n.set(t, "home.dyn.example.org", updateapi.HostPut{A: "198.51.100.7"})
	for name, want := range map[string]string{"www": "192.0.2.99", "home": "198.51.100.7"} {
		if got := n.addresses(t, name+".dyn.example.org"); !slices.Equal(got, []string{want}) {
			t.Errorf("%s: %v, want %s", name, got, want)
		}
	}
	if r := n.dig(t, "nothing.dyn.example.org", dns.TypeA); r.Rcode != dns.RcodeNameError || len(r.Ns) != 1 {
		t.Errorf("a name that neither has: %s", dns.RcodeToString[r.Rcode])
	}
}

func TestTheSerialTellsOfEveryChangeOnceItsSecondIsOver(t *testing.T) {
	t.Parallel()
	n := newNode(t, dnsCorefile)
	n.put(t, "other.db", "other.example.net. 60 IN SOA a. b. 1 2 3 4 5\n")
	n.start(t)
	serial := func() uint32 {
		r := n.dig(t, "dyn.example.org", dns.TypeSOA)
		if len(r.Answer) != 1 {
			t.Fatalf("SOA: %v", r)
		}
		return r.Answer[0].(*dns.SOA).Serial
	}
	before := serial()
	for i := range 3 {
		n.set(t, "home.dyn.example.org", updateapi.HostPut{A: fmt.Sprint("198.51.100.", i+1)})
		n.await(t, "a higher serial", func() bool {
			now := serial()
			if now < before {
				t.Fatalf("the serial went from %d to %d", before, now)
			}
			return now > before
		})
		before = serial()
	}
	n.restart(t)
	if after := serial(); after < before {
		t.Errorf("the serial went from %d to %d over a restart", before, after)
	}
}
