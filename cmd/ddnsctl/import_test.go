package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/coredns-ddns/ddns/updateapi"
)

func TestImportOfJSONLines(t *testing.T) {
	s := start(t)
	write(t, "hosts", `{"name":"Home.dyn.example.org","a":"192.0.2.7","ttl":60}

{"name":"nas.dyn.example.org.","aaaa":"2001:db8::7","wildcard":true,"note":"cellar"}`)
	got := s.run(t, "import", "hosts", "-o", "json")
	if got.code != exitDone || got.out != `{"hosts":2,"changed":2,"unchanged":0,"left_out":0}`+"\n" {
		t.Errorf("%+v", got)
	}
	if h := s.hosts["home.dyn.example.org."]; h.A != "192.0.2.7" || h.TTL != 60 {
		t.Errorf("%+v", h)
	}
	if h := s.hosts["nas.dyn.example.org."]; h.AAAA != "2001:db8::7" || !h.Wildcard || h.Note != "cellar" {
		t.Errorf("%+v", h)
	}
	if again := s.run(t, "import", "hosts"); again.code != exitDone || !strings.Contains(again.err, "2 unchanged") {
		t.Errorf("%+v", again)
	}
}

func TestImportTakesWhatHostListPrints(t *testing.T) {
	s := start(t)
	s.put("a.one.", updateapi.HostPut{A: "192.0.2.1", Offline: true})
	s.put("b.two.", updateapi.HostPut{AAAA: "2001:db8::1", TTL: 30})
	listed := s.run(t, "host", "list", "-o", "json").out
	got := runWith(t, listed, map[string]string{"DDNS_URL": s.url}, "import", "-")
	if got.code != exitDone || !strings.Contains(got.err, "0 changed, 2 unchanged") {
		t.Errorf("%+v", got)
	}
}

func TestImportSendsNothingOfAFileWithAMistake(t *testing.T) {
	s := start(t)
	const good = `{"name":"a.dyn.example.org"}` + "\n"
	for intent, c := range map[string]struct{ text, says string }{
		"not JSON":                {good + "{a.dyn.example.org}", ":2: want a host such as"},
		"a field misspelled":      {good + `{"name":"b.dyn.example.org","aaa":"::1"}`, `:2: want a host such as {"name":"home.dyn.example.org","a":"192.0.2.7"}: json: unknown field "aaa"`},
		"two objects in a line":   {good + `{"name":"b.example"}{"name":"c.example"}`, ":2: "},
		"no name":                 {good + `{"a":"192.0.2.1"}`, ":2: "},
		"a name that is none":     {good + `{"name":"b..example"}`, `:2: "b..example"`},
		"an address that is none": {good + `{"name":"b.example","aaaa":"2001:db8::10000"}`, `:2: b.example.: aaaa is "2001:db8::10000"`},
		"an address elsewhere":    {good + `{"name":"b.example","a":"2001:db8::1"}`, `:2: b.example.: a is "2001:db8::1"`},
		"a host twice":            {good + "\n" + `{"name":"A.dyn.example.org."}`, ":3: a.dyn.example.org. is in line 1 already"},
		"a broken zone file":      {"home 60 IN A 192.0.2.7.8\n", "line: 1"},
		"relative names":          {"home 60 IN A 192.0.2.7\n", "--zone"},
	} {
		t.Run(intent, func(t *testing.T) {
			write(t, "hosts", c.text)
			if got := s.run(t, "import", "hosts"); got.code != exitFailed || !strings.Contains(got.err, c.says) {
				t.Errorf("%+v, want %q", got, c.says)
			}
		})
	}
	if len(s.requests) > 0 {
		t.Errorf("%q", s.requests)
	}
}

const zoneFile = `$ORIGIN dyn.example.org.
$TTL 300
@        IN SOA ns1 hostmaster 1 7200 3600 1209600 300
         IN NS  ns1
ns1      IN A   192.0.2.53
home     IN A   192.0.2.7
home     IN A   192.0.2.8
home     IN A   192.0.2.7
www      IN CNAME home
*        IN A   192.0.2.9
nas  1w  IN AAAA 2001:db8::7
odd\.one IN A   192.0.2.10
old      CH TXT x
six      IN AAAA ::ffff:192.0.2.12
HOME     IN AAAA 2001:db8::8
`

func TestImportOfAZoneFileListsWhatItLeavesOut(t *testing.T) {
	s := start(t)
	write(t, "zone", zoneFile)
	got := s.run(t, "import", "zone")
	if got.code != exitDone {
		t.Fatalf("%+v", got)
	}
	want := map[string]updateapi.HostPut{
		"ns1.dyn.example.org.":  {A: "192.0.2.53", TTL: 300},
		"home.dyn.example.org.": {A: "192.0.2.7", AAAA: "2001:db8::8", TTL: 300},
		"*.dyn.example.org.":    {A: "192.0.2.9", TTL: 300},
		"nas.dyn.example.org.":  {AAAA: "2001:db8::7", TTL: 86400},
	}
	if len(s.hosts) != len(want) {
		t.Errorf("%v", s.hosts)
	}
	for name, put := range want {
		if h := s.hosts[name]; h.A != put.A || h.AAAA != put.AAAA || h.TTL != put.TTL {
			t.Errorf("%+v, want %+v", h, put)
		}
	}
	wantLeft := []string{
		"dyn.example.org. SOA: only A and AAAA make hosts",
		"dyn.example.org. NS: only A and AAAA make hosts",
		"home.dyn.example.org. A 192.0.2.8: a host has one address of a family, and 192.0.2.7 came first",
		"www.dyn.example.org. CNAME: only A and AAAA make hosts",
		`odd\.one.dyn.example.org. A 192.0.2.10: not a plain host name`,
		"old.dyn.example.org. TXT: not of class IN",
		"six.dyn.example.org. AAAA ::ffff:192.0.2.12: an IPv4 address in AAAA",
	}
	if left := leftOut(got.err); !slices.Equal(left, wantLeft) {
		t.Errorf("left out:\n%s\nwant:\n%s", strings.Join(left, "\n"), strings.Join(wantLeft, "\n"))
	}
}

