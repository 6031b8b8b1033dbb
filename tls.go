package ddns

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// certificates is where an update listener's certificates come from.
type certificates interface {
	config() *tls.Config
	end() time.Time  // of the one in use
	names() []string // it is for
}

// alpn has http/1.0 for clients that offer nothing else, as libcurl does when it
// is told to speak that: without it their handshake fails.
var alpn = []string{"h2", "http/1.1", "http/1.0"}

func leafOf(c *tls.Certificate) *x509.Certificate {
	if c.Leaf != nil {
		return c.Leaf
	}
	leaf, err := x509.ParseCertificate(c.Certificate[0])
	if err != nil {
		return &x509.Certificate{}
	}
	return leaf
}

// files serves a certificate from two files and loads them again when they have
// changed. A pair that cannot be used leaves the one before in use.
type files struct {
	cert, key string

	mu      sync.Mutex
	current *tls.Certificate
	stamp   string // of the files that were looked at last
	checked time.Time
}

// checkEvery bounds how often handshakes look at the files.
const checkEvery = time.Second

func loadFiles(cert, key string) (certificates, error) {
	f := &files{cert: cert, key: key}
	f.stamp = f.stamped()
	c, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		return nil, fmt.Errorf("tls %s %s: %w; a certificate with its chain and its key, both PEM and readable, are wanted", cert, key, err)
	}
	f.current = &c
	f.warn()
	return f, nil
}

// warn says when the certificate in use is of no use. DNS goes on all the same.
func (f *files) warn() {
	if leaf, now := leafOf(f.current), time.Now(); now.After(leaf.NotAfter) {
		log.Errorf("tls %s: the certificate has expired on %s and clients refuse it; put a new one there, it is loaded by itself",
			f.cert, leaf.NotAfter.Format(time.DateTime))
	} else if now.Before(leaf.NotBefore) {
		log.Errorf("tls %s: the certificate begins on %s only and clients refuse it until then", f.cert, leaf.NotBefore.Format(time.DateTime))
	}
}

// stamped tells one state of the files from another.
func (f *files) stamped() string {
	var b strings.Builder
	for _, name := range []string{f.cert, f.key} {
		if info, err := os.Stat(name); err == nil {
			fmt.Fprint(&b, info.ModTime().UnixNano(), info.Size(), ";")
		}
	}
	return b.String()
}

func (f *files) get() *tls.Certificate {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := time.Now()
	if now.Sub(f.checked) < checkEvery {
		return f.current
	}
	f.checked = now
	stamp := f.stamped()
	if stamp == f.stamp {
		return f.current
	}
	f.stamp = stamp
	c, err := tls.LoadX509KeyPair(f.cert, f.key)
	if err != nil {
		log.Errorf("tls %s %s: %v; the certificate before stays in use", f.cert, f.key, err)
		return f.current
	}
	f.current = &c
	log.Infof("tls %s: loaded a certificate that ends on %s", f.cert, leafOf(&c).NotAfter.Format(time.DateTime))
	f.warn()
	return f.current
}

func (f *files) config() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12, NextProtos: alpn,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return f.get(), nil },
	}
}

func (f *files) end() time.Time  { return leafOf(f.get()).NotAfter }
func (f *files) names() []string { return leafOf(f.get()).DNSNames }

// own serves certificates of our own authority, for trying things out.
type own struct {
	ca   *tls.Certificate
	host string

	mu   sync.Mutex
	leaf *tls.Certificate
}

const (
	caLife    = 10 * 365 * 24 * time.Hour
	leafLife  = 365 * 24 * time.Hour
	leafRenew = 30 * 24 * time.Hour // before its end
)

// ownCertificate makes certificates for host, this machine's name and loopback.
// Their authority is kept in ca.pem and ca-key.pem beside the admin token.
func ownCertificate(adminToken, host string) (certificates, error) {
	dir := filepath.Dir(adminToken)
	ca, err := authority(filepath.Join(dir, "ca.pem"), filepath.Join(dir, "ca-key.pem"), time.Now())
	if err != nil {
		return nil, fmt.Errorf("tls internal: %w", err)
	}
	o := &own{ca: ca, host: host}
	if _, err := o.get(time.Now()); err != nil {
		return nil, fmt.Errorf("tls internal: %w", err)
	}
	return o, nil
}

// get is the certificate to use at now, a new one when the last is about to end.
func (o *own) get(now time.Time) (*tls.Certificate, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.leaf != nil && now.Before(leafOf(o.leaf).NotAfter.Add(-leafRenew)) {
		return o.leaf, nil
	}
	leaf, err := issue(o.ca, o.host, now)
	if err == nil {
		o.leaf = leaf
	}
	return leaf, err
}

func issue(ca *tls.Certificate, host string, now time.Time) (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	t := template("ddns update listener", now, leafLife)
	t.KeyUsage, t.ExtKeyUsage = x509.KeyUsageDigitalSignature, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	t.DNSNames = []string{"localhost"}
	t.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback}
	if name, err := os.Hostname(); err == nil && name != "" && name != "localhost" {
		t.DNSNames = append(t.DNSNames, name)
	}
	if a, err := netip.ParseAddr(host); err == nil {
		t.IPAddresses = append(t.IPAddresses, a.AsSlice())
	} else if host != "" && host != "localhost" {
		t.DNSNames = append(t.DNSNames, host)
	}
	der, err := x509.CreateCertificate(rand.Reader, t, leafOf(ca), key.Public(), ca.PrivateKey)
	if err != nil {
		return nil, err
	}
	return &tls.Certificate{Certificate: [][]byte{der, ca.Certificate[0]}, PrivateKey: key}, nil
}

func template(name string, now time.Time, life time.Duration) *x509.Certificate {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		panic(err) // never returned on supported systems
	}
	return &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(life), BasicConstraintsValid: true,
	}
}

// authority loads the certificate authority, or makes it when neither file is
// there.
func authority(certFile, keyFile string, now time.Time) (*tls.Certificate, error) {
	c, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err == nil {
		if end := leafOf(&c).NotAfter; now.Add(leafLife).After(end) {
			log.Warningf("tls internal: %s ends on %s; remove it and %s to get a new one", certFile, end.Format(time.DateOnly), keyFile)
		}
		return &c, nil
	}
	_, errCert := os.Stat(certFile)
	_, errKey := os.Stat(keyFile)
	if !errors.Is(errCert, fs.ErrNotExist) || !errors.Is(errKey, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s and %s: %w; both or neither are wanted", certFile, keyFile, err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	t := template("ddns internal CA "+now.Format(time.DateOnly), now, caLife)
	t.IsCA, t.MaxPathLenZero, t.KeyUsage = true, true, x509.KeyUsageCertSign
	der, err := x509.CreateCertificate(rand.Reader, t, t, key.Public(), key)
	if err != nil {
		return nil, err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	if err := writeNew(keyFile, 0o600, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})); err != nil {
		return nil, err
	}
	if err := writeNew(certFile, 0o644, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})); err != nil {
		return nil, errors.Join(err, os.Remove(keyFile)) // the next start shall begin anew
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}

func (o *own) config() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12, NextProtos: alpn,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return o.get(time.Now()) },
	}
}

func (o *own) end() time.Time  { return leafOf(o.used()).NotAfter }
func (o *own) names() []string { return leafOf(o.used()).DNSNames }

func (o *own) used() *tls.Certificate {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.leaf
}
