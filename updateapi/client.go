package updateapi

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"math"
	"mime"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/coredns-ddns/ddns/plugin/token"
	"github.com/coredns-ddns/ddns/plugin/zone"
)

var (
	// ErrUnreachable is returned by the calls of a Client, wrapped with the
	// cause, when there was no reply.
	ErrUnreachable = errors.New("cannot reach")
	// ErrReply is returned by the calls of a Client for what this API does not
	// answer: another server, or a proxy's own page.
	ErrReply = errors.New("not a reply of this API")
	// ErrClient is returned by NewClient, wrapped with what is wrong.
	ErrClient = errors.New("cannot use the API")
)

// clientPageLen is the longest page that the server makes.
const clientPageLen = 1000

// AnyRevision lets PutHost and DeleteHost act on a host as it is.
const AnyRevision uint64 = math.MaxUint64

// Client calls the REST API of one server. Its methods answer a *Problem when
// the server says no, ErrUnreachable when it says nothing, and never quote the
// token. It may be used by several goroutines at once.
type Client struct {
	root     string // URL of the API, with the slash
	token    string
	http     *http.Client
	patience time.Duration // for 503; 0: none
}

// NewClient makes a Client for the update listener at baseURL, such as
// https://localhost:8443. Plain http is taken for loopback addresses only: a
// token is as good as a password. Nil roots are the system's.
func NewClient(baseURL, token string, roots *x509.CertPool) (*Client, error) {
	u, err := url.Parse(baseURL)
	if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("%w: the URL wants to be as https://HOST:PORT", ErrClient)
	}
	if u.Scheme != "https" && (u.Scheme != "http" || !clientLoopback(u.Hostname())) {
		return nil, fmt.Errorf("%w: %s: want https (http on a loopback address only)", ErrClient, baseURL)
	}
	if strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return nil, fmt.Errorf("%w: the token wants to be one word of ASCII", ErrClient)
	}
	return &Client{
		root:  strings.TrimSuffix(u.String(), "/") + "/api/v1/",
		token: token,
		http: &http.Client{
			Transport: &http.Transport{
				Proxy:                 http.ProxyFromEnvironment,
				DialContext:           (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
				TLSClientConfig:       &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
				TLSHandshakeTimeout:   10 * time.Second,
				ResponseHeaderTimeout: 35 * time.Second, // the server gives up at 30
				IdleConnTimeout:       90 * time.Second,
				MaxIdleConnsPerHost:   8,
				ForceAttemptHTTP2:     true,
				DisableCompression:    true, // it would hide how a body ended
			},
			// A redirect would take the token elsewhere.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}, nil
}

func clientLoopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.Unmap().IsLoopback()
}

// Patient is the same client, but one that repeats a call answered 503 with
// Retry-After, when the server asks for it, until limit is over. That is for
// calls that may safely be repeated.
func (c *Client) Patient(limit time.Duration) *Client {
	patient := *c
	patient.patience = limit
	return &patient
}

// Close lets go of idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Hosts is one page of the hosts that the token may see, of one zone unless
// origin is "". Cursor "" begins; limit 0 leaves the page's size to the server.
func (c *Client) Hosts(ctx context.Context, origin, cursor string, limit int) (HostList, error) {
	var list HostList
	_, err := c.call(ctx, http.MethodGet, "hosts"+clientQuery(origin, cursor, limit), nil, nil, &list)
	return list, err
}

// AllHosts yields every host that the token may see, of one zone unless origin
// is "", page after page, and an error last.
func (c *Client) AllHosts(ctx context.Context, origin string) iter.Seq2[Host, error] {
	return clientPages(func(cursor string) ([]Host, string, error) {
		list, err := c.Hosts(ctx, origin, cursor, clientPageLen)
		return list.Hosts, list.Cursor, err
	})
}

// Host is the host called name.
func (c *Client) Host(ctx context.Context, name string) (Host, error) {
	var host Host
	path, err := clientHostPath(name)
	if err == nil {
		_, err = c.call(ctx, http.MethodGet, path, nil, nil, &host)
	}
	return host, err
}

// PutHost makes put the whole of the host and says whether it is new. Revision
// is the one that put was computed from: 0 for a host that must not exist. When
// it is not the current one the Problem's status is 412.
func (c *Client) PutHost(ctx context.Context, name string, put HostPut, revision uint64) (Host, bool, error) {
	var host Host
	path, err := clientHostPath(name)
	if err != nil {
		return host, false, err
	}
	status, err := c.call(ctx, http.MethodPut, path, clientCondition(revision), put, &host)
	return host, status == http.StatusCreated, err
}

// DeleteHost removes a host at that revision.
func (c *Client) DeleteHost(ctx context.Context, name string, revision uint64) error {
	path, err := clientHostPath(name)
	if err == nil {
		_, err = c.call(ctx, http.MethodDelete, path, clientCondition(revision), nil, nil)
	}
	return err
}

// HostHistory is what the host was, the current state first.
func (c *Client) HostHistory(ctx context.Context, name string) (History, error) {
	var history History
	path, err := clientHostPath(name)
	if err == nil {
		_, err = c.call(ctx, http.MethodGet, path+"/history", nil, nil, &history)
	}
	return history, err
}

// Import sets up to MaxImport hosts. It may be repeated.
func (c *Client) Import(ctx context.Context, hosts []ImportHost) (Imported, error) {
	var imported Imported
	_, err := c.call(ctx, http.MethodPost, "hosts", nil, Import{Hosts: hosts}, &imported)
	return imported, err
}

// Tokens is one page of the tokens.
func (c *Client) Tokens(ctx context.Context, cursor string, limit int) (TokenList, error) {
	var list TokenList
	_, err := c.call(ctx, http.MethodGet, "tokens"+clientQuery("", cursor, limit), nil, nil, &list)
	return list, err
}

// AllTokens yields every token, page after page, and an error last.
func (c *Client) AllTokens(ctx context.Context) iter.Seq2[Token, error] {
	return clientPages(func(cursor string) ([]Token, string, error) {
		list, err := c.Tokens(ctx, cursor, clientPageLen)
		return list.Tokens, list.Cursor, err
	})
}

// CreateToken mints a token. Its text is in the answer and nowhere else.
func (c *Client) CreateToken(ctx context.Context, create TokenCreate) (TokenSecret, error) {
	var secret TokenSecret
	_, err := c.call(ctx, http.MethodPost, "tokens", nil, create, &secret)
	return secret, err
}

// RevokeToken ends a token. Where the text of a token is given for its ID, only
// the ID leaves this process.
func (c *Client) RevokeToken(ctx context.Context, id string) error {
	_, err := c.call(ctx, http.MethodDelete, clientTokenPath(id), nil, nil, nil)
	return err
}

// RotateToken gives a token a new text; the old one goes on working for overlap.
func (c *Client) RotateToken(ctx context.Context, id string, overlap time.Duration) (TokenSecret, error) {
	var secret TokenSecret
	_, err := c.call(ctx, http.MethodPost, clientTokenPath(id)+"/rotate", nil, TokenRotate{Overlap: overlap.String()}, &secret)
	return secret, err
}

// Whoami is what the server makes of the caller.
func (c *Client) Whoami(ctx context.Context) (Whoami, error) {
	var whoami Whoami
	_, err := c.call(ctx, http.MethodGet, "whoami", nil, nil, &whoami)
	return whoami, err
}

// Status is how the server is, for the admin token.
func (c *Client) Status(ctx context.Context) (Status, error) {
	var status Status
	_, err := c.call(ctx, http.MethodGet, "status", nil, nil, &status)
	return status, err
}

// Backup writes a copy of a store to w and says how many bytes that is: the
// store of the zone called origin, which is "" where the server has but one.
// What was written before an error is no backup.
func (c *Client) Backup(ctx context.Context, origin string, w io.Writer) (int64, error) {
	resp, err := c.send(ctx, http.MethodGet, "backup"+clientQuery(origin, "", 0), nil, nil)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	if resp.ProtoMajor == 1 && resp.ContentLength < 0 && len(resp.TransferEncoding) == 0 {
		return 0, fmt.Errorf("%w: a stream without an end of its own, of which nobody can say whether it is whole", ErrReply)
	}
	n, err := io.Copy(w, resp.Body)
	if err != nil {
		return n, fmt.Errorf("the backup broke off after %d bytes: %w", n, err)
	}
	return n, nil
}

// call sends in as JSON, unless nil, and decodes the answer into out, unless
// nil. It answers the reply's status.
func (c *Client) call(ctx context.Context, method, path string, header http.Header, in, out any) (int, error) {
	var body []byte
	if in != nil {
		var err error
		if body, err = json.Marshal(in); err != nil {
			return 0, err
		}
	}
	resp, err := c.send(ctx, method, path, header, body)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	if out == nil {
		return resp.StatusCode, nil
	}
	if err := json.NewDecoder(resp.Body).Decode(out); err != nil {
		if ctx.Err() != nil {
			return 0, ctx.Err()
		}
		return 0, fmt.Errorf("%w: %s %s: %w", ErrReply, method, path, err)
	}
	io.Copy(io.Discard, resp.Body) // so that the connection can be used again
	return resp.StatusCode, nil
}

// send does a request, and again while the server asks for it and patience
// lasts. It answers a reply of status 2xx or an error.
func (c *Client) send(ctx context.Context, method, path string, header http.Header, body []byte) (*http.Response, error) {
	until := time.Now().Add(c.patience)
	for {
		req, err := http.NewRequestWithContext(ctx, method, c.root+path, bytes.NewReader(body))
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrClient, err)
		}
		if header != nil {
			req.Header = header.Clone()
		}
		if c.token != "" {
			req.Header.Set("Authorization", "Bearer "+c.token)
		}
		if body != nil {
			req.Header.Set("Content-Type", "application/json")
		}
		resp, err := c.http.Do(req)
		if err != nil {
			return nil, c.unreachable(ctx, err)
		}
		if resp.StatusCode/100 == 2 {
			return resp, nil
		}
		err = clientProblem(resp)
		resp.Body.Close()
		wait, asked := clientRetryAfter(resp)
		if !asked || time.Now().Add(wait).After(until) {
			return nil, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(wait):
		}
	}
}

