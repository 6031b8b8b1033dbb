package main

import (
	"slices"
	"strings"
	"testing"

	"github.com/coredns/caddy"
	"github.com/coredns/coredns/core/dnsserver"
)

// upstream is CoreDNS's own order; initialised before init replaces it.
var upstream = slices.Clone(dnsserver.Directives)

func TestDirectivesKeepTheOrderOfCoreDNS(t *testing.T) {
	want := slices.DeleteFunc(slices.Clone(upstream), func(name string) bool {
		return !slices.Contains(directives, name)
	})
	got := slices.DeleteFunc(slices.Clone(directives), func(name string) bool { return name == "ddns" })
	if !slices.Equal(got, want) {
		t.Errorf("directives without ddns:\n%v\nwant, in CoreDNS's order:\n%v", got, want)
	}
}

func TestDDNSStandsBetweenItsNeighbours(t *testing.T) {
	at := slices.Index(directives, "ddns")
	for _, before := range []string{"tls", "dnssec", "transfer", "cache", "acl", "prometheus"} {
		if i := slices.Index(directives, before); i < 0 || i > at {
			t.Errorf("%s is not before ddns in %v", before, directives)
		}
	}
	for _, after := range []string{"hosts", "file", "auto", "secondary", "forward"} {
		if slices.Index(directives, after) < at {
			t.Errorf("%s is not after ddns in %v", after, directives)
		}
	}
}

func TestEveryDirectiveIsCompiledIn(t *testing.T) {
	registered := caddy.ListPlugins()["others"]
	for _, name := range directives {
		if !slices.Contains(registered, "dns."+name) {
			t.Errorf("%s is a directive and no plugin of that name is imported", name)
		}
	}
	for _, name := range registered {
		if bare, ok := strings.CutPrefix(name, "dns."); ok && !slices.Contains(directives, bare) {
			t.Errorf("%s is imported and can never run: it is no directive", name)
		}
	}
}
