package redisstore

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coredns-ddns/ddns/plugin/store"
	"github.com/coredns-ddns/ddns/plugin/zone"
)

// startSentinels starts a primary, two replicas and three sentinels, and returns
// the servers and the URLs of the sentinels.
func startSentinels(t testing.TB) (servers []*server, urls []string) {
	t.Helper()
	primary := startRedis(t, "--repl-diskless-sync-delay", "0")
	servers = append(servers, primary)
	for range 2 {
		servers = append(servers, startRedis(t, "--repl-diskless-sync-delay", "0", "--replicaof", "127.0.0.1 "+strconv.Itoa(primary.port)))
	}
	for range 3 {
		s := &server{t: t, dir: t.TempDir(), port: freePort(t), program: "redis-sentinel"}
		file := filepath.Join(s.dir, "sentinel.conf")
		conf := fmt.Sprintf("port %d\nbind 127.0.0.1\ndir %s\nsentinel monitor m 127.0.0.1 %d 2\n"+
			"sentinel down-after-milliseconds m 1000\nsentinel failover-timeout m 5000\n", s.port, s.dir, primary.port)
		if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
			t.Fatal(err)
		}
		s.args = []string{file}
		s.start()
		urls = append(urls, "redis://"+s.addr()+"?master_name=m")
		until(t, "a sentinel knows the replicas", func() bool { return sentinelField(s, "num-slaves") == "2" })
	}
	for _, u := range urls {
		port, _ := strconv.Atoi(strings.TrimSuffix(u[strings.LastIndex(u, ":")+1:], "?master_name=m"))
		s := &server{t: t, port: port}
		until(t, "the sentinels know each other", func() bool { return sentinelField(s, "num-other-sentinels") == "2" })
	}
	until(t, "the replicas are in step", func() bool { return strings.Count(primary.cli("INFO", "replication"), "state=online") == 2 })
	return servers, urls
}

// sentinelField is what a sentinel says of its primary.
func sentinelField(s *server, name string) string {
	lines := strings.Split(s.try("SENTINEL", "MASTER", "m"), "\n")
	for i := 0; i+1 < len(lines); i += 2 {
		if strings.TrimSpace(lines[i]) == name {
			return strings.TrimSpace(lines[i+1])
		}
	}
	return ""
}

// startCluster starts three primaries with a replica each.
func startCluster(t testing.TB) []*server {
	t.Helper()
	var servers []*server
	create := []string{"--cluster", "create"}
	for range 6 {
		s := startRedis(t, "--cluster-enabled", "yes", "--cluster-node-timeout", "1500", "--repl-diskless-sync-delay", "0")
		servers = append(servers, s)
		create = append(create, s.addr())
	}
	servers[0].cli(append(create, "--cluster-replicas", "1", "--cluster-yes")...)
	for _, s := range servers {
		until(t, "the cluster is whole", func() bool {
			return strings.Contains(s.try("CLUSTER", "INFO"), "cluster_state:ok") &&
				strings.Count(s.try("CLUSTER", "NODES"), "slave") == 3
		})
	}
	for _, s := range servers {
		until(t, "the replicas are in step", func() bool {
			info := s.try("INFO", "replication")
			return strings.Contains(info, "master_link_status:up") || strings.Contains(info, "state=online")
		})
	}
	return servers
}

func TestStoreWithSentinel(t *testing.T) {
	_, urls := startSentinels(t)
	conform(t, config(t, urls...))
}

func TestStoreInCluster(t *testing.T) {
	servers := startCluster(t)
	conform(t, config(t, servers[0].url(), servers[3].url()))
	t.Run("found by one of its servers", func(t *testing.T) {
		s := opened(t, config(t, servers[1].url()+"?cluster=true"))
		must(t, s, put(host(1, 0)))
	})
}

// loaded is a store whose hosts are counted up, by several writers, with what
// they were told.
type loaded struct {
	store        *Store
	mu           sync.Mutex
	acknowledged map[zone.Name]zone.State
	refused      int
	done         int
	worst        time.Duration // between two acknowledgements
	last         time.Time
}

// load runs writers until stop.
func load(t testing.TB, s *Store, stop <-chan struct{}) (*loaded, *sync.WaitGroup) {
	l := &loaded{store: s, acknowledged: map[zone.Name]zone.State{}, last: time.Now()}
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for n := w; ; n = w + 8*((n+8)/8%50) {
				select {
				case <-stop:
					return
				default:
				}
				l.one(t, host(n, 0).Name)
			}
		})
	}
	return l, &wg
}

// one raises a host's TTL by one. A host has one writer.
func (l *loaded) one(t testing.TB, name zone.Name) {
	l.mu.Lock()
	want := l.acknowledged[name]
	l.mu.Unlock()
	want.TTL++
	for {
		r, err := l.store.hosts(origin).Update(context.Background(), put(zone.Host{Name: name, State: want}))
		var conflict *store.Conflict
		switch {
		case errors.As(err, &conflict):
			want.Revision = conflict.Current[0].Revision // an update in doubt was done after all
			continue
		case errors.Is(err, store.ErrUnavailable):
			l.mu.Lock()
			l.refused++
			l.mu.Unlock()
			time.Sleep(10 * time.Millisecond)
			return
		case err != nil:
			t.Errorf("Update: %v", err)
			return
		}
		want.Revision = r.Revision
		l.mu.Lock()
		defer l.mu.Unlock()
		l.acknowledged[name] = want
		l.done++
		l.worst = max(l.worst, time.Since(l.last))
		l.last = time.Now()
		return
	}
}

