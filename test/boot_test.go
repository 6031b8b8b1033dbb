package test

import (
	"errors"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience is how long a test waits for what must happen. No test says how
// soon it has to.
const patience = 30 * time.Second

// node is a coredns process with a directory and ports of its own. Its methods
// but query and do are for the test's own goroutine.
type node struct {
	dir     string // working directory, and {{dir}}; admin.token and ca.pem are looked for here
	ports   map[string]int
	https   *http.Client
	secrets []string // must never appear in its output

	cmd    *exec.Cmd
	out    *output
	exited chan struct{}
}

// boot starts coredns with a Corefile and stops it when the test ends. In the
// Corefile {{dir}} stands for the node's directory and every other {{NAME}} for
// a free port, the same wherever NAME is. {{https}} is where ddnsctl, get and
// post go, {{dns}} where dig goes, and a {{ready}} is asked until it says OK.
func boot(t testing.TB, corefile string) *node {
	t.Helper()
	n := newNode(t, corefile)
	n.start(t)
	return n
}

// newNode is boot without the start, for tests that put files in place first.
func newNode(t testing.TB, corefile string) *node {
	t.Helper()
	n := &node{dir: t.TempDir(), ports: map[string]int{}}
	n.write(t, corefile)
	t.Cleanup(func() { n.finish(t) })
	return n
}

var placeholder = regexp.MustCompile(`{{(\w+)}}`)

// write replaces the Corefile, for the next start or reload.
func (n *node) write(t testing.TB, corefile string) {
	t.Helper()
	text := placeholder.ReplaceAllStringFunc(corefile, func(s string) string {
		name := s[2 : len(s)-2]
		if name == "dir" {
			return n.dir
		}
		return strconv.Itoa(n.port(t, name))
	})
	if err := os.WriteFile(n.path("Corefile"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// put writes a file into the node's directory.
func (n *node) put(t testing.TB, name, content string) {
	t.Helper()
	if err := os.WriteFile(n.path(name), []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// path is a file of the node's directory.
func (n *node) path(name string) string { return filepath.Join(n.dir, name) }

// port is the port that {{name}} stands for.
func (n *node) port(t testing.TB, name string) int {
	t.Helper()
	if n.ports[name] == 0 {
		n.ports[name] = freePort(t)
	}
	return n.ports[name]
}

// addr is where {{name}} is reached.
func (n *node) addr(t testing.TB, name string) string {
	t.Helper()
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(n.port(t, name)))
}

// taken are the ports given out in this run.
var taken sync.Map

// freePort finds a port that neither UDP nor TCP has in use. It looks below
// the range that the kernel picks from: CoreDNS shares its sockets (SO_REUSEPORT),
// so nobody would notice a port taken between this and the server's start, or
// while the server is down.
func freePort(t testing.TB) int {
	t.Helper()
	for range 1000 {
		port := 10000 + rand.IntN(20000)
		if _, used := taken.LoadOrStore(port, true); !used && unused(port) {
			return port
		}
	}
	t.Fatal("no free port between 10000 and 30000")
	return 0
}

func unused(port int) bool {
	l, err := net.ListenTCP("tcp", &net.TCPAddr{Port: port})
	if err != nil {
		return false
	}
	defer l.Close()
	u, err := net.ListenUDP("udp", &net.UDPAddr{Port: port})
	if err != nil {
		return false
	}
	u.Close()
	return true
}

// start starts a node that does not run and waits until it serves.
func (n *node) start(t testing.TB) {
	t.Helper()
	n.spawn(t)
	n.await(t, "start", func() bool { return n.out.contains("\nCoreDNS-") })
	if n.ports["ready"] != 0 {
		n.await(t, "ready", func() bool { return n.saysReady(t) })
	}
}

func (n *node) saysReady(t testing.TB) bool {
	r, err := http.Get("http://" + n.addr(t, "ready") + "/ready")
	if err != nil {
		return false
	}
	r.Body.Close()
	return r.StatusCode == http.StatusOK
}

// refuses starts a node that must not come up, and returns what it says.
func (n *node) refuses(t testing.TB) string {
	t.Helper()
	n.spawn(t)
	n.waitExit(t)
	if code := n.cmd.ProcessState.ExitCode(); code != 1 {
		t.Errorf("coredns exits with %d, want 1", code)
	}
	said := n.out.String()
	n.examine(t)
	n.cmd = nil
	return said
}

func (n *node) spawn(t testing.TB) {
	t.Helper()
	if n.cmd != nil {
		t.Fatal("the node runs already")
	}
	cmd, out, exited := exec.Command(program(t, "coredns"), "-conf", "Corefile"), &output{}, make(chan struct{})
	cmd.Dir = n.dir
	cmd.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=10") // in place of a second
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // not outlive a test that panics
	out.Write([]byte("\n"))                                            // so that a line's start can be looked for
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	n.cmd, n.out, n.exited = cmd, out, exited
	go func() {
		cmd.Wait()
		close(exited)
	}()
}

// await waits until what has happened, and fails when the process ends before.
func (n *node) await(t testing.TB, what string, happened func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !happened(); time.Sleep(5 * time.Millisecond) {
		select {
		case <-n.exited:
			if happened() {
				return
			}
			t.Fatalf("coredns ended before %q: %v", what, n.cmd.ProcessState)
		default:
		}
		if time.Now().After(end) {
			t.Fatalf("no %q within %v", what, patience)
		}
	}
}

// stop ends the process as an operator does. It must end well.
func (n *node) stop(t testing.TB) {
	t.Helper()
	n.end(t, syscall.SIGTERM)
}

// interrupt ends the process as ^C does. It must end well.
func (n *node) interrupt(t testing.TB) {
	t.Helper()
	n.end(t, syscall.SIGINT)
}

// kill ends the process at once, as the kernel or a power cut would.
func (n *node) kill(t testing.TB) {
	t.Helper()
	n.end(t, syscall.SIGKILL)
}

func (n *node) end(t testing.TB, s syscall.Signal) {
	t.Helper()
	if n.https != nil {
		n.https.CloseIdleConnections() // HTTP/2 takes a second to say goodbye on each
	}
	n.signal(t, s)
	n.waitExit(t)
	if code := n.cmd.ProcessState.ExitCode(); code != 0 && s != syscall.SIGKILL {
		t.Errorf("coredns ends with %v on %v, want status 0", n.cmd.ProcessState, s)
	}
	n.examine(t)
	n.cmd = nil
}

// restart stops and starts with the same directory and ports.
func (n *node) restart(t testing.TB) {
	t.Helper()
	n.stop(t)
	n.start(t)
}

// reload makes the process read its Corefile again (SIGUSR1). The error is what
// it logs when it keeps the old one.
func (n *node) reload(t testing.TB) error {
	t.Helper()
	before := len(n.out.String())
	n.signal(t, syscall.SIGUSR1)
	var failed string
	n.await(t, "reload", func() bool {
		said := n.out.String()[before:]
		if _, after, ok := strings.Cut(said, "[ERROR] SIGUSR1: "); ok {
			failed, _, ok = strings.Cut(after, "\n")
			return ok
		}
		return strings.Contains(said, "[INFO] Reloading complete")
	})
	if failed != "" {
		return errors.New(failed)
	}
	return nil
}

// waitLog waits until the process, since its last start, has logged a match of
// pattern, and returns that.
func (n *node) waitLog(t testing.TB, pattern string) string {
	t.Helper()
	var found string
	re := regexp.MustCompile(pattern)
	n.await(t, pattern, func() bool {
		found = re.FindString(n.out.String())
		return found != ""
	})
	return found
}

func (n *node) signal(t testing.TB, s syscall.Signal) {
	t.Helper()
	if n.cmd == nil {
		t.Fatalf("%v for a node that does not run", s)
	}
	if err := n.cmd.Process.Signal(s); err != nil {
		t.Fatalf("%v: %v", s, err)
	}
}

func (n *node) waitExit(t testing.TB) {
	t.Helper()
	select {
	case <-n.exited:
	case <-time.After(patience):
		n.cmd.Process.Signal(syscall.SIGABRT) // tells where its goroutines are
		<-n.exited
		t.Errorf("coredns has not ended within %v", patience)
	}
}

var alarming = regexp.MustCompile(`DATA RACE|fatal error: |(?i:\bpanic).*`)

// examine looks for what no output may hold.
func (n *node) examine(t testing.TB) {
	t.Helper()
	said := n.out.String()
	if bad := alarming.FindString(said); bad != "" {
		t.Errorf("coredns says %q", bad)
	}
	for _, secret := range n.secrets {
		if strings.Contains(said, secret) {
			t.Errorf("coredns logs the token %.11s…", secret)
		}
	}
	if t.Failed() {
		t.Logf("output of coredns:%s", said)
	}
}

// finish is the end of the node with the test, whatever state it is in.
func (n *node) finish(t testing.TB) {
	switch {
	case n.cmd == nil:
	case t.Failed():
		n.cmd.Process.Kill()
		<-n.exited
		n.examine(t)
	default:
		n.stop(t)
	}
	if n.https != nil {
		n.https.CloseIdleConnections()
	}
}

// output is what a process writes, readable while it does.
type output struct {
	mu   sync.Mutex
	text []byte
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.text = append(o.text, b...)
	return len(b), nil
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return string(o.text)
}

func (o *output) contains(s string) bool { return strings.Contains(o.String(), s) }
