package redisstore

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/coredns-ddns/ddns/plugin/store"
	"github.com/coredns-ddns/ddns/plugin/token"
	"github.com/coredns-ddns/ddns/plugin/zone"
)

func TestAnEmptiedRedisIsLostUntilItIsForgotten(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	c := config(t, r.url())
	a, b := opened(t, c), opened(t, c)
	u := must(t, a, put(host(1, 0), host(2, 0)))
	for _, s := range []*Store{a, b} {
		all(t, s)
		if _, err := s.tokens.Snapshot(t.Context(), func(token.Token) error { return nil }); err != nil {
			t.Fatal(err)
		}
	}
	f := follow(t, b, u.Revision)
	f.beat(t)
	r.cli("FLUSHALL")

	if err := f.ended(t); !errors.Is(err, store.ErrLost) {
		t.Errorf("Follow: %v, want ErrLost", err)
	}
	refused(t, a, put(host(1, u.Revision)), store.ErrLost)
	refused(t, a, put(host(3, 0)), store.ErrLost)
	if _, err := a.tokens.Put(t.Context(), token.Token{ID: "aaaaaa"}); !errors.Is(err, store.ErrLost) {
		t.Errorf("Put: %v, want ErrLost", err)
	}
	if n := r.cli("DBSIZE"); n != "0" {
		t.Errorf("%s keys in a lost Redis, want none", n)
	}
	fresh := opened(t, c) // makes the zone anew, as an operator may by mistake
	if hosts, _ := all(t, fresh); len(hosts) != 0 {
		t.Errorf("a fresh node has %v", hosts)
	}
	for _, s := range []*Store{a, b} {
		refused(t, s, put(host(3, 0)), store.ErrLost)
		if _, err := s.hosts(origin).Snapshot(t.Context(), func(zone.Host) error { return nil }); !errors.Is(err, store.ErrLost) {
			t.Errorf("Snapshot: %v, want ErrLost", err)
		}
	}

	for _, name := range []zone.Name{origin, Tokens} {
		if did, err := a.Forget(t.Context(), name); err != nil || !did {
			t.Fatalf("Forget(%s): %v, %v", name, did, err)
		}
		if did, err := a.Forget(t.Context(), name); err != nil || did {
			t.Errorf("Forget(%s) with nothing lost: %v, %v", name, did, err)
		}
	}
	if err := follow(t, b, u.Revision).ended(t); !errors.Is(err, store.ErrGap) {
		t.Errorf("Follow: %v, want ErrGap", err)
	}
	for i, s := range []*Store{a, b} {
		hosts, p := all(t, s)
		if len(hosts) != i || p.Revision < u.Revision {
			t.Errorf("node %d: %v at %v", i, hosts, p)
		}
		must(t, s, put(host(10+i, 0)))
	}
}

func TestWhatIsEvictedIsLost(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	s := opened(t, config(t, r.url()))
	var hosts []zone.Host
	for n := range 1000 {
		hosts = append(hosts, host(n, 0))
	}
	u := must(t, s, put(hosts...))
	all(t, s)
	f := follow(t, s, u.Revision)
	f.beat(t)
	h := s.hosts(origin)
	evicted := bucket(hosts[0].Name.Relative(origin))
	r.cli("DEL", h.bucketKey("hosts", evicted))

	refused(t, s, put(host(0, u.Revision)), store.ErrLost)
	if _, err := h.Snapshot(t.Context(), func(zone.Host) error { return nil }); !errors.Is(err, store.ErrLost) {
		t.Errorf("Snapshot: %v, want ErrLost", err)
	}
	if err := f.ended(t); !errors.Is(err, store.ErrLost) { // at the next count
		t.Errorf("Follow: %v, want ErrLost", err)
	}
	other := slices.IndexFunc(hosts, func(h zone.Host) bool { return bucket(h.Name.Relative(origin)) != evicted })
	refused(t, s, put(host(other, u.Revision)), store.ErrLost)
	if found, err := s.Check(t.Context(), origin); err != nil || len(found) == 0 {
		t.Errorf("Check: %q, %v; want findings", found, err)
	}

	if did, err := s.Forget(t.Context(), origin); err != nil || !did {
		t.Fatalf("Forget: %v, %v", did, err)
	}
	left, _ := all(t, s)
	if len(left) == 0 || len(left) >= len(hosts) {
		t.Errorf("%d hosts are left of %d", len(left), len(hosts))
	}
	must(t, s, put(host(0, 0), host(other, left[hosts[other].Name].Revision)))
}

