package test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptrace"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// issue writes a self-signed certificate for localhost that ends at end, and its
// key.
func (n *node) issue(t *testing.T, certFile, keyFile string, end time.Time) *big.Int {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		t.Fatal(err)
	}
	template := x509.Certificate{
		SerialNumber: serial, DNSNames: []string{"localhost"},
		NotBefore: end.Add(-24 * time.Hour), NotAfter: end,
		// It signs itself, and clients too where a test wants that.
		IsCA: true, BasicConstraintsValid: true,
	}
	cert, err := x509.CreateCertificate(rand.Reader, &template, &template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	n.writePEM(t, certFile, "CERTIFICATE", cert)
	n.writePEM(t, keyFile, "PRIVATE KEY", private)
	return serial
}

// handshake connects to {{https}} as c says, and returns what was agreed on.
func (n *node) handshake(t *testing.T, c *tls.Config) (tls.ConnectionState, error) {
	t.Helper()
	c.ServerName = "localhost"
	conn, err := tls.DialWithDialer(&net.Dialer{Timeout: patience}, "tcp", n.addr(t, "https"), c)
	if err != nil {
		return tls.ConnectionState{}, err
	}
	defer conn.Close()
	return conn.ConnectionState(), nil
}

// serialServed is of the certificate that new connections get.
func (n *node) serialServed(t *testing.T) *big.Int {
	t.Helper()
	s, err := n.handshake(t, &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	return s.PeerCertificates[0].SerialNumber
}

func TestCertificateReplaced(t *testing.T) {
	t.Parallel()
	n := newNode(t, withFiles)
	end := time.Now().Add(time.Hour)
	first := n.issue(t, "cert.pem", "key.pem", end)
	n.put(t, "ca.pem", n.read(t, "cert.pem"))
	n.start(t)
	if got := n.serialServed(t); got.Cmp(first) != 0 {
		t.Errorf("served is the certificate %v, want %v", got, first)
	}
	kept := n.keptAlive(t)
	kept("before")

	second := n.issue(t, "cert.pem", "key.pem", end)
	n.await(t, "new certificate", func() bool { return n.serialServed(t).Cmp(second) == 0 })
	kept("after a new certificate")

	n.put(t, "cert.pem", "-----BEGIN CERTIFICATE-----\nhalf a file")
	n.await(t, "complaint", func() bool {
		if got := n.serialServed(t); got.Cmp(second) != 0 {
			t.Fatalf("served is the certificate %v, want the one before, %v", got, second)
		}
		return strings.Contains(n.out.String(), "the certificate before stays in use")
	})
	kept("after a broken certificate")

	third := n.issue(t, "cert.pem", "key.pem", end)
	n.await(t, "third certificate", func() bool { return n.serialServed(t).Cmp(third) == 0 })
	kept("after the third certificate")
}

// keptAlive has a connection of its own. Each call makes a request and fails
// when that needs a new connection.
func (n *node) keptAlive(t *testing.T) func(when string) {
	t.Helper()
	client, root := n.routers(t, 1)[0].client, n.url(t)
	used := false
	return func(when string) {
		t.Helper()
		trace := &httptrace.ClientTrace{GotConn: func(c httptrace.GotConnInfo) {
			if used && !c.Reused {
				t.Errorf("%s: the connection has ended", when)
			}
			used = true
		}}
		req, err := http.NewRequestWithContext(httptrace.WithClientTrace(t.Context(), trace), http.MethodGet, root+"/checkip", nil)
		if err != nil {
			t.Fatal(err)
		}
		res, err := client.Do(req)
		if err != nil {
			t.Fatalf("%s: %v", when, err)
		}
		defer res.Body.Close()
		if b, err := io.ReadAll(res.Body); err != nil || string(b) != "127.0.0.1" {
			t.Errorf("%s: %q, %v", when, b, err)
		}
	}
}

// Who trusts the server's own authority once need not do so again.
func TestOwnAuthoritySurvives(t *testing.T) {
	t.Parallel()
	n := boot(t, busy)
	for name, want := range map[string]os.FileMode{"ca-key.pem": 0o600, "admin.token": 0o600, "ddns.db": 0o600, "ca.pem": 0o644} {
		if info, err := os.Stat(n.path(name)); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v, %v, want mode %v", name, info.Mode(), err, want)
		}
	}
	token, before := n.token(t, "home.dyn.example.org"), n.read(t, "ca.pem")
	for _, again := range []func(){
		func() { n.restart(t) },
		func() { n.kill(t); n.start(t) },
		func() {
			if err := n.reload(t); err != nil {
				t.Error(err)
			}
		},
	} {
		again()
		n.client(t).CloseIdleConnections()
		n.serves(t, token, "home.dyn.example.org") // by the client that read ca.pem first
	}
	if n.read(t, "ca.pem") != before {
		t.Error("ca.pem has changed")
	}
}

