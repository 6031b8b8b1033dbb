// Package updateapi is the HTTP side: what devices, routers and operators call
// to change hosts and tokens.
//
// It guarantees that every change, whatever dialect it came in, goes through one
// path: the caller is authenticated and within its rate, each host is authorised
// by itself, addresses are checked, the change is committed to the store, and
// only when this node's DNS already answers it is the caller told so. A dialect
// decodes and encodes; it cannot go round. No secret that a caller sends ever
// gets into a log line, an event, a metric or a reply.
package updateapi

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"path"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coredns-ddns/ddns/plugin/event"
	"github.com/coredns-ddns/ddns/plugin/ratelimit"
	"github.com/coredns-ddns/ddns/plugin/store"
	"github.com/coredns-ddns/ddns/plugin/token"
	"github.com/coredns-ddns/ddns/plugin/zone"
)

// Config is what a Server is made of.
type Config struct {
	Realms         []*Realm
	Admin          *token.Secret // of this node's operator; nil: there is none
	TrustedProxies []netip.Prefix
	Publish        Publish
	Rate           ratelimit.Limit // of each token
	Limits         *Limits
	Reserved       func() []zone.Name // beside the apexes: ns names, the listeners' own names
	Events         event.Sink
	Version        string
	Started        time.Time
}

// Realm is a store with its zones and tokens. A token has power over the zones
// of its own realm only.
type Realm struct {
	Name   string // which store, without credentials
	Store  store.Store
	Tokens store.Tokens
	Known  TokenCopy
	Zones  []*Zone
}

// Zone is a zone that can be updated.
type Zone struct {
	Origin zone.Name
	Hosts  store.Hosts
	Copy   ZoneCopy
}

// ZoneCopy is this node's copy of a zone, out of which DNS is answered.
type ZoneCopy interface {
	Get(zone.Name) zone.State
	Below(zone.Name) int
	Hosts() int
	Serial(now time.Time) uint32
	Answers(zone.Name) []netip.Addr
	Copy
}

// TokenCopy is this node's copy of a store's tokens.
type TokenCopy interface {
	Get(token.ID) *token.Token
	Verified(token.Secret, time.Time) *token.Token
	List(after token.ID, limit int) []token.ID
	Len() int
	Copy
}

// Copy is what copies have in common.
type Copy interface {
	Wait(context.Context, zone.Revision) error
	Ready() bool
	Revision() zone.Revision
	Lag(now time.Time) (time.Duration, error)
}

// Server serves one update listener. It is an http.Handler.
type Server struct {
	Config
	routes http.Handler
}

// Limits is what callers owe. It outlives the Servers of one listener, so that a
// reload forgives nobody.
type Limits struct {
	rates    ratelimit.Limiter[token.ID]
	failures ratelimit.Limiter[netip.Prefix]
	told     ratelimit.Limiter[string]
}

var (
	// Failed authentications that a client address (/32 or /64) may cause.
	failureLimit = ratelimit.Limit{Count: 20, Per: 10 * time.Minute}
	// How often it is told that somebody does not stop.
	toldLimit = ratelimit.Limit{Count: 1, Per: time.Minute}
)

// creating makes creations under a quota wait for each other, token by token,
// whichever listener they came in by.
var creating [64]sync.Mutex

const (
	maxHeader = 16 << 10
	maxBody   = 64 << 10
	maxImport = 1 << 20 // an Import of MaxImport hosts, by the operator
)

