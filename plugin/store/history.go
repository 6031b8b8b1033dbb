package store

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/coredns-ddns/ddns/plugin/token"
	"github.com/coredns-ddns/ddns/plugin/zone"
)

// ParseHistory reads a history as stores keep it, a line each, newest first:
// state, unix second, client ("-": unknown) and token id.
func ParseHistory(text string) ([]Past, error) {
	var past []Past
	for line := range strings.Lines(text) {
		field := strings.SplitN(strings.TrimSuffix(line, "\n"), " ", 8)
		if len(field) != 8 {
			return nil, fmt.Errorf("%q is no line of a history", line)
		}
		st, err := zone.ParseState(strings.Join(field[:5], " "))
		if err != nil {
			return nil, err
		}
		second, err := strconv.ParseInt(field[5], 10, 64)
		if err != nil {
			return nil, err
		}
		p := Past{Time: time.Unix(second, 0), State: st, By: Author{Token: token.ID(field[7])}}
		if field[6] != "-" {
			if p.By.Client, err = netip.ParseAddr(field[6]); err != nil {
				return nil, err
			}
		}
		past = append(past, p)
	}
	return past, nil
}
