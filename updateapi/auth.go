package updateapi

import (
	"crypto/subtle"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/coredns-ddns/ddns/plugin/event"
	"github.com/coredns-ddns/ddns/plugin/store"
	"github.com/coredns-ddns/ddns/plugin/token"
	"github.com/coredns-ddns/ddns/plugin/zone"
)

// Why a request, or one host of it, is refused. replies.go says how each dialect
// tells it.
var (
	errNoCredentials = errors.New("no token was sent")
	errBadToken      = errors.New("the token is not valid here and now")
	errNotAdmin      = errors.New("only the admin token may do this")
	errNotGranted    = errors.New("the token's grant does not cover this")
	errReserved      = errors.New("the name is reserved: only a grant of exactly this name reaches it")
	errQuota         = errors.New("the token's quota of hosts is used up")
	errNoZone        = errors.New("the name lies in no zone of this server")
	errNotReady      = errors.New("the node has not loaded its data yet")
	errTokens        = fmt.Errorf("%w: this node cannot tell at present which tokens there are", store.ErrUnavailable)
)

// tokensGrace is how long a token is good for updates while nobody can tell
// whether it has been revoked.
const tokensGrace = 2 * time.Second

// throttled is the error of a request that comes too soon.
type throttled struct{ wait time.Duration }

func (t throttled) Error() string { return fmt.Sprintf("too many requests: wait %v", t.wait) }

// caller is who makes a request.
type caller struct {
	admin   bool         // the operator
	token   *token.Token // else
	realm   *Realm       // of the token
	shown   token.Secret // right or wrong
	client  netip.Addr
	remote  netip.Addr
	dialect string
}

// id is "" before the caller is known.
func (c *caller) id() token.ID {
	switch {
	case c.admin:
		return token.Admin
	case c.token != nil:
		return c.token.ID
	}
	return ""
}

// credentials finds the token in a request: Basic (any user name), Bearer or
// Token, else in the query for routers that cannot send Basic.
func credentials(r *http.Request, form func(string) string) (text string, bearer bool) {
	if _, password, ok := r.BasicAuth(); ok && password != "" {
		return password, false
	}
	scheme, value, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	switch strings.ToLower(scheme) {
	case "bearer", "token":
		return strings.TrimSpace(value), strings.EqualFold(scheme, "bearer")
	}
	if form == nil {
		return "", false
	}
	if t := form("token"); t != "" {
		return t, false
	}
	return form("password"), false
}

// authenticate says who makes r. form reads r's parameters where a dialect
// takes tokens from there, else it is nil; rest allows the operator.
func (s *Server) authenticate(r *http.Request, dialect string, form func(string) string) (*caller, error) {
	c := &caller{remote: remoteAddr(r), client: clientAddr(r, s.TrustedProxies), dialect: dialect}
	err := s.identify(c, r, form)
	if err == nil && c.token != nil {
		if wait := s.Limits.rates.Take(c.token.ID, s.Rate, time.Now()); wait > 0 {
			err = throttled{wait}
		}
	}
	if err != nil && !errors.Is(err, errNoCredentials) {
		authFailures.WithLabelValues(dialect, failureLabel(err)).Inc()
		if s.worthTelling(c, err) {
			s.emit(c, event.Event{Kind: event.Refused, Host: hostOf(form), Reason: err.Error()})
		}
	}
	return c, err
}

// worthTelling keeps whoever does not stop from filling the log: of requests
// that come too soon one a minute is told of.
func (s *Server) worthTelling(c *caller, err error) bool {
	return !errors.As(err, new(throttled)) || s.Limits.told.Take(c.client.String()+string(c.id()), toldLimit, time.Now()) == 0
}

func hostOf(form func(string) string) string {
	if form == nil {
		return ""
	}
	return form("hostname")
}

func (s *Server) identify(c *caller, r *http.Request, form func(string) string) error {
	text, bearer := credentials(r, form)
	if text == "" {
		return errNoCredentials
	}
	secret, err := token.Parse(text)
	if err != nil {
		return s.failed(c)
	}
	if s.isAdmin(secret) {
		if bearer && c.dialect == "rest" {
			c.admin = true
			return nil
		}
		return s.failed(c)
	}
	c.shown = secret
	ready, stale := true, false
	for _, realm := range s.Realms {
		lag, _ := realm.Known.Lag(time.Now())
		stale = stale || lag > 0
		if t := realm.Known.Verified(secret, time.Now()); t != nil && c.token == nil {
			c.token, c.realm = t, realm
		}
		ready = ready && realm.Known.Ready()
	}
	switch {
	case c.token == nil && !ready:
		return errNotReady
	case c.token == nil && stale: // it may have been minted on another node meanwhile
		return errTokens
	case c.token == nil:
		return s.failed(c)
	case !c.token.From(c.client):
		c.token = nil
		return s.failed(c)
	}
	return nil
}