// New makes a server. Config is not changed afterwards.
func New(c Config) *Server {
	s := &Server{Config: c}
	mux := http.NewServeMux()
	for _, path := range []string{"/nic/update", "/v2/update", "/v3/update"} {
		mux.Handle(path, methods{"GET": s.dyndns2, "POST": s.dyndns2})
	}
	mux.Handle("/checkip", methods{"GET": s.checkIP})
	mux.Handle("/checkip/dyndns", methods{"GET": s.checkIPPage})
	s.restRoutes(mux)
	s.routes = mux
	return s
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	defer func() {
		if p := recover(); p != nil && p != http.ErrAbortHandler {
			s.Events(event.Event{Time: time.Now(), Kind: event.Failed, Client: remoteAddr(r),
				Reason: fmt.Sprintf("panic: %v at %s", p, panicked())})
			if strings.HasPrefix(r.URL.Path, root+"/") {
				restError(w, errInternal)
			} else {
				dyndns2Error(w, errInternal)
			}
		} else if p != nil {
			panic(p)
		}
	}()
	r.URL.Path = cleanPath(r.URL.Path)
	limit := int64(maxBody)
	if r.URL.Path == root+"/hosts" {
		limit = maxImport
	}
	r.Body = http.MaxBytesReader(w, r.Body, limit)
	s.routes.ServeHTTP(w, r)
}

// cleanPath is p as the mux wants it, which makes a redirect of //nic/update and
// the like: few devices would follow, and it repeats a token in the query.
func cleanPath(p string) string {
	clean := path.Clean("/" + p)
	if strings.HasSuffix(p, "/") && clean != "/" {
		clean += "/"
	}
	return clean
}

// methods dispatches by method and says which there are.
type methods map[string]http.HandlerFunc

func (m methods) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if h := m[r.Method]; h != nil {
		h(w, r)
		return
	}
	var allowed []string
	for name := range m {
		allowed = append(allowed, name)
	}
	slices.Sort(allowed)
	w.Header().Set("Allow", strings.Join(allowed, ", "))
	if strings.HasPrefix(r.URL.Path, root+"/") {
		problem(w, &Problem{Type: "about:blank", Title: "Method Not Allowed", Status: http.StatusMethodNotAllowed})
		return
	}
	http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
}

// zone finds the zone that name lies in, the deepest one.
func (s *Server) zone(name zone.Name) (*Realm, *Zone) {
	var realm *Realm
	var found *Zone
	for _, r := range s.Realms {
		for _, z := range r.Zones {
			if name.Within(z.Origin) && (found == nil || len(z.Origin) > len(found.Origin)) {
				realm, found = r, z
			}
		}
	}
	return realm, found
}

// reserved says whether only a literal grant reaches name: the apex, the names
// of name servers and of the update listener, and what lies below those.
func (s *Server) reserved(name zone.Name, z *Zone) bool {
	if name == z.Origin || name == "_acme-challenge."+z.Origin {
		return true
	}
	return slices.ContainsFunc(s.Reserved(), name.Within)
}

// errInternal is told after a panic.
var errInternal = errors.New("internal error")

// panicked is where the panic under way began.
func panicked() string {
	pcs := make([]uintptr, 32)
	frames := runtime.CallersFrames(pcs[:runtime.Callers(2, pcs)])
	for inside := false; ; {
		f, more := frames.Next()
		if inside && !strings.HasPrefix(f.Function, "runtime.") || !more {
			return fmt.Sprintf("%s:%d", f.Function, f.Line)
		}
		inside = inside || f.Function == "runtime.gopanic"
	}
}

func (s *Server) checkIP(w http.ResponseWriter, r *http.Request) {
	if a := clientAddr(r, s.TrustedProxies); a.IsValid() {
		text(w, http.StatusOK, a.String())
		return
	}
	text(w, http.StatusBadRequest, "the proxies contradict each other")
}

// checkIPPage is what old clients scrape.
func (s *Server) checkIPPage(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	page := fmt.Sprintf("<html><head><title>Current IP Check</title></head><body>Current IP Address: %s</body></html>\r\n",
		clientAddr(r, s.TrustedProxies))
	body(w, http.StatusOK, page)
}

// text replies with a plain text of known length: ddclient 3.10 cannot read
// chunks.
func text(w http.ResponseWriter, status int, s string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	body(w, status, s)
}

func body(w http.ResponseWriter, status int, s string) {
	w.Header().Set("Content-Length", fmt.Sprint(len(s)))
	w.WriteHeader(status)
	_, _ = io.WriteString(w, s) // a client that is gone learns nothing
}
