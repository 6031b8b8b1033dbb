package ddns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/coredns/coredns/core/dnsserver"

	"github.com/coredns-ddns/ddns/plugin/replica"
	"github.com/coredns-ddns/ddns/plugin/store"
	"github.com/coredns-ddns/ddns/plugin/zone"
	"github.com/coredns-ddns/ddns/updateapi"
)

// node is all that one CoreDNS instance, one reading of a Corefile, runs of us.
// It is prepared when the instance starts, serves when the instance runs, and is
// closed when the instance ends. A start that fails lets go of it.
type node struct {
	blocks    []*block
	listeners []*listener
	sockets   []func() // release the listeners
	releases  []func() // release the rest of what is held, in the order of holding
	before    *node    // closed already, and released when this one serves
}

// block is one ddns block.
type block struct {
	*config
	handler *DDNS
	server  *dnsserver.Config
}

// What outlives an instance: stores, copies and sockets go on through a reload
// that still wants them.
var (
	stores    shares[store.Store]
	zones     shares[*replica.Zone]
	tokens    shares[*replica.Tokens]
	listeners shares[*updateapi.Listener]

	serving atomic.Pointer[node] // whose instance runs
	pending *node                // prepared, its instance does not run yet
)

// firstSnapshot is how long a start waits for the snapshots, so that a node whose
// store is there never answers SERVFAIL.
const firstSnapshot = 10 * time.Second

// add makes b part of the node, if it agrees with the blocks before it.
func (n *node) add(b *block) error {
	if b.update != nil {
		l, err := n.listener(b)
		if err != nil {
			return err
		}
		if err := l.add(b); err != nil {
			return err
		}
	}
	n.blocks = append(n.blocks, b)
	return nil
}

// listener finds the update listener that b names, or makes it.
func (n *node) listener(b *block) (*listener, error) {
	for _, l := range n.listeners {
		if l.addr != b.update.addr {
			continue
		}
		if given := b.update.settings; len(given) > 0 {
			return nil, fmt.Errorf("%s: given for %s, whose settings are those of %s; only update %s is wanted here",
				given[0], l.addr, l.where, l.addr)
		}
		return l, nil
	}
	if b.update.tls.mode == tlsBlock && b.server.TLSConfig == nil {
		return nil, fmt.Errorf("tls: nothing given for %s, and the server block has no tls either; "+
			"CERT KEY, internal or off is wanted", b.update.addr)
	}
	l := &listener{updateConfig: b.update}
	n.listeners = append(n.listeners, l)
	return l, nil
}

// prepare opens what the node needs. What an older instance holds too is shared
// with it.
func (n *node) prepare() (err error) {
	letGo()
	defer func() {
		if err != nil {
			n.release()
		}
	}()
	// Sockets first: where they cannot be had, no file is made.
	for _, l := range n.listeners {
		if err := n.listen(l); err != nil {
			return fmt.Errorf("ddns: %w", err)
		}
	}
	for _, b := range n.blocks {
		if err := n.open(b); err != nil {
			return fmt.Errorf("ddns: %w", err)
		}
	}
	for _, l := range n.listeners {
		if err := l.prepare(n.reserved); err != nil {
			return fmt.Errorf("ddns: %w", err)
		}
		n.reserve(l)
	}
	n.awaitSnapshots()
	pending = n
	return nil
}

// letGo releases what was prepared for an instance that did not come to run.
func letGo() error {
	if pending != nil {
		pending.release()
		pending = nil
	}
	return nil
}

// serve puts the node in the place of the one before.
func (n *node) serve() {
	pending = nil
	serving.Store(n)
	for _, l := range n.listeners {
		l.share.Use(l.served)
	}
	if n.before != nil {
		n.before.release()
		n.before = nil
	}
}

// close ends the node with its instance. On a reload its listeners go on until
// the next node has taken them over, and so does what they write to.
func (n *node) close() error {
	if pending != nil && pending != n {
		pending.before = n
		return nil
	}
	serving.CompareAndSwap(n, nil)
	n.release()
	return nil
}

// release lets go of all that n holds: first of the listeners, so that requests
// under way end while there is a store to write to.
func (n *node) release() {
	for _, release := range n.sockets {
		release()
	}
	for _, l := range n.listeners {
		l.served.Drain()
	}
	for _, release := range slices.Backward(n.releases) {
		release()
	}
	n.sockets, n.releases = nil, nil
}

// held notes in releases what has to be released.
func held[T any](releases *[]func(), s *shares[T], key string, open func() (T, func(), error)) (T, error) {
	v, release, err := s.hold(key, open)
	if err == nil {
		*releases = append(*releases, release)
	}
	return v, err
}

