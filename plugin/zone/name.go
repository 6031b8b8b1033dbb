package zone

import (
	"errors"
	"fmt"
	"strings"
)

// Name is an absolute owner name or a zone's origin: lower case, with the
// trailing dot, each label made of letters, digits, '-' and '_'. The leftmost
// label may be '*'. Hosts never need more, and without escapes the text is
// canonical.
type Name string

// ErrName is returned by ParseName, wrapped with what was given.
var ErrName = errors.New("not a domain name of letters, digits, '-', '_' and dots, with labels of 1 to 63 octets and at most 255 in all")

// maxWire is the length of the longest name in wire format (RFC 1035, 3.1).
const maxWire = 255

// ParseName takes a name as people and routers write it: any case, with or
// without the trailing dot. The root itself is not a name here.
func ParseName(s string) (Name, error) {
	n := strings.TrimSuffix(s, ".")
	if n == "" || len(n)+2 > maxWire {
		return "", fmt.Errorf("%q: %w", clip(s), ErrName)
	}
	for i, label := range strings.Split(n, ".") {
		if label == "*" && i == 0 {
			continue
		}
		if !plainLabel(label) {
			return "", fmt.Errorf("%q: %w", clip(s), ErrName)
		}
	}
	// Not before: ToLower makes ASCII of letters that are none (U+212A is a k).
	return Name(strings.ToLower(n) + "."), nil
}

func plainLabel(label string) bool {
	if label == "" || len(label) > 63 {
		return false
	}
	for i := range len(label) {
		c := label[i]
		if (c|0x20 < 'a' || c|0x20 > 'z') && !isDigit(c) && c != '-' && c != '_' {
			return false
		}
	}
	return true
}

// clip keeps an error that quotes what a stranger sent on one line.
func clip(s string) string {
	if len(s) > 64 {
		return s[:64] + "…"
	}
	return s
}

// Within says whether n is origin or lies below it.
func (n Name) Within(origin Name) bool {
	return n == origin || n.Below(origin)
}

// Below says whether n lies below origin and is not origin itself.
func (n Name) Below(origin Name) bool {
	return len(n) > len(origin) && strings.HasSuffix(string(n), string(origin)) &&
		n[len(n)-len(origin)-1] == '.'
}

// Relative is n without origin, "@" for the apex: how stores keep names.
// n must lie within origin.
func (n Name) Relative(origin Name) string {
	if n == origin {
		return "@"
	}
	return string(n[:len(n)-len(origin)-1])
}

// Absolute is the inverse of Relative. It trusts relative, which comes from a
// store that was given names of this type only.
func Absolute(relative string, origin Name) Name {
	if relative == "@" {
		return origin
	}
	return Name(relative) + "." + origin
}

// IsWildcard says whether the leftmost label is '*'.
func (n Name) IsWildcard() bool { return strings.HasPrefix(string(n), "*.") }

// Key is n relative to origin in wire format without the root label: what the
// index knows the host by. It is empty for the apex.
func (n Name) Key(origin Name) []byte {
	if n == origin {
		return nil
	}
	key, _ := AppendKey(make([]byte, 0, len(n)), n.Relative(origin))
	return key
}

// AppendKey appends presentation, a name or the labels at the front of one as
// queries have them (escapes as miekg/dns writes them, any case), to dst in
// wire format, lower case, without the root label. It reports false when the
// text is no sequence of labels of 1 to 63 octets, 254 in all.
func AppendKey(dst []byte, presentation string) ([]byte, bool) {
	start := len(dst)
	at := len(dst) // the length octet of the label under construction
	dst = append(dst, 0)
	for i := 0; i < len(presentation); i++ {
		c := presentation[i]
		switch {
		case c == '.':
			if !closeLabel(dst, at) {
				return dst, false
			}
			if i == len(presentation)-1 {
				return dst, len(dst)-start < maxWire
			}
			at = len(dst)
			dst = append(dst, 0)
			continue
		case c == '\\':
			var n int
			if c, n = unescape(presentation[i+1:]); n == 0 {
				return dst, false
			}
			i += n
		}
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		dst = append(dst, c)
	}
	return dst, closeLabel(dst, at) && len(dst)-start < maxWire
}

func closeLabel(dst []byte, at int) bool {
	n := len(dst) - at - 1
	if n < 1 || n > 63 {
		return false
	}
	dst[at] = byte(n)
	return true
}

// unescape reads what follows a backslash (RFC 1035, 5.1) and says how many
// characters that was, 0 when it is malformed.
func unescape(s string) (byte, int) {
	if len(s) >= 3 && isDigit(s[0]) && isDigit(s[1]) && isDigit(s[2]) {
		v := int(s[0]-'0')*100 + int(s[1]-'0')*10 + int(s[2]-'0')
		if v > 255 {
			return 0, 0
		}
		return byte(v), 3
	}
	if len(s) == 0 || isDigit(s[0]) {
		return 0, 0
	}
	return s[0], 1
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }
