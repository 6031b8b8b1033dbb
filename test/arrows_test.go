package test

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// arrows are the packages of this module that each package may import, its
// tests aside. What is not here has not been thought about.
var arrows = map[string][]string{
	".":                       {"plugin/event", "plugin/index", "plugin/ratelimit", "plugin/replica", "plugin/store", "plugin/store/boltstore", "plugin/store/redisstore", "plugin/token", "plugin/zone", "updateapi"},
	"plugin/zone":             {},
	"plugin/token":            {"plugin/zone"},
	"plugin/index":            {"plugin/zone"},
	"plugin/store":            {"plugin/token", "plugin/zone"},
	"plugin/store/storetest":  {"plugin/store", "plugin/token", "plugin/zone"},
	"plugin/store/boltstore":  {"plugin/store", "plugin/token", "plugin/zone"},
	"plugin/store/redisstore": {"plugin/store", "plugin/token", "plugin/zone"},
	"plugin/replica":          {"plugin/index", "plugin/store", "plugin/token", "plugin/zone"},
	"plugin/ratelimit":        {},
	"plugin/event":            {"plugin/token", "plugin/zone"},
	"updateapi":               {"plugin/event", "plugin/ratelimit", "plugin/store", "plugin/token", "plugin/zone"},
	"cmd/ddnsctl":             {"plugin/zone", "updateapi"}, // names; all else goes over the API
	"cmd/coredns":             {"."},
	"test":                    {},
	"test/bench":              {},
}

// corednsUsers may know CoreDNS, in their tests too.
var corednsUsers = []string{".", "cmd/coredns", "test", "test/bench"}

// onlyLibraries are the foreign packages that a package keeps to.
var onlyLibraries = map[string][]string{
	"plugin/zone": {"github.com/miekg/dns"},
}

func TestImportsFollowTheArrows(t *testing.T) {
	for _, p := range packages(t) {
		allowed, known := arrows[p.name()]
		if !known {
			t.Errorf("%s: say in arrows what it may import", p.name())
			continue
		}
		for _, path := range p.Imports {
			if own, ok := inModule(path); ok && !slices.Contains(allowed, own) {
				t.Errorf("%s imports %s, and may only import %v", p.name(), own, allowed)
			}
			if only, ok := onlyLibraries[p.name()]; ok && foreign(path) && !slices.Contains(only, path) {
				t.Errorf("%s imports %s, and of other modules may only import %v", p.name(), path, only)
			}
		}
	}
}

func TestOnlyTheRootKnowsCoreDNS(t *testing.T) {
	for _, p := range packages(t) {
		if slices.Contains(corednsUsers, p.name()) {
			continue
		}
		for _, path := range slices.Concat(p.Imports, p.TestImports, p.XTestImports) {
			if strings.HasPrefix(path, "github.com/coredns/") {
				t.Errorf("%s imports %s; only %v may know CoreDNS", p.name(), path, corednsUsers)
			}
		}
	}
}

func TestNoGoFileAtTheTopOfPlugin(t *testing.T) {
	for _, p := range packages(t) {
		if p.name() == "plugin" {
			t.Error("plugin/ holds packages, and is none")
		}
	}
}

// listed is a package as go list has it.
type listed struct {
	ImportPath                         string
	Imports, TestImports, XTestImports []string
}

func (p *listed) name() string {
	name, _ := inModule(p.ImportPath)
	return name
}

// inModule is a package's path in this module, "." for the root.
func inModule(path string) (string, bool) {
	if path == module {
		return ".", true
	}
	return strings.CutPrefix(path, module+"/")
}

// foreign says whether a package is neither ours nor of the standard library.
func foreign(path string) bool {
	_, own := inModule(path)
	first, _, _ := strings.Cut(path, "/")
	return !own && strings.Contains(first, ".")
}

func packages(t *testing.T) []listed {
	t.Helper()
	cmd := exec.Command("go", "list", "-e", "-json=ImportPath,Imports,TestImports,XTestImports", module+"/...")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var all []listed
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p listed
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}
