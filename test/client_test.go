package test

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
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

// machine is a device that keeps names up to date: a directory with the
// configuration and the cache of its update client.
type machine struct {
	dir string
	ca  string // file of whom it trusts
}

// machine makes a device that goes to the node itself.
func (n *node) machine(t testing.TB) *machine {
	t.Helper()
	n.client(t)
	return &machine{dir: t.TempDir(), ca: n.path("ca.pem")}
}

// write replaces a file of the device that only its owner may read.
func (d *machine) write(t testing.TB, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(d.dir, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// address is what the device takes for its own from now on, where its client
// asks for it with "cat address".
func (d *machine) address(t testing.TB, addr string) {
	t.Helper()
	d.write(t, "address", addr+"\n")
}

// run runs a client once and returns what it says and its exit status.
func (d *machine) run(t testing.TB, program string, args ...string) (said string, code int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := d.command(ctx, peer(t, program), args...)
	out, err := cmd.CombinedOutput()
	if ctx.Err() != nil {
		t.Fatalf("%s has not ended within %v: %s", program, patience, out)
	}
	if err != nil && !errors.As(err, new(*exec.ExitError)) {
		t.Fatal(err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

func (d *machine) command(ctx context.Context, path string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Dir = d.dir
	cmd.Env = append(os.Environ(), "CURL_CA_BUNDLE="+d.ca, "LC_ALL=C")
	cmd.WaitDelay = time.Second // a command of the client may outlive it
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd
}

// internet lies between devices and a node behind a reverse proxy: whoever
// comes over IPv4 or IPv6 has the address that the test gives it.
type internet struct {
	port int
	ca   string // file of the proxy's certificate

	mu     sync.Mutex
	v4, v6 string
	seen   []string // paths and queries
}

// behindProxy is a node that believes its reverse proxy.
var behindProxy = strings.Replace(home, "tls internal", "tls internal\n\t\ttrusted_proxies 127.0.0.1/32", 1)

// internet puts itself before n, at 127.0.0.1 and ::1.
func (n *node) internet(t *testing.T) *internet {
	t.Helper()
	i := &internet{port: n.port(t, "proxy"), ca: n.path("proxy.pem")}
	n.certificate(t, "proxy.pem", "proxy-key.pem")
	pair, err := tls.LoadX509KeyPair(i.ca, n.path("proxy-key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	backend, err := url.Parse(n.url(t))
	if err != nil {
		t.Fatal(err)
	}
	proxy := &http.Server{
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{pair}},
		ErrorLog:  log.New(io.Discard, "", 0), // of handshakes that clients leave
		Handler: &httputil.ReverseProxy{
			Transport: n.client(t).Transport,
			Rewrite: func(r *httputil.ProxyRequest) {
				r.SetURL(backend)
				r.Out.Header.Set("X-Forwarded-For", i.client(r.In))
			},
		},
	}
	for _, host := range []string{"127.0.0.1", "::1"} {
		ln, err := net.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(i.port)))
		if err != nil {
			t.Fatal(err)
		}
		go proxy.ServeTLS(ln, "", "")
	}
	t.Cleanup(func() { proxy.Close() })
	return i
}

// client notes a request and says where it comes from.
func (i *internet) client(r *http.Request) string {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.seen = append(i.seen, r.URL.RequestURI())
	if strings.HasPrefix(r.RemoteAddr, "[") {
		return i.v6
	}
	return i.v4
}

func (i *internet) give(v4, v6 string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.v4, i.v6 = v4, v6
}

// updates is how many update requests were seen since the last call.
func (i *internet) updates() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	count := 0
	for _, uri := range i.seen {
		if strings.HasPrefix(uri, "/nic/update?") {
			count++
		}
	}
	i.seen = nil
	return count
}

// machine makes a device that goes through the proxy.
func (i *internet) machine(t testing.TB) *machine {
	t.Helper()
	return &machine{dir: t.TempDir(), ca: i.ca}
}

// configuration makes what README tells users to paste fit for the test: the
// server's name and the token are replaced, nothing else.
func (i *internet) configuration(text, token string) string {
	at := ":" + strconv.Itoa(i.port)
	return strings.NewReplacer(
		"-6 -fsS https://ddns.example.org", "-6 -fsS https://[::1]"+at,
		"ddns.example.org", "127.0.0.1"+at,
		"TOKEN", token,
	).Replace(text)
}

// readmeBlocks are the blocks that README fences as ```info.
func readmeBlocks(t *testing.T, info string) []string {
	t.Helper()
	fence := regexp.MustCompile("(?ms)^```" + info + "\n(.*?)^```")
	var blocks []string
	for _, m := range fence.FindAllStringSubmatch(readRepository(t, "README.md"), -1) {
		blocks = append(blocks, m[1])
	}
	if len(blocks) == 0 {
		t.Fatalf("README.md has no ```%s block", info)
	}
	return blocks
}

// says fails the test unless a client said something that matches pattern.
func says(t testing.TB, said, pattern string) {
	t.Helper()
	if !regexp.MustCompile(pattern).MatchString(said) {
		t.Errorf("nothing matches %q in what the client says:\n%s", pattern, said)
	}
}

// answers fails the test unless DNS has just these addresses for name, A before AAAA.
func (n *node) answers(t testing.TB, name string, want ...string) {
	t.Helper()
	if got := n.addresses(t, name); strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("DNS answers %v for %s, want %v", got, name, want)
	}
}

func (d *machine) read(t testing.TB, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(d.dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
