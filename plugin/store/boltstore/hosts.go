package boltstore

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"go.etcd.io/bbolt"

	"github.com/coredns-ddns/ddns/plugin/store"
	"github.com/coredns-ddns/ddns/plugin/zone"
)

// hosts is one zone of a Store.
type hosts struct {
	store  *Store
	origin zone.Name
	feed   *feed[zone.Host]
}

// makeZone makes the buckets of a zone unless they are there.
func (g *group) makeZone(origin zone.Name) (meta, error) {
	if g.tx.Bucket([]byte(origin)) == nil {
		g.dirty = true
		m := meta{serial: uint32(g.now.Unix())}
		b, err := g.tx.CreateBucket([]byte(origin))
		if err != nil {
			g.err = err
			return m, err
		}
		for _, name := range [][]byte{keyHosts, keyHistory, keySettings} {
			if _, err := b.CreateBucket(name); err != nil {
				g.err = err
				return m, err
			}
		}
		g.put(b, keyMeta, m.append(nil))
		return m, nil
	}
	_, m, err := readMeta(g.store, g.tx, string(origin))
	return m, err
}

// Update does all of u or none of it.
func (h *hosts) Update(ctx context.Context, u store.Update) (store.Receipt, error) {
	if err := u.Check(h.origin); err != nil {
		return store.Receipt{}, err
	}
	receipt := new(store.Receipt)
	err := h.store.do(ctx, func(g *group) (err error) {
		*receipt, err = h.update(g, u)
		return err
	})
	if err != nil {
		return store.Receipt{}, err // the writer may still be busy with *receipt
	}
	return *receipt, nil
}

// zoneGroup is a group's part of one zone.
type zoneGroup struct {
	*group
	log                      *logGroup[zone.Host]
	hosts, history, settings *bbolt.Bucket
	second                   int64
}

func (h *hosts) update(g *group, u store.Update) (store.Receipt, error) {
	log, err := openLog(g, string(h.origin), h.feed)
	if err != nil {
		return store.Receipt{}, err
	}
	b := log.bucket
	z := &zoneGroup{g, log, b.Bucket(keyHosts), b.Bucket(keyHistory), b.Bucket(keySettings), g.now.Unix()}
	stored, err := h.compare(z, u.Writes)
	if err != nil {
		return store.Receipt{}, err
	}
	changes := make([]store.Change[zone.Host], 0, len(u.Writes))
	for i, w := range u.Writes {
		key := []byte(w.Host.Name.Relative(h.origin))
		switch w.Op {
		case store.Refresh:
			if z.second > stored[i].seen {
				g.put(z.hosts, key, appendHost(nil, stored[i].State, z.second))
			}
		case store.Put:
			changes = append(changes, z.set(key, w, stored[i].State, u.By))
		case store.Delete:
			changes = append(changes, z.remove(key, w.Host.Name, stored[i].State))
		}
	}
	r := store.Receipt{Time: time.Unix(z.second, 0)}
	if len(changes) > 0 {
		log.meta.serial = zone.NextSerial(log.meta.serial, u.Served, g.now)
		r.Position = log.commit(changes)
	}
	return r, nil
}

// stored is what the file has of a host, the zero value when it has none.
type stored struct {
	zone.State
	seen int64
}

// compare reads the hosts of writes and refuses those that have moved on.
func (h *hosts) compare(z *zoneGroup, writes []store.Write) ([]stored, error) {
	all := make([]stored, len(writes))
	var differ []zone.Host
	for i, w := range writes {
		if v := z.hosts.Get([]byte(w.Host.Name.Relative(h.origin))); v != nil {
			var err error
			if all[i].State, all[i].seen, err = parseHost(v); err != nil {
				return nil, h.store.damaged(fmt.Errorf("%s: %w", w.Host.Name, err))
			}
		}
		if all[i].Revision != w.Host.Revision {
			differ = append(differ, zone.Host{Name: w.Host.Name, State: all[i].State})
		}
	}
	if differ != nil {
		return nil, &store.Conflict{Current: differ}
	}
	return all, nil
}

// set writes the state of a host whose state was old.
func (z *zoneGroup) set(key []byte, w store.Write, old zone.State, by store.Author) store.Change[zone.Host] {
	st := w.Host.State
	st.Revision = z.log.meta.revision + 1
	st.Flags = st.Flags&^zone.HasSettings | old.Flags&zone.HasSettings
	if w.Settings != nil {
		if *w.Settings == (store.Settings{}) {
			st.Flags &^= zone.HasSettings
			z.delete(z.settings, key)
		} else if text, err := json.Marshal(w.Settings); err == nil {
			st.Flags |= zone.HasSettings
			z.put(z.settings, key, text)
		}
	}
	z.put(z.hosts, key, appendHost(nil, st, z.second))
	past := store.Past{Time: z.now, By: by, State: st}
	z.put(z.history, key, prependPast(z.history.Get(key), past))
	return store.Change[zone.Host]{Value: zone.Host{Name: w.Host.Name, State: st}}
}

// remove deletes a host whose state was old.
func (z *zoneGroup) remove(key []byte, name zone.Name, old zone.State) store.Change[zone.Host] {
	z.delete(z.hosts, key)
	z.delete(z.history, key)
	if old.Flags&zone.HasSettings != 0 {
		z.delete(z.settings, key)
	}
	gone := zone.Host{Name: name, State: zone.State{Revision: z.log.meta.revision + 1}}
	return store.Change[zone.Host]{Value: gone, Deleted: true}
}
