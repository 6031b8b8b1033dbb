package redisstore

import (
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/coredns-ddns/ddns/plugin/store"
	"github.com/coredns-ddns/ddns/plugin/zone"
)

//go:embed hosts.lua
var hostsLua string

var hostsScript = redis.NewScript(logLua + hostsLua)

// hosts is one zone of a Store.
type hosts struct {
	log[zone.Host]
	origin zone.Name
}

func newHosts(s *Store, origin zone.Name) *hosts {
	h := &hosts{origin: origin}
	h.store, h.tag, h.kind, h.parse, h.gone = s, origin, "hosts", h.host, h.goneHost
	return h
}

// host reads a field of a bucket.
func (h *hosts) host(name, state string) (zone.Host, error) {
	st, err := zone.ParseState(state)
	return zone.Host{Name: zone.Absolute(name, h.origin), State: st}, err
}

func (h *hosts) goneHost(name string, r zone.Revision) zone.Host {
	return zone.Host{Name: zone.Absolute(name, h.origin), State: zone.State{Revision: r}}
}

// Update does all of u or none of it.
func (h *hosts) Update(ctx context.Context, u store.Update) (store.Receipt, error) {
	if err := u.Check(h.origin); err != nil {
		return store.Receipt{}, err
	}
	keys, args, err := h.encode(u)
	if err != nil {
		return store.Receipt{}, err
	}
	var r store.Receipt
	err = h.write(ctx, hostsScript, keys, u.Served, args, func(answer []string, nonce string, _ bool) (err error) {
		if answer[0] == "conflict" {
			return h.conflict(answer[1:])
		}
		if r, err = receipt(answer); err == nil && r.Revision != 0 {
			h.chain.note(r.Revision, nonce)
		}
		return err
	})
	return r, err
}

// encode is what hosts.lua wants after the head of a log.
func (h *hosts) encode(u store.Update) (keys []string, args []any, err error) {
	keys = []string{h.key("seen")}
	var names []any
	var place [buckets]int // from 1
	writes := make([]any, 0, 6*len(u.Writes))
	for _, w := range u.Writes {
		name := w.Host.Name.Relative(h.origin)
		b := bucket(name)
		if place[b] == 0 {
			names = append(names, bucketName(b))
			place[b] = len(names)
			keys = append(keys, h.bucketKey("hosts", b), h.bucketKey("history", b), h.bucketKey("settings", b))
		}
		settings, err := encodeSettings(w.Settings)
		if err != nil {
			return nil, nil, fmt.Errorf("%w: %s: %w", store.ErrInvalid, w.Host.Name, err)
		}
		op := [...]string{store.Put: "p", store.Refresh: "r", store.Delete: "d"}[w.Op]
		writes = append(writes, op, place[b], name, uint64(w.Host.Revision), withoutRevision(w.Host.State), settings)
	}
	args = append(args, encodeAuthor(u.By), len(names))
	return keys, append(append(args, names...), writes...), nil
}

// withoutRevision is a state's text as the script completes it.
func withoutRevision(st zone.State) string {
	st.Flags &^= zone.HasSettings
	_, rest, _ := strings.Cut(st.String(), " ")
	return rest
}

func encodeSettings(s *store.Settings) (string, error) {
	switch {
	case s == nil:
		return "", nil
	case *s == store.Settings{}:
		return "-", nil
	}
	text, err := json.Marshal(s)
	return string(text), err
}

// encodeAuthor is the end of a line of history. The token comes last, for it
// alone might hold a space.
func encodeAuthor(by store.Author) string {
	client := "-"
	if by.Client.IsValid() {
		client = by.Client.String()
	}
	return client + " " + string(by.Token)
}

// conflict reads the names and states of a script's answer.
func (h *hosts) conflict(answer []string) error {
	c := &store.Conflict{}
	for i := 0; i+1 < len(answer); i += 2 {
		host := h.goneHost(answer[i], 0)
		if answer[i+1] != "" {
			var err error
			if host, err = h.host(answer[i], answer[i+1]); err != nil {
				return h.damaged("%s: %w", answer[i], err)
			}
		}
		c.Current = append(c.Current, host)
	}
	return c
}

// receipt reads a script's answer: done, revision, serial, unix second.
func receipt(answer []string) (store.Receipt, error) {
	var n [3]int64
	if len(answer) != 4 {
		return store.Receipt{}, fmt.Errorf("a script answered %q", answer)
	}
	for i := range n {
		var err error
		if n[i], err = strconv.ParseInt(answer[i+1], 10, 64); err != nil {
			return store.Receipt{}, fmt.Errorf("a script answered %q: %w", answer, err)
		}
	}
	p := store.Position{Revision: zone.Revision(n[0]), Serial: uint32(n[1])}
	return store.Receipt{Position: p, Time: time.Unix(n[2], 0)}, nil
}
