// Package token mints, reads and verifies the tokens that devices show.
//
// It guarantees that the text of a token exists only in the reply to the one
// who asked for it: what is kept is the SHA-256 of its secret, verification
// takes the same time whether the token is known, wrong or expired, and a
// mistyped token is told from a wrong one by its checksum without a look-up.
package token

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"hash/crc32"
	"math/big"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/coredns-ddns/ddns/plugin/zone"
)

// A token is "ddns_" ID "_" SECRET CHECKSUM: 40 characters out of [A-Za-z0-9_],
// so that it fits the short password fields of routers, and secret scanners
// can find it.
const (
	prefix      = "ddns_"
	idLen       = 6
	secretLen   = 22 // 62^22 > 2^130
	checksumLen = 6  // 62^6 > 2^32
	textLen     = len(prefix) + idLen + 1 + secretLen + checksumLen
)

const base62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

// Plain says whether id can be an ID.
func (id ID) Plain() bool { return len(id) == idLen && strings.Trim(string(id), base62) == "" }

// ErrMalformed is returned by Parse for what cannot be a token of ours. It
// never quotes what was given.
var ErrMalformed = errors.New("not a token: want ddns_, 6 characters, _ and 28 characters, with a valid checksum")

// ID names a token in logs, in a host's history and in the API. It is no
// secret.
type ID string

// Admin is the ID under which a node's operator appears.
const Admin ID = "admin"

// Hash is the SHA-256 of a token's secret.
type Hash [sha256.Size]byte

// MarshalText makes the hash base64 without padding.
func (h Hash) MarshalText() ([]byte, error) {
	return base64.RawStdEncoding.AppendEncode(nil, h[:]), nil
}

// UnmarshalText reads what MarshalText made.
func (h *Hash) UnmarshalText(text []byte) error {
	if base64.RawStdEncoding.DecodedLen(len(text)) != len(h) {
		return fmt.Errorf("want a hash of %d octets in base64", len(h))
	}
	_, err := base64.RawStdEncoding.Decode(h[:], text)
	return err
}

// Token is what is kept of a token. Its JSON is how stores keep it, under its
// ID.
type Token struct {
	ID       ID            `json:"-"`
	Revision zone.Revision `json:"rev"` // of the commit that made it; 0: new
	Hash     Hash          `json:"hash,omitzero"`
	Previous Hash          `json:"prev,omitzero"`  // still accepted until Until, after a rotation
	Until    time.Time     `json:"until,omitzero"` // of Previous
	Created  time.Time     `json:"made"`
	Note     string        `json:"note,omitempty"`
	Grant
}

// Secret is a token's text as parsed: public ID and the hash of its secret.
type Secret struct {
	ID   ID
	Hash Hash
}

// Mint makes a token's text. The caller shows it once and keeps the Secret.
func Mint() (string, Secret) { return MintFor(ID(random(idLen))) }

// MintFor makes a new secret for a token that there is.
func MintFor(id ID) (string, Secret) {
	body := string(id) + "_" + random(secretLen)
	text := prefix + body + checksum(body)
	s, err := Parse(text)
	if err != nil {
		panic(err) // Mint and Parse disagree
	}
	return text, s
}

// Parse reads a token's text.
func Parse(text string) (Secret, error) {
	if len(text) != textLen || text[:len(prefix)] != prefix || text[len(prefix)+idLen] != '_' {
		return Secret{}, ErrMalformed
	}
	body := text[len(prefix) : textLen-checksumLen]
	if checksum(body) != text[textLen-checksumLen:] {
		return Secret{}, ErrMalformed
	}
	id, secret := body[:idLen], body[idLen+1:]
	if strings.Trim(id+secret, base62) != "" {
		return Secret{}, ErrMalformed
	}
	return Secret{ID: ID(id), Hash: sha256.Sum256([]byte(secret))}, nil
}

// Verify says whether s is a secret of t at now and t has not expired. A nil t,
// for an unknown ID, takes as long and is false.
func (t *Token) Verify(s Secret, now time.Time) bool {
	known := t != nil
	if !known {
		t = &Token{}
	}
	return t.Accepts(s, now) && known && !t.Expired(now)
}

