package test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// What we tell people to paste has to start. The Corefiles are taken as they
// are written; only ports, directories and interfaces are made the test's own.

func TestCorefileExampleServesItsZone(t *testing.T) {
	n := newNode(t, relocate(t, readRepository(t, "Corefile.example")))
	n.mkdir(t, "data")
	n.start(t)
	n.await(t, "SOA", func() bool {
		r, err := n.query("udp", new(dns.Msg).SetQuestion("dyn.example.org.", dns.TypeSOA))
		return err == nil && r.Authoritative && r.Rcode == dns.RcodeSuccess && len(r.Answer) == 1
	})
}

// In README a block is fenced as ```corefile when it is whole enough to start.
func TestReadmeCorefilesStart(t *testing.T) {
	blocks := fenced.FindAllStringSubmatch(readRepository(t, "README.md"), -1)
	if len(blocks) == 0 {
		t.Fatal("README.md has no ```corefile block")
	}
	for i, block := range blocks {
		t.Run(fmt.Sprintf("block %d", i+1), func(t *testing.T) {
			n := newNode(t, relocate(t, block[1]))
			n.mkdir(t, "data")
			n.provideFiles(t)
			n.start(t)
		})
	}
}

var fenced = regexp.MustCompile("(?ms)^[ \t]*```corefile\n(.*?)^[ \t]*```")

func readRepository(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func (n *node) mkdir(t *testing.T, name string) {
	t.Helper()
	if err := os.MkdirAll(n.path(name), 0o700); err != nil {
		t.Fatal(err)
	}
}

var (
	portAtEnd = regexp.MustCompile(`:\d+$`)
	// where these plugins listen when the Corefile does not say
	defaultAddresses = map[string]string{"prometheus": "metrics", "ready": "ready", "health": "health", "pprof": "pprof"}
)

// relocate makes a template for boot out of a Corefile for the world. The usual
// ports of DNS and HTTPS become {{dns}} and {{https}}, others {{pNUMBER}}; absolute
// paths move below {{dir}}; servers and listeners stay on 127.0.0.1.
func relocate(t *testing.T, corefile string) string {
	t.Helper()
	var out []string
	depth := 0
	for _, line := range strings.Split(corefile, "\n") {
		code, _, _ := strings.Cut(line, "#")
		words := strings.Fields(code)
		if len(words) == 0 {
			continue
		}
		opens := words[len(words)-1] == "{"
		switch {
		case depth == 0 && opens && !strings.HasPrefix(words[0], "("): // not a snippet
			out = append(out, serverKeys(words), "\tbind 127.0.0.1")
		case words[0] == "bind":
		case len(words) == 1 && defaultAddresses[words[0]] != "":
			out = append(out, "\t"+words[0]+" 127.0.0.1:{{"+defaultAddresses[words[0]]+"}}")
		default:
			for i, word := range words {
				words[i] = relocateWord(word)
			}
			out = append(out, "\t"+strings.Join(words, " "))
		}
		if opens {
			depth++
		}
		if words[0] == "}" {
			depth--
		}
	}
	return strings.Join(out, "\n") + "\n"
}

// serverKeys gives each zone of a server block's first line a port of the test's.
func serverKeys(words []string) string {
	keys := words[:len(words)-1]
	for i, key := range keys {
		if key = strings.TrimSuffix(key, ","); !portAtEnd.MatchString(key) {
			key += ":53"
		}
		keys[i] = relocatePort(key)
	}
	return strings.Join(keys, " ") + " {"
}

func relocateWord(word string) string {
	if _, err := netip.ParseAddr(word); err == nil {
		return word
	}
	if strings.HasPrefix(word, "/") {
		return "{{dir}}" + word
	}
	if strings.HasPrefix(word, ":") {
		word = "127.0.0.1" + word
	}
	return relocatePort(word)
}

func relocatePort(addr string) string {
	return portAtEnd.ReplaceAllStringFunc(addr, func(port string) string {
		switch port = port[1:]; port {
		case "53", "1053":
			return ":{{dns}}"
		case "443", "8443":
			return ":{{https}}"
		default:
			return ":{{p" + port + "}}"
		}
	})
}

// provideFiles makes what the node's Corefile expects to find: the directories
// of its absolute paths, and certificates.
func (n *node) provideFiles(t *testing.T) {
	t.Helper()
	for _, line := range strings.Split(n.read(t, "Corefile"), "\n") {
		words := strings.Fields(line)
		for _, word := range words {
			if strings.HasPrefix(word, n.dir+"/") {
				if err := os.MkdirAll(filepath.Dir(word), 0o700); err != nil {
					t.Fatal(err)
				}
			}
		}
		if len(words) >= 3 && words[0] == "tls" {
			n.certificate(t, words[1], words[2])
		}
	}
}

// certificate writes a self-signed certificate for localhost, by name and by
// address, and for more names, and its key.
func (n *node) certificate(t *testing.T, certFile, keyFile string, more ...string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: "localhost"}, // curl asks for the issuer's name
		DNSNames:     append(more, "localhost"),
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(time.Hour),
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
}

func (n *node) writePEM(t *testing.T, name, kind string, der []byte) {
	t.Helper()
	if !filepath.IsAbs(name) {
		name = n.path(name)
	}
	text := pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
	if err := os.WriteFile(name, text, 0o600); err != nil {
		t.Fatal(err)
	}
}