func leftOut(text string) []string {
	var left []string
	for line := range strings.Lines(text) {
		if what, ok := strings.CutPrefix(line, "left out: "); ok {
			left = append(left, strings.TrimSpace(what))
		}
	}
	return left
}

func TestImportOfRelativeNamesWithoutTTL(t *testing.T) {
	s := start(t)
	write(t, "zone", "home IN A 192.0.2.7\n")
	if got := s.run(t, "import", "zone", "--zone", "dyn.example.org"); got.code != exitDone {
		t.Fatalf("%+v", got)
	}
	if h := s.hosts["home.dyn.example.org."]; h.A != "192.0.2.7" || h.TTL != 0 {
		t.Errorf("%+v", h)
	}
}

// manyHosts is n JSON lines.
func manyHosts(n int) string {
	var text strings.Builder
	for i := range n {
		fmt.Fprintf(&text, `{"name":"h%06d.dyn.example.org","a":"192.0.%d.%d","aaaa":"2001:db8::%x"}`+"\n", i, i>>8&255, i&255, i)
	}
	return text.String()
}

// breakAfter lets n batches through and refuses the others.
func (s *server) breakAfter(n int) {
	s.before = func(w http.ResponseWriter, r *http.Request) bool {
		if n--; n < 0 {
			refuse(w, http.StatusInternalServerError, "lightning")
			return true
		}
		return false
	}
}

func TestImportGoesOnWhereItBrokeOff(t *testing.T) {
	s := start(t)
	const all = 9*updateapi.MaxImport + 5
	write(t, "hosts", manyHosts(all))
	s.breakAfter(4)
	if got := s.run(t, "import", "hosts", "--resume"); got.code != exitFailed || !strings.Contains(got.err, "lightning") || !strings.Contains(got.err, "--resume") {
		t.Fatalf("%+v", got)
	}
	var was progress
	if err := json.Unmarshal([]byte(read(t, "hosts"+progressSuffix)), &was); err != nil || was.Done > len(s.hosts) {
		t.Fatalf("%+v, %v; %d hosts are there", was, err, len(s.hosts))
	}
	s.before, s.requests = nil, nil
	got := s.run(t, "import", "hosts", "--resume")
	if got.code != exitDone || len(s.hosts) != all {
		t.Errorf("%d hosts: %+v", len(s.hosts), got)
	}
	if want := (all - was.Done + updateapi.MaxImport - 1) / updateapi.MaxImport; len(s.requests) != want {
		t.Errorf("%d requests after %d hosts, want %d", len(s.requests), was.Done, want)
	}
	if left := read(t, "hosts"+progressSuffix); left != "" {
		t.Errorf("left behind: %s", left)
	}
}

func TestImportGoesOnOnlyWithTheSameFileAndServer(t *testing.T) {
	s := start(t)
	write(t, "hosts", manyHosts(2*updateapi.MaxImport))
	s.breakAfter(1)
	if got := s.run(t, "import", "hosts"); got.code != exitFailed {
		t.Fatalf("%+v", got)
	}
	s.before = nil
	kept := read(t, "hosts"+progressSuffix)
	if got := s.run(t, "import", "hosts", "--resume", "--url", strings.Replace(s.url, "127.0.0.1", "localhost", 1)); got.code != exitFailed || !strings.Contains(got.err, s.url) {
		t.Errorf("another server: %+v", got)
	}
	write(t, "hosts", manyHosts(3*updateapi.MaxImport))
	if got := s.run(t, "import", "hosts", "--resume"); got.code != exitFailed || !strings.Contains(got.err, "another content") {
		t.Errorf("another content: %+v", got)
	}
	write(t, "hosts"+progressSuffix, "nonsense")
	if got := s.run(t, "import", "hosts", "--resume"); got.code != exitFailed || !strings.Contains(got.err, "not a progress file") {
		t.Errorf("nonsense: %+v", got)
	}
	if kept == "" {
		t.Error("nothing was kept")
	}
}

func TestImportComesAgainWhenTheServerAsksForIt(t *testing.T) {
	s := start(t)
	write(t, "hosts", manyHosts(2*updateapi.MaxImport))
	busy := 3
	s.before = func(w http.ResponseWriter, r *http.Request) bool {
		if busy--; busy >= 0 {
			w.Header().Set("Retry-After", "0")
			refuse(w, http.StatusServiceUnavailable, "store away")
			return true
		}
		return false
	}
	if got := s.run(t, "import", "hosts"); got.code != exitDone || len(s.hosts) != 2*updateapi.MaxImport {
		t.Errorf("%d hosts: %+v", len(s.hosts), got)
	}
}

func TestImportOfAnEmptyFile(t *testing.T) {
	s := start(t)
	write(t, "hosts", "")
	if got := s.run(t, "import", "hosts"); got.code != exitDone || len(s.requests) > 0 {
		t.Errorf("%+v, %q", got, s.requests)
	}
}
