package redisstore

import (
	"errors"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/coredns-ddns/ddns/plugin/store"
	"github.com/coredns-ddns/ddns/plugin/zone"
)

func TestWaitMeansThatReplicasHaveIt(t *testing.T) {
	t.Parallel()
	primary := startRedis(t, "--repl-diskless-sync-delay", "0")
	replica := startRedis(t, "--replicaof", "127.0.0.1 "+strconv.Itoa(primary.port))
	until(t, "the replica is in step", func() bool { return strings.Contains(primary.cli("INFO", "replication"), "state=online") })
	c := config(t, primary.url())
	c.Wait = 1
	s := opened(t, c)
	u := must(t, s, put(host(1, 0)))
	name := host(1, 0).Name.Relative(origin)
	key := s.hosts(origin).bucketKey("hosts", bucket(name))
	if got := replica.cli("HGET", key, name); got == "" {
		t.Error("acknowledged, and not on the replica")
	}

	replica.signal(syscall.SIGSTOP)
	defer replica.signal(syscall.SIGCONT)
	refresh := put(host(1, u.Revision))
	refresh.Writes[0].Op = store.Refresh
	refused(t, s, put(host(2, 0)))
	refused(t, s, refresh)
	if _, err := s.hosts(origin).Update(t.Context(), put(host(1, 0))); !errors.Is(err, store.ErrConflict) {
		t.Errorf("%v, want ErrConflict: it promises nothing of replicas", err)
	}
	replica.signal(syscall.SIGCONT)
	must(t, s, refresh)
	if hosts, _ := all(t, s); hosts[host(2, 0).Name].Revision == 0 {
		t.Error("what only the replicas had not confirmed is gone")
	}
}

// A node without an update listener reads its zone and nothing else.
func TestAReaderNeedsFewRights(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	c := config(t, r.url())
	s := opened(t, c)
	u := must(t, s, put(host(1, 0), host(2, 0)))
	r.cli("ACL", "SETUSER", "edge", "on", ">secret", "%R~"+c.Prefix+"{"+string(origin)+"}:*",
		"+xread", "+hgetall", "+hmget", "+hlen", "+info", "+time")
	c.User, c.Password = "edge", "secret"
	edge := open(t, c)
	defer edge.Close()
	if hosts, p := all(t, edge); len(hosts) != 2 || p.Revision != u.Revision {
		t.Errorf("%v at %v", hosts, p)
	}
	f := follow(t, edge, u.Revision)
	f.beat(t)
	must(t, s, put(host(3, 0)))
	until(t, "the commit is followed", func() bool { return f.beat(t).Revision == u.Revision+1 })
	refused(t, edge, put(host(4, 0)))
	tokens, err := edge.Tokens(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range tokens.Follow(t.Context(), 0) {
		if !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("tokens: %v, want ErrUnavailable", err)
		}
		break
	}

	c.Password = "wrong"
	wrong := open(t, c)
	defer wrong.Close()
	_, err = wrong.hosts(origin).Snapshot(t.Context(), func(zone.Host) error { return nil })
	if !errors.Is(err, store.ErrUnavailable) || strings.Contains(err.Error(), c.Password+" ") {
		t.Errorf("a wrong password: %v, want ErrUnavailable without it", err)
	}
	t.Log(err)
}

func TestOperators(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	s := open(t, config(t, r.url()))
	defer s.Close()
	for _, want := range [][]zone.Name{{Tokens, origin}, nil} {
		if made, err := s.Init(t.Context(), origin); err != nil || !slices.Equal(made, want) {
			t.Fatalf("Init made %v, %v; want %v", made, err, want)
		}
	}
	must(t, s, put(host(1, 0)))
	for _, name := range []zone.Name{origin, Tokens} {
		if found, err := s.Check(t.Context(), name); err != nil || len(found) > 0 {
			t.Errorf("Check(%s): %q, %v", name, found, err)
		}
	}
	warnings, err := s.Warnings(t.Context(), origin)
	if err != nil || len(warnings) != 1 || !strings.Contains(warnings[0], "appendonly") {
		t.Errorf("Warnings: %q, %v; want that appendonly is off", warnings, err)
	}
	meta := s.hosts(origin).key("meta")
	r.cli("HSET", meta, "format", "2")
	refused(t, s, put(host(2, 0)))
	_, err = s.hosts(origin).Snapshot(t.Context(), func(zone.Host) error { return nil })
	if !errors.Is(err, store.ErrUnavailable) || errors.Is(err, store.ErrLost) || !strings.Contains(err.Error(), `"2"`) || !strings.Contains(err.Error(), `"1"`) {
		t.Errorf("another format: %v, want ErrUnavailable that names both", err)
	}
	r.cli("DEL", meta)
	if _, err := s.Init(t.Context(), origin); !errors.Is(err, store.ErrLost) {
		t.Errorf("Init over what is left: %v, want ErrLost", err)
	}
	if did, err := s.Forget(t.Context(), origin); !did || err != nil {
		t.Errorf("Forget: %v, %v", did, err)
	}
	if hosts, _ := all(t, s); len(hosts) != 1 {
		t.Errorf("%v, want what is left", hosts)
	}
}