// Accepts says whether s is a secret of t at now, expired or not.
func (t *Token) Accepts(s Secret, now time.Time) bool {
	current := subtle.ConstantTimeCompare(t.Hash[:], s.Hash[:])
	previous := subtle.ConstantTimeCompare(t.Previous[:], s.Hash[:])
	if !now.Before(t.Until) {
		previous = 0
	}
	return current|previous == 1
}

func random(n int) string {
	b := make([]byte, n)
	size := big.NewInt(int64(len(base62)))
	for i := range b {
		d, err := rand.Int(rand.Reader, size)
		if err != nil {
			panic(err) // never returned on supported systems
		}
		b[i] = base62[d.Int64()]
	}
	return string(b)
}

func checksum(body string) string {
	v := crc32.ChecksumIEEE([]byte(body))
	var b [checksumLen]byte
	for i := range b {
		b[checksumLen-1-i] = base62[v%62]
		v /= 62
	}
	return string(b[:])
}

// Redact replaces everything in s that looks like a token by its ID.
func Redact(s string) string {
	at := strings.Index(s, prefix)
	if at < 0 {
		return s
	}
	end := at + len(prefix)
	for end < len(s) && (s[end] == '_' || strings.IndexByte(base62, s[end]) >= 0) {
		end++
	}
	shown := "ddns_…"
	if end-at >= len(prefix)+idLen {
		shown = s[at:at+len(prefix)+idLen] + "_…"
	}
	return s[:at] + shown + Redact(s[end:])
}

// Grant says what a token may do.
type Grant struct {
	Names   []Pattern      `json:"names"`           // owner names and subtrees
	Types   []string       `json:"types,omitempty"` // of "A" and "AAAA"; none: both
	Quota   int            `json:"quota,omitempty"` // how many hosts may exist under Names; 0: any number
	Sources []netip.Prefix `json:"src,omitempty"`   // client addresses it may be shown from; none: any
	Expires time.Time      `json:"exp,omitzero"`    // zero: never
}

// Pattern is an owner name, or "*." and the name of a subtree: all names below
// that name, not the name itself.
type Pattern string

// ParsePattern reads a pattern as people write it.
func ParsePattern(s string) (Pattern, error) {
	n, err := zone.ParseName(s)
	if err != nil {
		return "", fmt.Errorf("a grant wants an owner name or *.NAME: %w", err)
	}
	return Pattern(n), nil
}

// Subtree is the name that p means the names below of, "" for an owner name.
func (p Pattern) Subtree() zone.Name {
	if rest, ok := strings.CutPrefix(string(p), "*."); ok {
		return zone.Name(rest)
	}
	return ""
}

// Covers says whether n is meant by p, and if so whether by its very name.
func (p Pattern) Covers(n zone.Name) (covered, literal bool) {
	if zone.Name(p) == n {
		return true, p.Subtree() == ""
	}
	top := p.Subtree()
	return top != "" && n.Below(top), false
}

// Distinct returns patterns without those that others cover, so that no name is
// meant twice.
func Distinct(patterns []Pattern) []Pattern {
	var out []Pattern
	for i, p := range patterns {
		redundant := slices.ContainsFunc(patterns, func(q Pattern) bool {
			top := q.Subtree()
			return top != "" && q != p && zone.Name(p).Below(top)
		}) || slices.Contains(patterns[:i], p)
		if !redundant {
			out = append(out, p)
		}
	}
	return out
}

// Covers says whether the grant names n, and if so whether literally.
func (g *Grant) Covers(n zone.Name) (covered, literal bool) {
	for _, p := range g.Names {
		c, l := p.Covers(n)
		covered, literal = covered || c, literal || l
	}
	return covered, literal
}

// Sets says whether the grant is for rrtype, "A" or "AAAA".
func (g *Grant) Sets(rrtype string) bool {
	if len(g.Types) == 0 {
		return true
	}
	for _, t := range g.Types {
		if t == rrtype {
			return true
		}
	}
	return false
}

// From says whether the token may be shown from client.
func (g *Grant) From(client netip.Addr) bool {
	if len(g.Sources) == 0 {
		return true
	}
	for _, p := range g.Sources {
		if p.Contains(client) {
			return true
		}
	}
	return false
}

// Expired says whether the grant has ended at now.
func (g *Grant) Expired(now time.Time) bool {
	return !g.Expires.IsZero() && !now.Before(g.Expires)
}