func (c *Client) unreachable(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if wrapped, ok := errors.AsType[*url.Error](err); ok {
		err = wrapped.Err // the rest repeats method and URL
	}
	return fmt.Errorf("%w %s: %w", ErrUnreachable, strings.TrimSuffix(c.root, "/api/v1/"), err)
}

// clientProblem is what a reply that is not 2xx says. Without a problem+json it
// is not by our server, and only of 5xx the status is worth believing: another
// server's 404 does not mean that a host is missing.
func clientProblem(resp *http.Response) error {
	kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	problem := &Problem{}
	err := json.NewDecoder(io.LimitReader(resp.Body, 64<<10)).Decode(problem)
	switch {
	case kind == "application/problem+json" && err == nil:
		problem.Status = resp.StatusCode
		return problem
	case resp.StatusCode/100 == 5:
		return &Problem{Type: "about:blank", Title: resp.Status, Status: resp.StatusCode}
	}
	return fmt.Errorf("%w: %s %s: %s", ErrReply, resp.Request.Method, resp.Request.URL.Redacted(), resp.Status)
}

// clientRetryAfter says how long a 503 asks to wait, if it does. A date, which
// only proxies send, counts as not asking.
func clientRetryAfter(resp *http.Response) (time.Duration, bool) {
	seconds, err := strconv.ParseUint(resp.Header.Get("Retry-After"), 10, 16)
	if err != nil || resp.StatusCode != http.StatusServiceUnavailable {
		return 0, false
	}
	return max(time.Duration(seconds)*time.Second, 100*time.Millisecond), true
}