// still returns nil while c's token is what it was when c was authenticated. A
// slow body, a lock or a retry may lie between.
func (c *caller) still(now time.Time) error {
	if c.admin {
		return nil
	}
	lag, err := c.realm.Known.Lag(now)
	switch {
	case lag > tokensGrace, errors.Is(err, store.ErrLost):
		return errTokens
	case c.realm.Known.Verified(c.shown, now) == nil:
		return errBadToken
	}
	return nil
}

// failed counts a failed authentication against the client's address. Over the
// limit it says so; a valid token passes all the same, for neighbours share
// addresses.
func (s *Server) failed(c *caller) error {
	from := c.client
	if !from.IsValid() {
		from = c.remote
	}
	bits := 64
	if from.Is4() {
		bits = 32
	}
	p, _ := from.Prefix(bits)
	if wait := s.Limits.failures.Take(p, failureLimit, time.Now()); wait > 0 {
		return throttled{wait}
	}
	return errBadToken
}

func (s *Server) isAdmin(secret token.Secret) bool {
	return s.Admin != nil && secret.ID == s.Admin.ID &&
		subtle.ConstantTimeCompare(secret.Hash[:], s.Admin.Hash[:]) == 1
}

// authorise is the gate: it decides whether c may do e, and a refusal is on
// record before anybody else hears of it. Nothing reaches a store that was not
// asked about here.
func (s *Server) authorise(c *caller, e *edit) (*Zone, error) {
	z, err := s.decide(c, e.name, e.types())
	if err == nil {
		err = errors.Join(e.refuse, e.a.check(s.Publish), e.aaaa.check(s.Publish))
	}
	if err != nil {
		s.emit(c, event.Event{Kind: event.Refused, Host: e.given, Reason: err.Error()})
	}
	return z, err
}

// decide says whether c may set types of name, and in which zone that is.
func (s *Server) decide(c *caller, name zone.Name, types []string) (*Zone, error) {
	if name == "" {
		return nil, errName
	}
	realm, z := s.zone(name)
	if z == nil || !c.admin && realm != c.realm {
		return nil, errNoZone
	}
	if c.admin {
		return z, nil
	}
	covered, literal := c.token.Covers(name)
	switch {
	case !covered:
		return nil, errNotGranted
	case !literal && s.reserved(name, z):
		return nil, errReserved
	}
	return z, c.sets(types)
}

// sets returns nil when c may set those types.
func (c *caller) sets(types []string) error {
	for _, t := range types {
		if !c.admin && !c.token.Sets(t) {
			return fmt.Errorf("%w: type %s", errNotGranted, t)
		}
	}
	return nil
}

// quota returns nil when c may make that many more hosts.
func (s *Server) quota(c *caller, more int) error {
	if !c.limited() || c.holds()+more <= c.token.Quota {
		return nil
	}
	return errQuota
}

func (c *caller) limited() bool { return !c.admin && c.token.Quota > 0 }

// holds is how many hosts exist under c's grant, whose patterns do not overlap.
func (c *caller) holds() int {
	n := 0
	for _, p := range c.token.Names {
		for _, z := range c.realm.Zones {
			top, name := p.Subtree(), zone.Name(p)
			switch {
			case top != "" && top.Within(z.Origin):
				n += z.Copy.Below(top)
			case top != "" && z.Origin.Below(top):
				n += z.Copy.Hosts()
			case top == "" && name.Within(z.Origin) && z.Copy.Get(name).Revision != 0:
				n++
			}
		}
	}
	return n
}

// emit tells of an event of c's making.
func (s *Server) emit(c *caller, e event.Event) {
	e.Time, e.Dialect, e.Client = time.Now(), c.dialect, c.client
	if e.Token = c.id(); e.Token == "" && e.Subject == "" {
		e.Subject = c.shown.ID
	}
	s.Events(e)
}

// retryAfter is when to come back, spread out so that those turned away
// together do not return together.
func retryAfter(err error) time.Duration {
	var t throttled
	if errors.As(err, &t) {
		return t.wait + rand.N(t.wait/4+time.Second)
	}
	return 10*time.Second + rand.N(20*time.Second)
}
