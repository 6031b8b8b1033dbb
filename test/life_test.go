package test

import (
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

// What was acknowledged outlives every way in which a server ends or changes.
func TestUpdateOutlivesTheProcess(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(*node, testing.TB){
		"restart": (*node).restart,
		"kill -9": func(n *node, t testing.TB) { n.kill(t); n.start(t) },
		"reload": func(n *node, t testing.TB) {
			if err := n.reload(t); err != nil {
				t.Error(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := boot(t, home)
			token := n.token(t, "home.dyn.example.org")
			form := url.Values{"hostname": {"home.dyn.example.org"}, "myip": {"198.51.100.7"}, "myipv6": {"2001:db8::7"}}
			if r := n.post(t, token, "/nic/update", form); r.body != "good 198.51.100.7,2001:db8::7\n" {
				t.Fatalf("update: %d %q", r.status, r.body)
			}
			before := n.serial(t)

			end(n, t)

			want := []string{"198.51.100.7", "2001:db8::7"}
			if got := n.addresses(t, "home.dyn.example.org"); !slices.Equal(got, want) {
				t.Errorf("DNS answers %v, want %v", got, want)
			}
			if after := n.serial(t); int32(after-before) < 0 {
				t.Errorf("the serial went back from %d to %d", before, after)
			}
			if r := n.get(t, token, "/nic/update?hostname=home.dyn.example.org&myip=198.51.100.8"); r.body != "good 198.51.100.8\n" {
				t.Errorf("next update: %d %q", r.status, r.body)
			}
		})
	}
}

func TestBrokenCorefile(t *testing.T) {
	t.Parallel()
	broken := strings.Replace(home, "ns ns1", "nameserver ns1", 1)

	t.Run("leaves the old instance serving on reload", func(t *testing.T) {
		t.Parallel()
		n := boot(t, home)
		n.write(t, broken)
		if err := n.reload(t); err == nil || !strings.Contains(err.Error(), "nameserver") {
			t.Errorf("reload says %v, want an error that names the property", err)
		}
		n.waitLog(t, `SIGUSR1: .*nameserver`)
		n.serial(t)
		n.token(t, "home.dyn.example.org")
	})
	t.Run("does not start", func(t *testing.T) {
		t.Parallel()
		n := newNode(t, broken)
		if said := n.refuses(t); !strings.Contains(said, "Corefile:8") || !strings.Contains(said, "nameserver") {
			t.Errorf("coredns says %q, want an error that names the line and the property", said)
		}
	})
}

// serial is the zone's, as DNS has it.
func (n *node) serial(t testing.TB) uint32 {
	t.Helper()
	r := n.dig(t, "dyn.example.org", dns.TypeSOA)
	if len(r.Answer) != 1 {
		t.Fatalf("no SOA in %v", r)
	}
	return r.Answer[0].(*dns.SOA).Serial
}