// overTLS answers DNS over TLS, to clients with a certificate alone.
const overTLS = `tls://dyn.example.org:{{dns}} {
	bind 127.0.0.1
	ready 127.0.0.1:{{ready}}
	tls {{dir}}/cert.pem {{dir}}/key.pem {{dir}}/ca.pem {
		client_auth require_and_verify
	}
	ddns {
		database {{dir}}/ddns.db
		ns ns1.dyn.example.org 192.0.2.53
		update 127.0.0.1:{{https}}
		admin_token {{dir}}/admin.token
		publish any
	}
}
`

func TestBlockTLSWithoutClientCertificates(t *testing.T) {
	t.Parallel()
	n := newNode(t, overTLS)
	n.issue(t, "cert.pem", "key.pem", time.Now().Add(time.Hour))
	n.put(t, "ca.pem", n.read(t, "cert.pem"))
	n.start(t)
	token := n.token(t, "home.dyn.example.org") // by a client without a certificate
	if r := n.get(t, token, "/nic/update?hostname=home.dyn.example.org&myip=10.0.0.7"); r.body != "good 10.0.0.7\n" {
		t.Errorf("update: %d %q", r.status, r.body)
	}

	q := new(dns.Msg).SetQuestion("home.dyn.example.org.", dns.TypeA)
	c := dns.Client{Net: "tcp-tls", Timeout: patience, TLSConfig: &tls.Config{RootCAs: n.roots(t), ServerName: "localhost"}}
	if r, _, err := c.Exchange(q, n.addr(t, "dns")); err == nil {
		t.Errorf("DNS over TLS answers a client without a certificate: %v", r)
	}
	own, err := tls.LoadX509KeyPair(n.path("cert.pem"), n.path("key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	c.TLSConfig.Certificates = []tls.Certificate{own}
	if r, _, err := c.Exchange(q, n.addr(t, "dns")); err != nil || len(r.Answer) != 1 {
		t.Errorf("DNS over TLS with a certificate: %v, %v", r, err)
	}
}

func TestTLSVersionsAndProtocols(t *testing.T) {
	t.Parallel()
	for name, corefile := range map[string]string{"internal": busy, "files": withFiles, "the block's": overTLS} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := newNode(t, corefile)
			if name != "internal" {
				n.issue(t, "cert.pem", "key.pem", time.Now().Add(time.Hour))
				n.put(t, "ca.pem", n.read(t, "cert.pem"))
			}
			n.start(t)
			for version, welcome := range map[uint16]bool{
				tls.VersionTLS10: false, tls.VersionTLS11: false, tls.VersionTLS12: true, tls.VersionTLS13: true,
			} {
				s, err := n.handshake(t, &tls.Config{RootCAs: n.roots(t), MinVersion: version, MaxVersion: version})
				if welcome && (err != nil || s.Version != version) || !welcome && !errors.As(err, new(*net.OpError)) {
					t.Errorf("%s: %v", tls.VersionName(version), err)
				}
			}
			for _, c := range []struct {
				offered []string
				want    string
			}{
				{[]string{"h2", "http/1.1"}, "h2"}, {[]string{"http/1.1"}, "http/1.1"}, {nil, ""},
			} {
				s, err := n.handshake(t, &tls.Config{RootCAs: n.roots(t), NextProtos: c.offered})
				if err != nil || s.NegotiatedProtocol != c.want {
					t.Errorf("of %v the server takes %q, want %q: %v", c.offered, s.NegotiatedProtocol, c.want, err)
				}
			}
			for protocol, r := range map[string]*router{"HTTP/2.0": n.routers(t, 2)[0], "HTTP/1.1": n.routers(t, 2)[1]} {
				res, err := r.client.Get(fmt.Sprintf("%s/checkip", n.url(t)))
				if err != nil {
					t.Error(err)
					continue
				}
				res.Body.Close()
				if res.Proto != protocol || res.StatusCode != http.StatusOK {
					t.Errorf("the server speaks %s, want %s: %s", res.Proto, protocol, res.Status)
				}
			}
		})
	}
}
