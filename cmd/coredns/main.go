// Command coredns is CoreDNS with the ddns plugin and the plugins that an
// authoritative server wants, and none that talk to a cloud or an
// orchestrator. It takes CoreDNS's own flags.
package main

import (
	"runtime/debug"

	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/coremain"
)

func init() {
	dnsserver.Directives = directives
	if coremain.GitCommit == "" {
		coremain.GitCommit = release()
	}
}

func main() { coremain.Run() }

// release is what -version and the start-up lines tell of this build, beside
// CoreDNS's version, when the linker was not told (the Makefile tells it).
func release() string {
	version := "(devel)"
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		version = info.Main.Version
	}
	return "ddns-" + version
}
