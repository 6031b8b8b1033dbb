package boltstore

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"

	"go.etcd.io/bbolt"

	"github.com/coredns-ddns/ddns/plugin/store"
	"github.com/coredns-ddns/ddns/plugin/token"
	"github.com/coredns-ddns/ddns/plugin/zone"
)

// Names of buckets and keys. A zone's bucket is called by its origin, which
// ends in a dot, unlike ours.
var (
	keyFile        = []byte("ddns")
	keyFormat      = []byte("format")
	keyIncarnation = []byte("incarnation")
	keyTokens      = []byte("tokens")
	keyMeta        = []byte("meta")
	keyHosts       = []byte("hosts")
	keyHistory     = []byte("history")
	keySettings    = []byte("settings")
)

// meta counts a log: a zone's hosts, or the tokens.
type meta struct {
	revision zone.Revision
	serial   uint32 // of the latest commit; 0 for tokens
}

func (m meta) append(dst []byte) []byte {
	return fmt.Appendf(dst, "%d %d", m.revision, m.serial)
}

// readMeta finds the bucket of a log and reads its meta.
func readMeta(s *Store, tx *bbolt.Tx, name string) (*bbolt.Bucket, meta, error) {
	var m meta
	b := tx.Bucket([]byte(name))
	if b == nil {
		return nil, m, s.damaged(fmt.Errorf("%s is gone", name))
	}
	text := b.Get(keyMeta)
	if n, err := fmt.Sscanf(string(text), "%d %d", &m.revision, &m.serial); n != 2 {
		return nil, m, s.damaged(fmt.Errorf("meta of %s is %q: %w", name, text, err))
	}
	return b, m, nil
}

// appendHost writes the value of a host: its state and when it was last seen.
func appendHost(dst []byte, st zone.State, seen int64) []byte {
	return strconv.AppendInt(append(st.Append(dst), ' '), seen, 10)
}

// parseHost reads what appendHost wrote.
func parseHost(value []byte) (zone.State, int64, error) {
	at := max(bytes.LastIndexByte(value, ' '), 0)
	st, err := zone.ParseState(string(value[:at]))
	if err != nil {
		return st, 0, err
	}
	seen, err := strconv.ParseInt(string(value[at+1:]), 10, 64)
	return st, seen, err
}

// prependPast puts a state in front of a history, and cuts it to HistoryLen
// lines. The token comes last in its line, for it alone might hold a space.
func prependPast(history []byte, p store.Past) []byte {
	dst := make([]byte, 0, len(history)+96)
	dst = p.State.Append(dst)
	dst = strconv.AppendInt(append(dst, ' '), p.Time.Unix(), 10)
	dst = append(dst, ' ')
	if p.By.Client.IsValid() {
		dst = p.By.Client.AppendTo(dst)
	} else {
		dst = append(dst, '-')
	}
	dst = append(append(append(dst, ' '), p.By.Token...), '\n')
	for range store.HistoryLen - 1 {
		at := bytes.IndexByte(history, '\n')
		if at < 0 {
			break
		}
		dst = append(dst, history[:at+1]...)
		history = history[at+1:]
	}
	return dst
}

func parseToken(id, value []byte) (token.Token, error) {
	var t token.Token
	err := json.Unmarshal(value, &t)
	t.ID = token.ID(id)
	return t, err
}
