package updateapi

import (
	"net/netip"
	"time"
)

// The shapes of the REST API under /api/v1. Server and Client share them. Names
// are absolute; a name sent may lack the trailing dot and be in any case.

// Host is GET /hosts/NAME, and what a PUT answers.
type Host struct {
	Name     string    `json:"name"`
	Zone     string    `json:"zone"`
	Revision uint64    `json:"revision"` // also the ETag; PUT and DELETE honour If-Match, where "0" means no such host
	A        string    `json:"a,omitempty"`
	AAAA     string    `json:"aaaa,omitempty"`
	TTL      uint32    `json:"ttl,omitempty"` // seconds; absent: the zone's
	Offline  bool      `json:"offline,omitempty"`
	Wildcard bool      `json:"wildcard,omitempty"`
	Note     string    `json:"note,omitempty"`
	Seen     time.Time `json:"seen,omitzero"` // last change or refresh
}

// HostPut is the body of PUT /hosts/NAME: the whole of the host as it shall be.
// What is absent is removed.
type HostPut struct {
	A        string `json:"a,omitempty"`
	AAAA     string `json:"aaaa,omitempty"`
	TTL      uint32 `json:"ttl,omitempty"`
	Offline  bool   `json:"offline,omitempty"`
	Wildcard bool   `json:"wildcard,omitempty"`
	Note     string `json:"note,omitempty"`
}

// TTLs that a host may have of its own, in seconds.
const (
	MinTTL = 5
	MaxTTL = 86400
)

// HostList is GET /hosts?cursor=&limit=. A page may hold fewer hosts than the
// limit, even none; the end is where Cursor is absent.
type HostList struct {
	Hosts  []Host `json:"hosts"`
	Cursor string `json:"cursor,omitempty"`
}

// Import is the body of POST /hosts: up to MaxImport hosts, set as by PUT, those
// of one zone all or none. Only for the admin token. It answers an Imported.
type Import struct {
	Hosts []ImportHost `json:"hosts"`
}

// MaxImport is how many hosts one Import may hold.
const MaxImport = 1000

// ImportHost is one host of an Import, and a line of ddnsctl's JSON lines.
type ImportHost struct {
	Name string `json:"name"`
	HostPut
}

// Imported counts what an Import did.
type Imported struct {
	Changed   int `json:"changed"`
	Unchanged int `json:"unchanged"`
}

// History is GET /hosts/NAME/history, the current state first.
type History struct {
	Name   string `json:"name"`
	States []Past `json:"states"`
}

// Past is a state that a host had.
type Past struct {
	Time     time.Time `json:"time"` // since when
	Token    string    `json:"token"`
	Client   string    `json:"client,omitempty"`
	Revision uint64    `json:"revision"`
	A        string    `json:"a,omitempty"`
	AAAA     string    `json:"aaaa,omitempty"`
	TTL      uint32    `json:"ttl,omitempty"`
	Offline  bool      `json:"offline,omitempty"`
	Wildcard bool      `json:"wildcard,omitempty"`
}

// TokenCreate is the body of POST /tokens.
type TokenCreate struct {
	Names   []string       `json:"names"`             // owner names, and *.NAME for all below NAME
	Types   []string       `json:"types,omitempty"`   // of A and AAAA; absent: both
	Quota   int            `json:"quota,omitempty"`   // how many hosts may exist under names; absent: any number
	Sources []netip.Prefix `json:"sources,omitempty"` // client addresses it may be used from; absent: any
	Expires time.Time      `json:"expires,omitzero"`
	Note    string         `json:"note,omitempty"`
}

// Token is what can be told of a token.
type Token struct {
	ID            string    `json:"id"`
	Created       time.Time `json:"created"`
	PreviousUntil time.Time `json:"previous_until,omitzero"` // after a rotation: until when the old secret works
	TokenCreate
}

// TokenSecret is what POST /tokens and POST /tokens/ID/rotate answer. Secret is
// the token's text; it is shown this once.
type TokenSecret struct {
	Token
	Secret string `json:"secret"`
}

// TokenRotate is the body of POST /tokens/ID/rotate. Overlap is a Go duration
// for which the old secret goes on working; absent: "0s".
type TokenRotate struct {
	Overlap string `json:"overlap,omitempty"`
}

// TokenList is GET /tokens?cursor=&limit=.
type TokenList struct {
	Tokens []Token `json:"tokens"`
	Cursor string  `json:"cursor,omitempty"`
}

// Whoami is GET /whoami: the place to look when a device will not update.
type Whoami struct {
	Admin  bool         `json:"admin,omitempty"`
	Token  *Token       `json:"token,omitempty"`
	Client string       `json:"client"`          // the client address we take the caller to have
	Remote string       `json:"remote"`          // the peer of the connection
	Hosts  []WhoamiHost `json:"hosts,omitempty"` // of the names granted literally
}

// WhoamiHost is what is stored for a name and what DNS answers.
type WhoamiHost struct {
	Name   string   `json:"name"`
	Stored *Host    `json:"stored,omitempty"` // absent: never updated
	DNS    []string `json:"dns"`              // addresses this node answers
}

// Status is GET /status, for the admin token.
type Status struct {
	Version string       `json:"version"`
	Started time.Time    `json:"started"`
	Ready   bool         `json:"ready"`
	Zones   []ZoneStatus `json:"zones"`
	Tokens  int          `json:"tokens"`
}

// ZoneStatus is one zone's part of Status.
type ZoneStatus struct {
	Zone       string  `json:"zone"`
	Ready      bool    `json:"ready"`
	Hosts      int     `json:"hosts"`
	Revision   uint64  `json:"revision"`
	Serial     uint32  `json:"serial"`
	LagSeconds float64 `json:"lag_seconds"`     // since this node last knew itself equal to the store
	Store      string  `json:"store"`           // which store, without credentials
	Error      string  `json:"error,omitempty"` // why it is not ready or behind
}

// StoreInit is the body of POST /store/init, of a store that nodes share. No
// zones: all of the server's.
type StoreInit struct {
	Zones []string `json:"zones,omitempty"`
}

// StoreMade is what POST /store/init made: zones and "tokens".
type StoreMade struct {
	Made []string `json:"made"`
}

// StoreForget is the body of POST /store/forget: a zone, or "tokens".
type StoreForget struct {
	Zone string `json:"zone"`
}

// StoreForgotten says whether there was something to forget.
type StoreForgotten struct {
	Forgotten bool `json:"forgotten"`
}

// StoreFindings is GET /store/check?zone=.
type StoreFindings struct {
	Findings []string `json:"findings"`
}

// Problem is every error of the API, as application/problem+json (RFC 9457).
type Problem struct {
	Type     string `json:"type"` // "about:blank" or a name below urn:ddns:problem:
	Title    string `json:"title"`
	Status   int    `json:"status"`
	Detail   string `json:"detail,omitempty"`
	Instance string `json:"instance,omitempty"`
}

func (p *Problem) Error() string {
	if p.Detail == "" {
		return p.Title
	}
	return p.Title + ": " + p.Detail
}
