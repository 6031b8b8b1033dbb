package redisstore

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/coredns-ddns/ddns/plugin/zone"
)

// server is a redis-server, or a sentinel, of a test's own, on loopback.
type server struct {
	t       testing.TB
	dir     string
	port    int
	program string
	args    []string
	cmd     *exec.Cmd
}

// freePort is a port that nobody listens on, nor on the one that a Cluster's
// node takes beside it.
func freePort(t testing.TB) int {
	t.Helper()
	for range 100 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		port := l.Addr().(*net.TCPAddr).Port
		l.Close()
		if port+10000 > 65535 {
			continue
		}
		if bus, err := net.Listen("tcp", fmt.Sprint("127.0.0.1:", port+10000)); err == nil {
			bus.Close()
			return port
		}
	}
	t.Fatal("no free port")
	return 0
}

// startRedis starts a redis-server that keeps nothing on disk unless args say
// so. It is gone when the test ends.
func startRedis(t testing.TB, args ...string) *server {
	t.Helper()
	s := &server{t: t, dir: t.TempDir(), port: freePort(t), program: "redis-server"}
	s.args = append([]string{"--port", strconv.Itoa(s.port), "--bind", "127.0.0.1", "--dir", s.dir,
		"--save", "", "--appendonly", "no", "--unixsocket", filepath.Join(s.dir, "s"), "--daemonize", "no"}, args...)
	s.start()
	return s
}

func (s *server) start() {
	s.t.Helper()
	output, err := os.OpenFile(filepath.Join(s.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		s.t.Fatal(err)
	}
	defer output.Close()
	cmd := exec.Command(s.program, s.args...)
	cmd.Stdout, cmd.Stderr = output, output
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		s.t.Fatalf("%v; test/peers.sh installs it", err)
	}
	s.cmd = cmd
	s.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_, _ = cmd.Process.Wait()
	})
	until(s.t, s.program+" answers", func() bool { return strings.HasPrefix(s.try("PING"), "PONG") })
}

func (s *server) signal(sig syscall.Signal) {
	s.t.Helper()
	if err := s.cmd.Process.Signal(sig); err != nil {
		s.t.Fatal(err)
	}
}

// kill is a crash.
func (s *server) kill() {
	s.t.Helper()
	s.signal(syscall.SIGKILL)
	_, _ = s.cmd.Process.Wait()
}

// try is what redis-cli says.
func (s *server) try(args ...string) string {
	out, _ := exec.Command("redis-cli", append([]string{"-p", strconv.Itoa(s.port)}, args...)...).CombinedOutput()
	return strings.TrimSpace(string(out))
}

// cli is try for what must not fail.
func (s *server) cli(args ...string) string {
	s.t.Helper()
	out := s.try(args...)
	for _, bad := range []string{"ERR", "(error)", "Could not", "Error", "NOAUTH", "WRONGTYPE"} {
		if strings.HasPrefix(out, bad) {
			s.t.Fatalf("redis-cli %v: %s", args, out)
		}
	}
	return out
}

func (s *server) addr() string { return fmt.Sprint("127.0.0.1:", s.port) }

func (s *server) url() string { return "redis://" + s.addr() }

func until(t testing.TB, what string, condition func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !condition(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within 30 s: %s", what)
		}
	}
}

// config is what the URLs say, with a prefix that no other test has.
func config(t testing.TB, urls ...string) Config {
	t.Helper()
	c, err := Parse(urls...)
	if err != nil {
		t.Fatal(err)
	}
	c.Prefix = fmt.Sprintf("t%d:", prefixes.Add(1))
	return c
}

var prefixes atomic.Int64

// open opens a store that its test closes.
func open(t testing.TB, c Config) *Store {
	t.Helper()
	s, err := Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// opened is a store with the zone origin, closed when the test ends.
func opened(t testing.TB, c Config) *Store {
	t.Helper()
	s := open(t, c)
	t.Cleanup(func() { _ = s.Close() })
	if _, err := s.Init(t.Context(), origin); err != nil {
		t.Fatal(err)
	}
	return s
}

const origin zone.Name = "dyn.example.org."