func TestARestoredBackupIsLoadedAgain(t *testing.T) {
	t.Parallel()
	for _, further := range []bool{false, true} {
		t.Run(fmt.Sprint("gone on since: ", further), func(t *testing.T) {
			r := startRedis(t)
			c := config(t, r.url())
			s, other := opened(t, c), opened(t, c)
			old := must(t, s, put(host(1, 0)))
			r.cli("SAVE")
			backup, err := os.ReadFile(filepath.Join(r.dir, "dump.rdb"))
			if err != nil {
				t.Fatal(err)
			}
			all(t, s)
			f := follow(t, s, old.Revision)
			now := must(t, s, put(host(1, old.Revision), host(2, 0)))
			until(t, "the commit is followed", func() bool { return f.beat(t).Revision == now.Revision })
			r.kill()
			if err := f.ended(t); !errors.Is(err, store.ErrUnavailable) {
				t.Errorf("Follow: %v, want ErrUnavailable", err)
			}
			if err := os.WriteFile(filepath.Join(r.dir, "dump.rdb"), backup, 0o600); err != nil {
				t.Fatal(err)
			}
			r.start()
			want, _ := all(t, other)
			if further {
				// What has the same number is another commit now.
				must(t, other, put(host(1, old.Revision)))
				must(t, other, put(host(5, 0)))
				want, _ = all(t, other)
			}
			refused(t, s, put(host(3, 0)))
			if err := follow(t, s, now.Revision).ended(t); !errors.Is(err, store.ErrGap) {
				t.Errorf("Follow: %v, want ErrGap", err)
			}
			got, p := all(t, s)
			if !maps.Equal(got, want) {
				t.Errorf("after the restoration %v, want %v", got, want)
			}
			must(t, s, put(host(4, 0)))
			if c := follow(t, s, p.Revision).beat(t); c.Revision != p.Revision+1 {
				t.Errorf("at %d after a commit from %d", c.Revision, p.Revision)
			}
		})
	}
}

func TestATrimmedFeedIsAGap(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	s := opened(t, config(t, r.url()))
	for n := range 10 {
		must(t, s, put(host(n, 0)))
	}
	feed := s.hosts(origin).key("feed")
	r.cli("XTRIM", feed, "MAXLEN", "3")
	for after := range zone.Revision(11) {
		f := follow(t, s, after)
		if after < 7 {
			if err := f.ended(t); !errors.Is(err, store.ErrGap) {
				t.Errorf("after %d: %v, want ErrGap", after, err)
			}
		} else if c := f.beat(t); c.Revision != 10 {
			t.Errorf("after %d: at %d, want 10", after, c.Revision)
		}
	}
	f := follow(t, s, 10)
	f.beat(t)
	r.cli("DEL", feed)
	must(t, s, put(host(20, 0)))
	if c := f.beat(t); c.Revision != 11 {
		t.Errorf("at %d, want 11", c.Revision)
	}
}

func TestASecondWriter(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	s := opened(t, config(t, r.url()))
	u := must(t, s, put(host(1, 0), host(2, 0)))
	h := s.hosts(origin)
	name := host(1, 0).Name.Relative(origin)
	key := h.bucketKey("hosts", bucket(name))

	r.cli("HSET", key, name, "1 192.0.2.1 - 60 -")
	if hosts, _ := all(t, s); hosts[host(1, 0).Name].String() != "1 192.0.2.1 - 60 -" {
		t.Errorf("%v, want what redis-cli wrote", hosts)
	}
	r.cli("HSET", key, name, "999 192.0.2.1 - 60 -")
	var conflict *store.Conflict
	if _, err := h.Update(t.Context(), put(host(1, u.Revision))); !errors.As(err, &conflict) || conflict.Current[0].Revision != 999 {
		t.Errorf("%v, want a conflict with revision 999", err)
	}
	if found, err := s.Check(t.Context(), origin); err != nil || len(found) != 1 || !strings.Contains(found[0], "999") {
		t.Errorf("Check: %q, %v; want the revision", found, err)
	}
	r.cli("HSET", key, name, "nonsense")
	refused(t, s, put(host(1, u.Revision)))
	if _, err := h.Snapshot(t.Context(), func(zone.Host) error { return nil }); !errors.Is(err, store.ErrUnavailable) || !strings.Contains(err.Error(), name) {
		t.Errorf("Snapshot: %v, want ErrUnavailable that names %s", err, name)
	}
	r.cli("HSET", key, name, "1 192.0.2.1 - 60 -", "stranger", "1 192.0.2.2 - 60 -")
	if hosts, _ := all(t, s); len(hosts) != 3 {
		t.Errorf("%v, want the stranger too", hosts)
	}
	r.cli("HDEL", key, "stranger")

	// Keys of a wrong type are found before anything is written.
	for _, bad := range []string{"feed", "seen", "history:" + bucketName(bucket(name)), "settings:" + bucketName(bucket(name)), "meta"} {
		spoilt := h.key(bad)
		r.try("RENAME", spoilt, "aside")
		r.cli("SET", spoilt, "x")
		w := put(host(1, u.Revision))
		w.Writes[0].Settings = &store.Settings{Note: "n"}
		refused(t, s, w)
		r.cli("DEL", spoilt)
		r.try("RENAME", "aside", spoilt)
	}
	if _, p := all(t, s); p.Revision != u.Revision {
		t.Errorf("at %d, want %d", p.Revision, u.Revision)
	}
	must(t, s, put(host(1, u.Revision)))
	if found, err := s.Check(t.Context(), origin); err != nil || len(found) > 0 {
		t.Errorf("Check: %q, %v; want nothing", found, err)
	}
}

