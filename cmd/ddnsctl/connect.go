package main

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"

	"github.com/coredns-ddns/ddns/plugin/zone"
	"github.com/coredns-ddns/ddns/updateapi"
)

// Where `make run` leaves the files of a server tried out.
const (
	defaultURL       = "https://localhost:8443"
	defaultTokenFile = "data/admin.token"
	defaultCA        = "data/ca.pem"
)

const (
	exitDone = iota
	exitFailed
	exitUsage
	exitNotFound
	exitForbidden
	exitUnavailable
)

var (
	// errUsage is returned, wrapped, for a command line that cannot be meant.
	errUsage = errors.New("")
	// errNoToken is returned by with when no token is to be found.
	errNoToken = fmt.Errorf("no token: set DDNS_TOKEN or DDNS_TOKEN_FILE, give --token-file, or run where %s is", defaultTokenFile)
	// errNotReady is returned by status when the server answers but cannot serve.
	errNotReady = errors.New("the server is not ready")
)

func usage(format string, args ...any) error {
	return fmt.Errorf("%w"+format, append([]any{errUsage}, args...)...)
}

func exitCode(err error) int {
	problem, said := errors.AsType[*updateapi.Problem](err)
	switch {
	case errors.Is(err, errUsage), errors.Is(err, zone.ErrName):
		return exitUsage
	case said && problem.Status == http.StatusNotFound:
		return exitNotFound
	case said && (problem.Status == http.StatusUnauthorized || problem.Status == http.StatusForbidden),
		errors.Is(err, errNoToken):
		return exitForbidden
	case said && problem.Status > 500,
		errors.Is(err, updateapi.ErrUnreachable) && !untrusted(err),
		errors.Is(err, errNotReady):
		return exitUnavailable
	}
	return exitFailed
}

// untrusted says whether err is of a server that is there and is not believed:
// waiting does not help.
func untrusted(err error) bool {
	_, authority := errors.AsType[x509.UnknownAuthorityError](err)
	_, host := errors.AsType[x509.HostnameError](err)
	_, invalid := errors.AsType[x509.CertificateInvalidError](err)
	return authority || host || invalid
}

// target is the server as flags, environment and defaults have it, and where
// its parts came from, for hints.
type target struct {
	url             string
	token, tokenWas string // tokenWas: a file's name or DDNS_TOKEN
	roots           *x509.CertPool
	rootsWere       string
}

// with does work with a client and explains its error. The files are read anew
// by every call: a server that is just starting writes them.
func (c *ctl) with(ctx context.Context, work func(ctx context.Context, api *updateapi.Client) error) error {
	t, err := c.target()
	if err != nil {
		return err
	}
	api, err := updateapi.NewClient(t.url, t.token, t.roots)
	if err != nil {
		return err
	}
	defer api.Close()
	return t.explain(work(ctx, api))
}

func (c *ctl) target() (target, error) {
	t := target{url: cmp.Or(c.url, c.getenv("DDNS_URL"), defaultURL)}
	if err := c.readToken(&t); err != nil {
		return t, err
	}
	return t, c.readCA(&t)
}

func (c *ctl) readToken(t *target) error {
	if c.tokenFile == "" {
		if t.token = c.getenv("DDNS_TOKEN"); t.token != "" {
			t.tokenWas = "DDNS_TOKEN"
			return nil
		}
	}
	named := cmp.Or(c.tokenFile, c.getenv("DDNS_TOKEN_FILE"))
	t.tokenWas = cmp.Or(named, defaultTokenFile)
	text, err := os.ReadFile(t.tokenWas)
	if named == "" && errors.Is(err, fs.ErrNotExist) {
		return errNoToken
	}
	if err != nil {
		return fmt.Errorf("reading the token: %w", err)
	}
	if t.token = strings.TrimSpace(string(text)); t.token == "" {
		return fmt.Errorf("reading the token: %s is empty", t.tokenWas)
	}
	return nil
}

func (c *ctl) readCA(t *target) error {
	named := cmp.Or(c.ca, c.getenv("DDNS_CA"))
	file := cmp.Or(named, defaultCA)
	pem, err := os.ReadFile(file)
	switch {
	case named == "" && errors.Is(err, fs.ErrNotExist):
		t.rootsWere = "the system's authorities"
		return nil
	case err != nil:
		return fmt.Errorf("reading the CA: %w", err)
	case named != "":
		t.roots, t.rootsWere = x509.NewCertPool(), file
	default:
		t.rootsWere = "the system's authorities and " + file
		if t.roots, err = x509.SystemCertPool(); err != nil {
			t.roots = x509.NewCertPool()
		}
	}
	if !t.roots.AppendCertsFromPEM(pem) {
		return fmt.Errorf("reading the CA: %s has no certificate in PEM", file)
	}
	return nil
}

// hinted is an error and what a person can do about it.
type hinted struct {
	error
	hint string
}

func (h hinted) Unwrap() error { return h.error }

// explain adds a hint to an error where there is one to give.
func (t *target) explain(err error) error {
	problem, said := errors.AsType[*updateapi.Problem](err)
	_, lookup := errors.AsType[*net.DNSError](err)
	switch {
	case said && problem.Status == http.StatusUnauthorized:
		return hinted{err, "The token was taken from " + t.tokenWas + ": is it this server's, and still valid?"}
	case said && problem.Status == http.StatusForbidden:
		return hinted{err, "The token was taken from " + t.tokenWas + "."}
	case untrusted(err):
		return hinted{err, "Trusted: " + t.rootsWere + ". For a server of its own CA (tls internal) --ca or DDNS_CA names the ca.pem beside its admin token."}
	case errors.Is(err, syscall.ECONNREFUSED), lookup:
		return hinted{err, "Is the server running there? --url or DDNS_URL names another."}
	}
	return err
}