func clientHostPath(name string) (string, error) {
	n, err := zone.ParseName(name)
	if err != nil {
		return "", err
	}
	return "hosts/" + url.PathEscape(string(n)), nil
}

func clientTokenPath(id string) string {
	if secret, err := token.Parse(id); err == nil {
		id = string(secret.ID)
	}
	return "tokens/" + url.PathEscape(id)
}

// clientCondition has the server compare the host's revision, which it takes
// for 0 where there is no host.
func clientCondition(revision uint64) http.Header {
	if revision == AnyRevision {
		return nil
	}
	return http.Header{"If-Match": {strconv.Quote(strconv.FormatUint(revision, 10))}}
}

func clientQuery(origin, cursor string, limit int) string {
	query := url.Values{}
	if origin != "" {
		query.Set("zone", origin)
	}
	if cursor != "" {
		query.Set("cursor", cursor)
	}
	if limit > 0 {
		query.Set("limit", strconv.Itoa(limit))
	}
	if len(query) == 0 {
		return ""
	}
	return "?" + query.Encode()
}

func clientPages[T any](page func(cursor string) ([]T, string, error)) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for cursor := ""; ; {
			items, next, err := page(cursor)
			if err != nil {
				var none T
				yield(none, err)
				return
			}
			for _, item := range items {
				if !yield(item, nil) {
					return
				}
			}
			if next == "" {
				return
			}
			cursor = next
		}
	}
}
