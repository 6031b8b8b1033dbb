package test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"github.com/coredns-ddns/ddns/updateapi"
)

// dig asks {{dns}} for name over UDP, over TCP when the answer is truncated.
func (n *node) dig(t testing.TB, name string, qtype uint16) *dns.Msg {
	t.Helper()
	return n.ask(t, new(dns.Msg).SetQuestion(dns.Fqdn(name), qtype))
}

// ask is dig with a whole query, for EDNS, flags and other classes.
func (n *node) ask(t testing.TB, q *dns.Msg) *dns.Msg {
	t.Helper()
	n.port(t, "dns")
	r, err := n.query("udp", q)
	if err == nil && r.Truncated {
		r, err = n.query("tcp", q)
	}
	if err != nil {
		t.Fatalf("ask %s: %v", q.Question[0].String(), err)
	}
	return r
}

// query sends q to {{dns}} over network, "udp" or "tcp", once. It may be called
// from any goroutine.
func (n *node) query(network string, q *dns.Msg) (*dns.Msg, error) {
	c := dns.Client{Net: network, Timeout: patience}
	r, _, err := c.Exchange(q, net.JoinHostPort("127.0.0.1", strconv.Itoa(n.ports["dns"])))
	return r, err
}

// addresses is what DNS answers for name, A before AAAA.
func (n *node) addresses(t testing.TB, name string) []string {
	t.Helper()
	var all []string
	for _, qtype := range []uint16{dns.TypeA, dns.TypeAAAA} {
		var of []string
		for _, rr := range n.dig(t, name, qtype).Answer {
			switch rr := rr.(type) {
			case *dns.A:
				of = append(of, rr.A.String())
			case *dns.AAAA:
				of = append(of, rr.AAAA.String())
			}
		}
		slices.Sort(of)
		all = append(all, of...)
	}
	return all
}

// reply is an HTTP response, read to its end.
type reply struct {
	status int
	header http.Header
	body   string
}

// get asks {{https}} for path, with token as the Basic password, or without
// credentials when token is empty.
func (n *node) get(t testing.TB, token, path string) reply {
	t.Helper()
	return n.request(t, http.MethodGet, token, path, "", nil)
}

// post sends a form, as get does.
func (n *node) post(t testing.TB, token, path string, form url.Values) reply {
	t.Helper()
	return n.request(t, http.MethodPost, token, path, "application/x-www-form-urlencoded", strings.NewReader(form.Encode()))
}

func (n *node) request(t testing.TB, method, token, path, contentType string, body io.Reader) reply {
	t.Helper()
	req, err := http.NewRequest(method, n.url(t)+path, body)
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		req.SetBasicAuth("device", token)
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	n.client(t)
	r, err := n.do(req)
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	return r
}

// do sends a request over the client of the node, which a call of client or
// url has made. It may be called from any goroutine.
func (n *node) do(req *http.Request) (reply, error) {
	res, err := n.https.Do(req)
	if err != nil {
		return reply{}, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	return reply{res.StatusCode, res.Header, string(body)}, err
}

// url is the root of {{https}}.
func (n *node) url(t testing.TB) string {
	t.Helper()
	n.client(t)
	return "https://localhost:" + strconv.Itoa(n.port(t, "https"))
}

// client trusts the node's ca.pem, and goes to 127.0.0.1 whatever the name.
func (n *node) client(t testing.TB) *http.Client {
	t.Helper()
	if n.https == nil {
		addr := n.addr(t, "https")
		n.https = &http.Client{Timeout: patience, Transport: &http.Transport{
			ForceAttemptHTTP2:   true,
			MaxIdleConnsPerHost: 100,
			TLSClientConfig:     &tls.Config{RootCAs: n.roots(t)},
			DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, network, addr)
			},
		}}
	}
	return n.https
}

func (n *node) roots(t testing.TB) *x509.CertPool {
	t.Helper()
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM([]byte(n.read(t, "ca.pem"))) {
		t.Fatal("ca.pem holds no certificate")
	}
	return roots
}

func (n *node) read(t testing.TB, name string) string {
	t.Helper()
	b, err := os.ReadFile(n.path(name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// adminToken is the node's own.
func (n *node) adminToken(t testing.TB) string {
	t.Helper()
	token := strings.TrimSpace(n.read(t, "admin.token"))
	n.keepSecret(token)
	return token
}

// token mints a token for names.
func (n *node) token(t testing.TB, names ...string) string {
	t.Helper()
	return n.mint(t, updateapi.TokenCreate{Names: names}).Secret
}

// mint is token with a whole grant.
func (n *node) mint(t testing.TB, create updateapi.TokenCreate) updateapi.TokenSecret {
	t.Helper()
	var made updateapi.TokenSecret
	n.api(t, http.MethodPost, "/tokens", n.adminToken(t), create, http.StatusCreated, &made)
	n.keepSecret(made.Secret)
	return made
}

// keepSecret has the node's output looked through for secret.
func (n *node) keepSecret(secret string) {
	if !slices.Contains(n.secrets, secret) {
		n.secrets = append(n.secrets, secret)
	}
}

// api calls the REST API with token as Bearer, sends body as JSON unless it is
// nil, wants status, and reads the JSON of the response into into unless nil.
func (n *node) api(t testing.TB, method, path, token string, body any, status int, into any) {
	t.Helper()
	var sent bytes.Buffer
	if body != nil {
		if err := json.NewEncoder(&sent).Encode(body); err != nil {
			t.Fatal(err)
		}
	}
	req, err := http.NewRequest(method, n.url(t)+"/api/v1"+path, &sent)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Content-Type", "application/json")
	r, err := n.do(req)
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	if r.status != status {
		t.Fatalf("%s %s: status %d, want %d: %s", method, path, r.status, status, r.body)
	}
	if into != nil {
		if err := json.Unmarshal([]byte(r.body), into); err != nil {
			t.Fatalf("%s %s: %v in %s", method, path, err, r.body)
		}
	}
}

// ddnsctl runs the command as the node's operator.
func (n *node) ddnsctl(t testing.TB, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	var out, said bytes.Buffer
	cmd := exec.Command(program(t, "ddnsctl"), args...)
	cmd.Dir = n.dir
	cmd.Stdout, cmd.Stderr = &out, &said
	cmd.Env = append(slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "DDNS_") }),
		"DDNS_URL=https://localhost:"+strconv.Itoa(n.port(t, "https")),
		"DDNS_TOKEN_FILE="+n.path("admin.token"),
		"DDNS_CA="+n.path("ca.pem"),
	)
	if err := cmd.Run(); err != nil && !errors.As(err, new(*exec.ExitError)) {
		t.Fatal(err)
	}
	return out.String(), said.String(), cmd.ProcessState.ExitCode()
}