func TestKilledConnectionsLoseNoCommit(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	s := opened(t, config(t, r.url()))
	const commits = 2000
	written := make(chan error, 1)
	go func() {
		h := s.hosts(origin)
		for n := range commits {
			_, err := h.Update(context.Background(), put(host(n, 0)))
			var conflict *store.Conflict
			// A killed connection leaves it open whether an update was done.
			if errors.As(err, &conflict) && conflict.Current[0].A == host(n, 0).A {
				err = nil
			}
			if err != nil {
				written <- fmt.Errorf("update %d: %w", n, err)
				return
			}
		}
		written <- nil
	}()
	at, kills := zone.Revision(0), 0
	for at < commits {
		for c, err := range s.hosts(origin).Follow(t.Context(), at) {
			if err != nil {
				if errors.Is(err, store.ErrGap) || !errors.Is(err, store.ErrUnavailable) {
					t.Fatalf("Follow: %v, want ErrUnavailable", err)
				}
				break
			}
			if len(c.Changes) > 0 {
				if c.Revision != at+1 {
					t.Fatalf("commit %d after %d", c.Revision, at)
				}
				at = c.Revision
			}
			if at%100 == 50 && int(at/100) == kills {
				kills++
				r.cli("CLIENT", "KILL", "TYPE", "normal")
			}
			if at == commits {
				break
			}
		}
	}
	if err := <-written; err != nil {
		t.Error(err)
	}
	t.Logf("%d commits through %d kills", at, kills)
}

func TestAFrozenRedisBoundsUpdates(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	s := opened(t, config(t, r.url()))
	u := must(t, s, put(host(1, 0)))
	all(t, s)
	f := follow(t, s, u.Revision)
	f.beat(t)
	r.signal(syscall.SIGSTOP)
	defer r.signal(syscall.SIGCONT)
	began := time.Now()
	refused(t, s, put(host(1, u.Revision)))
	refused(t, s, put(host(2, 0)))
	if _, err := s.hosts(origin).Kept(t.Context(), host(1, 0).Name); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("Kept: %v, want ErrUnavailable", err)
	}
	if err := f.ended(t); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("Follow: %v, want ErrUnavailable", err)
	}
	t.Logf("two updates, a read and the end of Follow took %v", time.Since(began))
	r.signal(syscall.SIGCONT)
	until(t, "updates are done again", func() bool {
		_, err := s.hosts(origin).Update(t.Context(), put(host(3, 0)))
		return err == nil || errors.Is(err, store.ErrConflict)
	})
	follow(t, s, u.Revision).beat(t)
}

func TestWhatRedisRefusesIsNotDone(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	s := opened(t, config(t, r.url()))
	u := must(t, s, put(host(1, 0)))
	for _, step := range []struct{ intent, spoil, mend string }{
		{"no memory", "CONFIG SET maxmemory 1", "CONFIG SET maxmemory 0"},
		{"a replica", "REPLICAOF 127.0.0.1 1", "REPLICAOF NO ONE"},
		{"too few replicas", "CONFIG SET min-replicas-to-write 1", "CONFIG SET min-replicas-to-write 0"},
		{"another password", "CONFIG SET requirepass secret", "-a secret --no-auth-warning CONFIG SET requirepass ''"},
	} {
		r.cli(strings.Fields(step.spoil)...)
		if strings.Contains(step.spoil, "requirepass") {
			r.try("-a", "secret", "CLIENT", "KILL", "TYPE", "normal")
		}
		t.Log(step.intent)
		refused(t, s, put(host(1, u.Revision), host(2, 0)))
		mend := strings.Fields(step.mend)
		if mend[len(mend)-1] == "''" {
			mend[len(mend)-1] = ""
		}
		r.cli(mend...)
		hosts, p := all(t, s)
		if len(hosts) != 1 || p.Revision != u.Revision {
			t.Errorf("%s: %v at %v", step.intent, hosts, p)
		}
	}
	must(t, s, put(host(1, u.Revision)))
}
