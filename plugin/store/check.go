package store

import (
	"fmt"
	"strings"

	"github.com/coredns-ddns/ddns/plugin/zone"
)

// Check refuses, with ErrInvalid, what no caller should ask of the zone origin,
// and what would not come back from a store as it went in. Stores call it.
func (u *Update) Check(origin zone.Name) error {
	invalid := func(format string, args ...any) error {
		return fmt.Errorf("%w: %s", ErrInvalid, fmt.Sprintf(format, args...))
	}
	if len(u.Writes) == 0 {
		return invalid("no host, want at least one")
	}
	if strings.ContainsRune(string(u.By.Token), '\n') {
		return invalid("token id %q has more than a line", u.By.Token)
	}
	named := make(map[zone.Name]bool, len(u.Writes))
	for _, w := range u.Writes {
		name := w.Host.Name
		switch {
		case !name.Within(origin):
			return invalid("%q is not in the zone %s", name, origin)
		case named[name]:
			return invalid("%s is there twice", name)
		case w.Op > Delete:
			return invalid("%s: operation %d is unknown", name, w.Op)
		case w.Op != Put && w.Host.Revision == 0:
			return invalid("%s: only Put is for a host that must not exist", name)
		case w.Op != Put && w.Settings != nil:
			return invalid("%s: only Put sets settings", name)
		}
		if st, err := zone.ParseState(w.Host.State.String()); w.Op == Put && (err != nil || st != w.Host.State) {
			return invalid("%s: %q is no state of a host", name, w.Host.State)
		}
		named[name] = true
	}
	return nil
}
