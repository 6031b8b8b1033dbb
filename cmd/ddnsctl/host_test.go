package main

import (
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/coredns-ddns/ddns/updateapi"
)

func TestHostSetMakesAndThenChangesOnlyWhatIsGiven(t *testing.T) {
	s := start(t)
	const name = "home.dyn.example.org."
	steps := []struct {
		args string
		want updateapi.HostPut
	}{
		{"--a 192.0.2.7 --ttl 60 --note kitchen", updateapi.HostPut{A: "192.0.2.7", TTL: 60, Note: "kitchen"}},
		{"--aaaa 2001:db8::7 --wildcard", updateapi.HostPut{A: "192.0.2.7", AAAA: "2001:db8::7", TTL: 60, Note: "kitchen", Wildcard: true}},
		{"--no-a --offline --ttl 0", updateapi.HostPut{AAAA: "2001:db8::7", Note: "kitchen", Wildcard: true, Offline: true}},
		{"--offline=false --wildcard=false --note=", updateapi.HostPut{AAAA: "2001:db8::7"}},
	}
	for i, step := range steps {
		got := s.run(t, append([]string{"host", "set", "Home.dyn.example.org"}, strings.Fields(step.args)...)...)
		h := s.hosts[name]
		is := updateapi.HostPut{A: h.A, AAAA: h.AAAA, TTL: h.TTL, Offline: h.Offline, Wildcard: h.Wildcard, Note: h.Note}
		if got.code != exitDone || is != step.want || strings.Contains(got.err, "Made") != (i == 0) {
			t.Errorf("%s: %+v, %+v", step.args, is, got)
		}
	}
}

func TestHostSetStartsAnewWhenTheHostChangedMeanwhile(t *testing.T) {
	s := start(t)
	const name = "home.dyn.example.org."
	s.put(name, updateapi.HostPut{A: "192.0.2.1"})
	raced := false
	s.before = func(_ http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodPut && !raced {
			raced = true
			s.put(name, updateapi.HostPut{A: "192.0.2.2"})
		}
		return false
	}
	got := s.run(t, "host", "set", name, "--aaaa", "2001:db8::1")
	if h := s.hosts[name]; got.code != exitDone || h.A != "192.0.2.2" || h.AAAA != "2001:db8::1" {
		t.Errorf("%+v, %+v", h, got)
	}
}

func TestHostSetDoesNotTakeOverAHostMadeMeanwhile(t *testing.T) {
	s := start(t)
	const name = "home.dyn.example.org."
	s.before = func(_ http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodPut {
			s.put(name, updateapi.HostPut{A: "192.0.2.2"})
		}
		return false
	}
	got := s.run(t, "host", "set", name, "--aaaa", "2001:db8::1")
	if h := s.hosts[name]; got.code != exitDone || h.A != "192.0.2.2" {
		t.Errorf("%+v, %+v", h, got)
	}
}

func TestHostListGoesThroughAllPagesOfTheZoneAskedFor(t *testing.T) {
	s := start(t)
	for _, name := range []string{"a.one.", "b.one.", "c.one.", "d.two.", "e.one."} {
		s.put(name, updateapi.HostPut{A: "192.0.2.1"})
	}
	all, one := s.run(t, "host", "list"), s.run(t, "host", "list", "--zone", "ONE", "-o", "json")
	if rows := strings.Count(all.out, "192.0.2.1"); rows != 5 || !strings.HasPrefix(all.out, "NAME") {
		t.Errorf("%d rows: %+v", rows, all)
	}
	if strings.Count(one.out, "\n") != 4 || strings.Contains(one.out, "d.two.") {
		t.Errorf("%+v", one)
	}
}

func TestAListOfNothingIsNothing(t *testing.T) {
	s := start(t)
	if got := s.run(t, "host", "list"); got.code != exitDone || got.out != "" {
		t.Errorf("%+v", got)
	}
}

func TestANoteCannotSteerTheTerminal(t *testing.T) {
	s := start(t)
	s.put("a.one.", updateapi.HostPut{Note: "\x1b[2Jgone\nName: other\ttab"})
	if got := s.run(t, "host", "show", "a.one"); strings.ContainsAny(got.out, "\x1b\t") || strings.Count(got.out, "\nName") > 0 {
		t.Errorf("%q", got.out)
	}
}

func TestHostDelete(t *testing.T) {
	s := start(t)
	s.put("a.one.", updateapi.HostPut{})
	if got := s.run(t, "host", "delete", "a.one"); got.code != exitDone || len(s.hosts) != 0 {
		t.Errorf("%+v, %v", got, s.hosts)
	}
	if got := s.run(t, "host", "delete", "a.one"); got.code != exitNotFound {
		t.Errorf("%+v", got)
	}
}

const backedUp = "all of the database"

// backup answers all but the last missing octets of a backup and breaks off.
func backupWithout(missing int) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		w.Header().Set("Content-Type", "application/octet-stream")
		w.Write([]byte(backedUp[:len(backedUp)-missing]))
		w.(http.Flusher).Flush() // a stream without Content-Length
		if missing > 0 {
			panic(http.ErrAbortHandler)
		}
		return true
	}
}

func TestBackupIsThereWholeOrNotAtAll(t *testing.T) {
	s := start(t)
	write(t, "copy.db.tmp", "of a run that was killed")

	s.before = backupWithout(3)
	if got := s.run(t, "backup", "copy.db"); got.code != exitFailed || !strings.Contains(got.err, "broke off") {
		t.Errorf("%+v", got)
	}
	if left := read(t, "copy.db") + read(t, "copy.db.tmp"); left != "" {
		t.Errorf("left behind: %q", left)
	}

	s.before = backupWithout(0)
	if got := s.run(t, "backup", "copy.db"); got.code != exitDone || got.out != "" || read(t, "copy.db") != backedUp {
		t.Errorf("%+v, %q", got, read(t, "copy.db"))
	}
	if info, err := os.Stat("copy.db"); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
}

func TestBackupReplacesAFileOnlyWhenTold(t *testing.T) {
	s := start(t)
	s.before = backupWithout(0)
	write(t, "copy.db", "old")
	if got := s.run(t, "backup", "copy.db"); got.code != exitFailed || read(t, "copy.db") != "old" || len(s.requests) > 0 {
		t.Errorf("%+v, %q", got, s.requests)
	}
	if got := s.run(t, "backup", "--force", "copy.db"); got.code != exitDone || read(t, "copy.db") != backedUp {
		t.Errorf("%+v", got)
	}
}

func TestBackupToStandardOutput(t *testing.T) {
	s := start(t)
	s.before = backupWithout(0)
	if got := s.run(t, "backup", "-"); got.code != exitDone || got.out != backedUp {
		t.Errorf("%+v", got)
	}
	s.before = backupWithout(1)
	if got := s.run(t, "backup", "-"); got.code != exitFailed {
		t.Errorf("%+v", got)
	}
}

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return string(text)
}