// compare checks that nothing acknowledged is lost.
func (l *loaded) compare(t testing.TB, s *Store) {
	t.Helper()
	hosts, _ := all(t, s)
	for name, want := range l.acknowledged {
		if got := hosts[name]; got.TTL < want.TTL {
			t.Errorf("%s has count %d, %d were acknowledged", name, got.TTL, want.TTL)
		}
	}
}

func (l *loaded) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.done
}

// failover kills the server that writes the zone, under load, and lets the store
// go on with another one. The one killed comes back as a replica.
func failover(t *testing.T, c Config, servers []*server, primary *server) {
	s := opened(t, c)
	all(t, s)
	stop := make(chan struct{})
	l, writers := load(t, s, stop)
	copied := newCopy(t, s)
	until(t, "updates run", func() bool { return l.count() > 500 })
	masters := func() (n int) {
		for _, s := range servers {
			if s != primary && strings.Contains(s.try("INFO", "replication"), "role:master") {
				n++
			}
		}
		return n
	}
	others := masters()
	primary.kill()
	before := l.count()
	until(t, "a replica is promoted", func() bool { return masters() == others+1 })
	primary.start()
	until(t, "updates run again", func() bool { return l.count() > before+500 })
	close(stop)
	writers.Wait()
	// A sentinel may name the old primary, back and empty, for a moment: that one
	// has lost the zone, and nobody takes it for the truth.
	until(t, "all agree who is the primary", func() bool {
		_, err := s.hosts(origin).Snapshot(t.Context(), func(zone.Host) error { return nil })
		return err == nil && masters() == others+1 && !strings.Contains(primary.try("INFO", "replication"), "role:master")
	})
	l.compare(t, s)
	copied.compare(t)
	t.Logf("%d updates done, %d refused, none for %v", l.done, l.refused, l.worst.Round(time.Millisecond))
}

func TestSentinelFailoverLosesNothingAcknowledged(t *testing.T) {
	t.Parallel()
	servers, urls := startSentinels(t)
	c := config(t, urls...)
	c.Wait = 1 // of two replicas; the primary is killed whole, and the better one is chosen
	failover(t, c, servers, servers[0])
}

func TestClusterFailoverLosesNothingAcknowledged(t *testing.T) {
	t.Parallel()
	servers := startCluster(t)
	c := config(t, servers[0].url(), servers[1].url(), servers[2].url())
	c.Wait = 1
	slot := servers[0].cli("CLUSTER", "KEYSLOT", c.Prefix+"{"+string(origin)+"}:meta")
	failover(t, c, servers, servers[ownerOf(t, servers, slot)])
}

// ownerOf is which server has a slot.
func ownerOf(t testing.TB, servers []*server, slot string) int {
	t.Helper()
	want, _ := strconv.Atoi(slot)
	for line := range strings.Lines(servers[0].cli("CLUSTER", "NODES")) {
		field := strings.Fields(line)
		for _, slots := range field[min(8, len(field)):] {
			var from, to int
			if n, _ := fmt.Sscanf(slots, "%d-%d", &from, &to); n == 2 && from <= want && want <= to {
				for i, s := range servers {
					if strings.HasPrefix(field[1], s.addr()+"@") {
						return i
					}
				}
			}
		}
	}
	t.Fatalf("nobody has slot %s", slot)
	return 0
}

// copied is what a node does: a snapshot, followed, again after a gap.
type copied struct {
	store *Store
	mu    sync.Mutex
	hosts map[zone.Name]zone.State
	at    zone.Revision
	loads int
	done  chan struct{}
}

func newCopy(t testing.TB, s *Store) *copied {
	c := &copied{store: s, done: make(chan struct{})}
	ctx, stop := context.WithCancel(context.Background())
	t.Cleanup(func() { stop(); <-c.done })
	go func() {
		defer close(c.done)
		for loaded := false; ctx.Err() == nil; time.Sleep(20 * time.Millisecond) {
			loaded = loaded || c.load(ctx) == nil
			if loaded {
				loaded = !errors.Is(c.follow(ctx), store.ErrGap)
			}
		}
	}()
	return c
}

func (c *copied) load(ctx context.Context) error {
	hosts := map[zone.Name]zone.State{}
	p, err := c.store.hosts(origin).Snapshot(ctx, func(h zone.Host) error {
		hosts[h.Name] = h.State
		return nil
	})
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.hosts, c.at = hosts, p.Revision
	c.loads++
	return nil
}

func (c *copied) follow(ctx context.Context) error {
	c.mu.Lock()
	at := c.at
	c.mu.Unlock()
	for commit, err := range c.store.hosts(origin).Follow(ctx, at) {
		if err != nil {
			return err
		}
		c.mu.Lock()
		for _, ch := range commit.Changes {
			if c.hosts[ch.Value.Name].Revision > ch.Value.Revision {
				continue
			}
			if ch.Deleted {
				delete(c.hosts, ch.Value.Name)
			} else {
				c.hosts[ch.Value.Name] = ch.Value.State
			}
		}
		c.at = commit.Revision
		c.mu.Unlock()
	}
	return nil
}

// compare waits until the copy is at the end, and compares it with the store.
func (c *copied) compare(t testing.TB) {
	t.Helper()
	want, p := all(t, c.store)
	until(t, "the copy has caught up", func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.at == p.Revision
	})
	c.mu.Lock()
	defer c.mu.Unlock()
	for name, st := range want {
		if c.hosts[name] != st {
			t.Errorf("%s is %v, want %v", name, c.hosts[name], st)
		}
	}
	if len(c.hosts) != len(want) {
		t.Errorf("%d hosts, want %d", len(c.hosts), len(want))
	}
	t.Logf("the copy was loaded %d times", c.loads)
}
