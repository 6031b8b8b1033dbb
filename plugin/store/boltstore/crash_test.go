//go:build unix

package boltstore

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/coredns-ddns/ddns/plugin/store"
	"github.com/coredns-ddns/ddns/plugin/token"
	"github.com/coredns-ddns/ddns/plugin/zone"
)

// The test binary is the server to be killed when crashFile is set.
const (
	crashFile   = "BOLTSTORE_CRASH_FILE"
	crashRounds = "BOLTSTORE_CRASH_ROUNDS" // how often it is killed, if not 12 times
	crashers    = 8
)

func TestMain(m *testing.M) {
	if path := os.Getenv(crashFile); path != "" {
		if err := updateUntilKilled(path); err != nil {
			fmt.Println("error", err)
		}
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// pair is the two hosts that crasher w changes, always both in one update.
func pair(w int) [2]int { return [2]int{2 * w, 2*w + 1} }

// updateUntilKilled has each crasher count in the TTLs of its pair, and prints
// "CRASHER COUNT REVISION SERIAL" for every acknowledgement. Crasher 0 replaces
// a token as well.
func updateUntilKilled(path string) error {
	s, err := Open(path)
	if err != nil {
		return err
	}
	h, err := s.Hosts(context.Background(), origin)
	if err != nil {
		return err
	}
	k, err := s.Tokens(context.Background())
	if err != nil {
		return err
	}
	var known sync.Map
	if _, err := h.Snapshot(context.Background(), func(host zone.Host) error { known.Store(host.Name, host.State); return nil }); err != nil {
		return err
	}
	var tok token.Token
	if _, err := k.Snapshot(context.Background(), func(t token.Token) error { tok = t; return nil }); err != nil {
		return err
	}
	failed := make(chan error)
	for w := range crashers {
		go func() {
			for {
				var u store.Update
				for _, n := range pair(w) {
					was := host(n, 0)
					if v, ok := known.Load(was.Name); ok {
						was.State = v.(zone.State)
					}
					was.TTL++
					u.Writes = append(u.Writes, store.Write{Host: was})
				}
				r, err := h.Update(context.Background(), u)
				if err != nil {
					failed <- err
					return
				}
				for _, wr := range u.Writes {
					wr.Host.Revision = r.Revision
					known.Store(wr.Host.Name, wr.Host.State)
				}
				fmt.Println(w, u.Writes[0].Host.TTL, r.Revision, r.Serial)
				if w == 0 {
					tok.ID, tok.Quota = "aaaaaa", int(u.Writes[0].Host.TTL)
					if tok.Revision, err = k.Put(context.Background(), tok); err != nil {
						failed <- err
						return
					}
					fmt.Println("token", tok.Quota, tok.Revision, 0)
				}
			}
		}()
	}
	return <-failed
}

// acknowledged is the last that a killed process said of each crasher.
type acknowledged struct {
	count    map[string]int
	revision zone.Revision
	serial   uint32
}

func TestKilledAtAnyMoment(t *testing.T) {
	rounds := 12
	if n, err := strconv.Atoi(os.Getenv(crashRounds)); err == nil {
		rounds = n
	}
	path := filepath.Join(t.TempDir(), "ddns.db")
	last := acknowledged{count: map[string]int{}}
	for round := range rounds {
		runAndKill(t, path, 1+rand.IntN(600), &last)
		s := open(t, path)
		h := hostsOf(t, s)
		hosts, p := all(t, h)
		if p.Revision < last.revision || zone.SerialLess(p.Serial, last.serial) {
			t.Errorf("round %d: at %v, want revision %d and serial %d or later", round, p, last.revision, last.serial)
		}
		for w := range crashers {
			// What was done and not acknowledged counts from the next round on.
			last.count[strconv.Itoa(w)] = checkPair(t, h, hosts, w, last.count[strconv.Itoa(w)])
		}
		last.count["token"] = checkToken(t, s, last.count["token"])
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if t.Failed() {
			t.Fatalf("in round %d", round)
		}
	}
	t.Logf("killed %d times, %d commits", rounds, last.revision)
}

// runAndKill has a process update path and kills it after some acknowledgements.
func runAndKill(t *testing.T, path string, after int, last *acknowledged) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), crashFile+"="+path)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	lines := bufio.NewScanner(out)
	for n := 0; lines.Scan(); n++ { // what it said before it died counts, too
		if n == after {
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
		field := strings.Fields(lines.Text())
		if len(field) != 4 {
			continue // cut off by the kill
		}
		if field[0] == "error" {
			t.Fatal(lines.Text())
		}
		count, _ := strconv.Atoi(field[1])
		revision, _ := strconv.ParseUint(field[2], 10, 64)
		serial, _ := strconv.ParseUint(field[3], 10, 32)
		last.count[field[0]] = count
		if field[0] != "token" {
			last.revision = max(last.revision, zone.Revision(revision))
			if zone.SerialLess(last.serial, uint32(serial)) || last.serial == 0 {
				last.serial = uint32(serial)
			}
		}
	}
}

// checkPair wants both hosts of crasher w alike, at the count acknowledged or
// the one after it, which was under way, and with the history to it. It returns
// the count that they have.
func checkPair(t *testing.T, h store.Hosts, hosts map[zone.Name]zone.State, w, count int) int {
	t.Helper()
	a, b := host(pair(w)[0], 0).Name, host(pair(w)[1], 0).Name
	if hosts[a].TTL != hosts[b].TTL || hosts[a].Revision != hosts[b].Revision {
		t.Errorf("%s is %v, %s is %v: half an update", a, hosts[a], b, hosts[b])
	}
	if got := int(hosts[a].TTL); got != count && got != count+1 {
		t.Errorf("%s counts %d, want the %d acknowledged or one more", a, got, count)
	}
	past, err := h.History(t.Context(), a)
	if err != nil {
		t.Fatal(err)
	}
	for i, p := range past {
		if want := hosts[a].TTL - uint32(i); p.TTL != want {
			t.Errorf("state %d in the history of %s counts %d, want %d", i, a, p.TTL, want)
		}
	}
	if want := min(int(hosts[a].TTL), store.HistoryLen); len(past) != want {
		t.Errorf("%d states in the history of %s, want %d", len(past), a, want)
	}
	return int(hosts[a].TTL)
}

func checkToken(t *testing.T, s *Store, count int) int {
	t.Helper()
	k, err := s.Tokens(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	got := 0
	if _, err := k.Snapshot(t.Context(), func(tok token.Token) error { got = tok.Quota; return nil }); err != nil {
		t.Fatal(err)
	}
	if got != count && got != count+1 {
		t.Errorf("the token counts %d, want the %d acknowledged or one more", got, count)
	}
	return got
}
