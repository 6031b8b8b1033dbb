package test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// redisServer is a redis-server, or a Sentinel, of a test's own, on loopback.
type redisServer struct {
	program string
	dir     string
	port    int
	args    []string
	cmd     *exec.Cmd
}

// startRedis starts a redis-server that keeps nothing on disk unless args say
// so. It is gone when the test ends.
func startRedis(t testing.TB, args ...string) *redisServer {
	t.Helper()
	r := newRedis(t, args...)
	r.start(t)
	return r
}

// durably has Redis keep whatever it has acknowledged.
var durably = []string{"--appendonly", "yes", "--appendfsync", "always"}

// newRedis is startRedis without the start.
func newRedis(t testing.TB, args ...string) *redisServer {
	t.Helper()
	r := &redisServer{program: "redis-server", dir: t.TempDir(), port: redisPort(t)}
	r.args = append([]string{"--port", strconv.Itoa(r.port), "--bind", "127.0.0.1", "--dir", r.dir, "--save", "",
		"--appendonly", "no", "--repl-diskless-sync-delay", "0"}, args...)
	return r
}

// redisPort is a free port with another one, 10000 above it, that a Cluster's
// servers speak to each other on.
func redisPort(t testing.TB) int {
	t.Helper()
	for {
		if port := freePort(t); unused(port + 10000) {
			return port
		}
	}
}

func (r *redisServer) start(t testing.TB) {
	t.Helper()
	out, err := os.OpenFile(filepath.Join(r.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	cmd := exec.Command(peer(t, r.program), r.args...)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // not outlive a test that panics
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	r.cmd = cmd
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // a frozen one too
		_ = cmd.Wait()
	})
	until(t, r.program+" answers", func() bool {
		said := r.ask("PING")
		return said == "PONG" || strings.HasPrefix(said, "NOAUTH")
	})
}

func (r *redisServer) signal(t testing.TB, s syscall.Signal) {
	t.Helper()
	if err := r.cmd.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
}

// end ends the server: SIGTERM as an operator does, SIGKILL as a power cut.
func (r *redisServer) end(t testing.TB, s syscall.Signal) {
	t.Helper()
	r.signal(t, s)
	_ = r.cmd.Wait()
}

// ask is what redis-cli says.
func (r *redisServer) ask(args ...string) string {
	out, _ := exec.Command("redis-cli", append([]string{"-p", strconv.Itoa(r.port)}, args...)...).CombinedOutput()
	return strings.TrimSpace(string(out))
}

// do is ask for what must not fail.
func (r *redisServer) do(t testing.TB, args ...string) string {
	t.Helper()
	said := r.ask(args...)
	if word, _, _ := strings.Cut(said, " "); slices.Contains([]string{"ERR", "NOAUTH", "WRONGTYPE", "OOM", "Could", "Error:", "AUTH"}, word) {
		t.Fatalf("redis-cli %v: %s", args, said)
	}
	return said
}

func (r *redisServer) addr() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(r.port)) }

func (r *redisServer) url() string { return "redis://" + r.addr() }

// key is one of the zone dyn.example.org.
func key(part string) string { return "ddns:{dyn.example.org.}:" + part }

// hosts is what the server has of dyn.example.org: each host's state as text, by
// relative name.
func (r *redisServer) hosts(t testing.TB) map[string]string {
	t.Helper()
	var ask strings.Builder
	for b := range 256 {
		fmt.Fprintf(&ask, "HGETALL %s\n", key(fmt.Sprintf("hosts:%02x", b)))
	}
	cmd := exec.Command("redis-cli", "-p", strconv.Itoa(r.port))
	cmd.Stdin = strings.NewReader(ask.String())
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	hosts := map[string]string{}
	lines := slices.DeleteFunc(strings.Split(string(out), "\n"), func(s string) bool { return s == "" }) // an empty bucket
	for i := 0; i+1 < len(lines); i += 2 {
		hosts[lines[i]] = lines[i+1]
	}
	return hosts
}

// until waits until something has happened.
func until(t testing.TB, what string, happened func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !happened(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("no %q within %v", what, patience)
		}
	}
}

// startSentinels starts a primary, two replicas and three Sentinels that call the
// primary ddns.
func startSentinels(t testing.TB) (primary *redisServer, replicas, sentinels []*redisServer) {
	t.Helper()
	primary = startRedis(t)
	for range 2 {
		replicas = append(replicas, startRedis(t, "--replicaof", "127.0.0.1 "+strconv.Itoa(primary.port)))
	}
	for range 3 {
		s := &redisServer{program: "redis-sentinel", dir: t.TempDir(), port: redisPort(t)}
		file := filepath.Join(s.dir, "sentinel.conf")
		conf := fmt.Sprintf("port %d\nbind 127.0.0.1\ndir %s\nsentinel monitor ddns 127.0.0.1 %d 2\n", s.port, s.dir, primary.port)
		if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
			t.Fatal(err)
		}
		s.args = []string{file}
		s.start(t)
		sentinels = append(sentinels, s)
	}
	until(t, "the replicas are in step", func() bool {
		return strings.Count(primary.do(t, "INFO", "replication"), "state=online") == 2
	})
	return primary, replicas, sentinels
}

// startCluster starts three primaries, with a replica each.
func startCluster(t testing.TB) []*redisServer {
	t.Helper()
	var servers []*redisServer
	create := []string{"--cluster", "create"}
	for range 6 {
		r := startRedis(t, "--cluster-enabled", "yes")
		servers = append(servers, r)
		create = append(create, r.addr())
	}
	servers[0].do(t, append(create, "--cluster-replicas", "1", "--cluster-yes")...)
	for _, r := range servers {
		until(t, "the Cluster is whole and in step", func() bool {
			replication := r.ask("INFO", "replication")
			return strings.Contains(r.ask("CLUSTER", "INFO"), "cluster_state:ok") && strings.Count(r.ask("CLUSTER", "NODES"), "slave") == 3 &&
				(strings.Contains(replication, "master_link_status:up") || strings.Contains(replication, "state=online"))
		})
	}
	return servers
}
