// Package event says what happened to hosts and tokens, and to whom it is told.
//
// It guarantees that an event never holds a secret: it names tokens by ID and
// has no field for anything a caller sent in confidence.
package event

import (
	"net/netip"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/coredns-ddns/ddns/plugin/token"
	"github.com/coredns-ddns/ddns/plugin/zone"
)

// Kind is what happened.
type Kind string

const (
	Changed  Kind = "changed"  // a host's state was set
	Deleted  Kind = "deleted"  // a host was removed
	Refused  Kind = "refused"  // a caller was told no; Reason says why
	Failed   Kind = "failed"   // a change was in order and could not be made; Reason says why
	Minted   Kind = "minted"   // a token was made
	Rotated  Kind = "rotated"  // a token got a new secret
	Revoked  Kind = "revoked"  // a token was deleted
	Imported Kind = "imported" // an operator set many hosts at once; Reason counts them
	Stored   Kind = "stored"   // an operator decided about a store; Reason says what
)

// Event is one thing that happened. Fields that do not apply are zero.
type Event struct {
	Time    time.Time
	Kind    Kind
	Dialect string      // "dyndns2", "rest" …
	Host    string      // the name as far as it could be understood
	Token   token.ID    // whose doing it was, "" when nobody could be told
	Client  netip.Addr  // the client address
	Subject token.ID    // the token that was minted, rotated or revoked
	Before  *zone.State // of a changed or deleted host
	After   *zone.State // of a changed host
	Reason  string
}

// Sink is told of events. It must not block: an update waits for it.
type Sink func(Event)

// String is the event on one line, as logged.
func (e Event) String() string {
	var b strings.Builder
	b.WriteString(string(e.Kind))
	field := func(name, value string) {
		if value != "" {
			b.WriteString(" " + name + "=" + value)
		}
	}
	field("host", quote(e.Host))
	field("token", string(e.Token))
	if e.Client.IsValid() {
		field("client", e.Client.String())
	}
	field("dialect", e.Dialect)
	field("subject", string(e.Subject))
	if e.After != nil {
		field("a", change(stateOf(e.Before).A, e.After.A))
		field("aaaa", change(stateOf(e.Before).AAAA, e.After.AAAA))
		if e.After.Flags&zone.Withdrawn != 0 {
			field("offline", "yes")
		}
	}
	field("reason", quote(e.Reason))
	return b.String()
}

func stateOf(s *zone.State) zone.State {
	if s == nil {
		return zone.State{}
	}
	return *s
}

// change spells an address's way from one value to another, "" when it had none
// and has none.
func change(from, to netip.Addr) string {
	switch {
	case from == to && !to.IsValid():
		return ""
	case from == to:
		return to.String()
	}
	return spell(from) + ">" + spell(to)
}

func spell(a netip.Addr) string {
	if !a.IsValid() {
		return "none"
	}
	return a.String()
}

// quote keeps what a stranger may have sent on one line, free of secrets and of
// what could be taken for another field.
func quote(s string) string {
	s = token.Redact(s)
	if len(s) > 256 {
		s = s[:256] + "…"
	}
	plain := func(r rune) bool { return r != ' ' && r != '"' && unicode.IsPrint(r) }
	if !utf8.ValidString(s) || strings.ContainsFunc(s, func(r rune) bool { return !plain(r) }) {
		return strconv.QuoteToASCII(s)
	}
	return s
}