// open opens a block's store and follows its zones.
func (n *node) open(b *block) error {
	key, open, err := b.store.open()
	if err != nil {
		return err
	}
	st, err := held(&n.releases, &stores, key, func() (store.Store, func(), error) {
		st, err := open()
		if err != nil {
			return nil, nil, err
		}
		return st, func() { closeStore(st) }, nil
	})
	if err != nil {
		return err
	}
	b.handler.zones = make(map[string]*servedZone)
	var listed []*updateapi.Zone
	for _, origin := range b.zones {
		hosts, err := st.Hosts(context.Background(), origin)
		if err != nil {
			return fmt.Errorf("%s: %w", origin, err)
		}
		copied, err := held(&n.releases, &zones, key+"|"+string(origin), func() (*replica.Zone, func(), error) {
			z := replica.FollowZone(origin, hosts, tell("Zone "+string(origin)))
			return z, z.Close, nil
		})
		if err != nil {
			return err
		}
		b.handler.names = append(b.handler.names, string(origin))
		b.handler.zones[string(origin)] = newServedZone(b.apex(origin), copied)
		listed = append(listed, &updateapi.Zone{Origin: origin, Hosts: hosts, Copy: copied})
	}
	if b.update == nil {
		return nil
	}
	return n.offer(b, key, st, listed)
}

func closeStore(st store.Store) {
	if err := st.Close(); err != nil {
		log.Errorf("Closing the store: %v", err)
	}
}

// offer lets the block's listener update its zones.
func (n *node) offer(b *block, key string, st store.Store, zones []*updateapi.Zone) error {
	kept, err := st.Tokens(context.Background())
	if err != nil {
		return err
	}
	known, err := held(&n.releases, &tokens, key, func() (*replica.Tokens, func(), error) {
		t := replica.FollowTokens(kept, tell("Tokens of "+b.store.String()))
		return t, t.Close, nil
	})
	if err != nil {
		return err
	}
	l := n.listeners[slices.IndexFunc(n.listeners, func(l *listener) bool { return l.addr == b.update.addr })]
	l.offer(&updateapi.Realm{Name: b.store.String(), Store: st, Tokens: kept, Known: known}, zones)
	return nil
}

func (b *block) apex(origin zone.Name) zone.Apex {
	mbox := b.mbox
	if mbox == "" {
		mbox = "hostmaster." + origin
	}
	return zone.Apex{Origin: origin, NS: b.ns, Mbox: mbox, TTL: uint32(b.ttl / time.Second)}
}

// listen opens a listener's socket, unless an older instance has it open.
func (n *node) listen(l *listener) error {
	share, err := held(&n.sockets, &listeners, l.addr, func() (*updateapi.Listener, func(), error) {
		ln, err := net.Listen("tcp", l.addr)
		if err != nil {
			return nil, nil, fmt.Errorf("update %s: %w; an address of this machine and a port that is free and may be used are wanted", l.addr, err)
		}
		share := updateapi.NewListener(ln, func(err error) { log.Errorf("update %s: %v", l.addr, err) })
		return share, func() {
			if err := share.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
				log.Errorf("Closing the update listener %s: %v", l.addr, err)
			}
		}, nil
	})
	l.share = share
	return err
}

// reserved lists the names that only a literal grant reaches, beside the apexes:
// all name servers, and all listeners by the certificates that they have now.
func (n *node) reserved() []zone.Name {
	var names []zone.Name
	for _, b := range n.blocks {
		for _, s := range b.ns {
			names = append(names, s.Name)
		}
	}
	for _, l := range n.listeners {
		names = append(names, l.ownNames()...)
	}
	return names
}

// reserve keeps wildcards of all zones from answering for l's own names.
func (n *node) reserve(l *listener) {
	if names := l.ownNames(); !loopback(l.host) && !slices.ContainsFunc(names, func(name zone.Name) bool { return strings.Count(string(name), ".") > 1 }) {
		log.Warningf("update %s: neither the address nor the certificate tells by which name devices reach it; "+
			"give that name after the address, so that no grant of a subtree reaches it", l.addr)
	}
	for _, b := range n.blocks {
		for _, z := range b.handler.zones {
			z.reserve(l.ownNames())
		}
	}
}

func (n *node) awaitSnapshots() {
	end := time.Now().Add(firstSnapshot)
	for _, b := range n.blocks {
		for origin, z := range b.handler.zones {
			if !settled(z.copy, end) {
				log.Warningf("Zone %s is not loaded yet and answers SERVFAIL", origin)
			}
		}
	}
	for _, l := range n.listeners {
		for _, r := range l.realms {
			settled(r.Known, end) // until then updates are told 911
		}
	}
}

// settled waits until a copy is ready, and says so, or is known to have failed.
func settled(c updateapi.Copy, end time.Time) bool {
	for {
		if c.Ready() {
			return true
		}
		if _, err := c.Lag(time.Now()); err != nil || time.Now().After(end) {
			return false
		}
		time.Sleep(time.Millisecond)
	}
}

// tell logs that something cannot be followed, and that it can again.
func tell(what string) func(error) {
	return func(err error) {
		switch {
		case err == nil:
			log.Infof("%s: follows the store again", what)
		default:
			log.Errorf("%s: cannot follow the store; DNS answers what is in memory, updates are told 911: %v", what, err)
		}
	}
}
