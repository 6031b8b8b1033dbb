// Package index holds the names and states of a zone's hosts in memory; DNS
// answers from it.
//
// It guarantees that
//
//   - a reader never waits for a writer longer than the few stores of one
//     entry, also while the index grows, and sees each state whole;
//   - a name that exists all the time is found all the time, and an ancestor of
//     a name exists for as long as the name does (RFC 8020);
//   - reading allocates nothing;
//   - what is kept per host is out of the garbage collector's sight: it neither
//     walks it nor counts it as heap (but for small zones, which are on the Go
//     heap, as everything is on systems other than Linux).
//
// Names are keys: wire format, lower case, relative to the zone and without the
// root label, as [zone.Name.Key] and [zone.AppendKey] make them. The empty key
// is the apex.
package index

import (
	"fmt"
	"hash/maphash"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/coredns-ddns/ddns/plugin/zone"
)

// maxKey is the length of the longest key in octets: a name of 255 octets
// (RFC 1035, 3.1) less the root label.
const maxKey = 254

// Index maps names to states. Any number of goroutines may read it while
// others change it; changes are made one after the other. Its memory goes back
// to the system when the garbage collector finds the Index unreachable, so that
// no reader can be left without it.
type Index struct {
	seed   maphash.Seed
	tables [shards]atomic.Pointer[table] // nil: no name in the shard
	arena  arena

	hosts     atomic.Int64
	wildcards atomic.Int64 // names whose first label is '*', and hosts with zone.Wildcard

	mu    sync.Mutex  // serialises writers
	names [shards]int // hosts and empty non-terminals, by shard
}

// New makes an empty index.
func New() *Index {
	return &Index{seed: maphash.MakeSeed()}
}

// Set inserts the host key or replaces its state. A must be an IPv4 address or
// not set, AAAA an IPv6 address without a zone or not set. It panics when key
// is longer than a name can be.
func (x *Index) Set(key []byte, st zone.State) {
	if len(key) > maxKey {
		panic(fmt.Sprintf("index: a key of %d octets, want at most %d", len(key), maxKey))
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	r := hostRecord(st)
	e := x.find(key)
	if !e.exists() {
		x.raiseAncestors(key)
		x.insert(e, key, r)
		x.hosts.Add(1)
		return
	}
	if !e.record.isHost() {
		x.raiseAncestors(key)
		x.hosts.Add(1)
	}
	r.below = e.record.below
	x.replace(e, key, r)
}

// Delete removes the host key and says whether there was one.
func (x *Index) Delete(key []byte) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	e := x.find(key)
	if !e.exists() || !e.record.isHost() {
		return false
	}
	if e.record.below > 0 {
		x.replace(e, key, record{below: e.record.below})
	} else {
		x.remove(e, key)
	}
	x.hosts.Add(-1)
	x.lowerAncestors(key)
	return true
}

// Get is the state of the host of exactly this name. It reports false for an
// empty non-terminal and never looks for a wildcard.
func (x *Index) Get(key []byte) (st zone.State, ok bool) {
	var r record
	if x.read(key, &r) && r.isHost() {
		r.fill(&st)
		return st, true
	}
	return st, false
}

// Hosts is the number of hosts.
func (x *Index) Hosts() int { return int(x.hosts.Load()) }

// Below is the number of hosts below key at any depth, without key itself.
func (x *Index) Below(key []byte) int {
	var r record
	exists := x.read(key, &r)
	if len(key) > 0 {
		return int(r.below)
	}
	n := x.Hosts()
	if exists {
		n--
	}
	return n
}

// All yields hosts with their states until yield returns false. A host that
// exists all the time is yielded exactly once, one that comes, goes or comes
// back meanwhile any number of times. The key is valid during the call only.
// Nobody waits for an All, and yield may change the index.
func (x *Index) All(yield func(key []byte, st zone.State) bool) {
	var name [maxKey + 2]byte
	for p := range x.arena.places {
		var r record
		key := p.readAny(&r, &name)
		if !r.isHost() {
			continue
		}
		var st zone.State
		if r.fill(&st); !yield(key, st) {
			break
		}
	}
	runtime.KeepAlive(x)
}

// Bytes is the memory held, in bytes. What the system has not yet been made to
// give, at the end of the newest chunk of records, is counted as well.
func (x *Index) Bytes() int {
	x.mu.Lock()
	defer x.mu.Unlock()
	n := x.arena.bytes() + indexBytes
	for i := range x.tables {
		if t := x.tables[i].Load(); t != nil {
			n += len(t.words) * wordBytes
		}
	}
	return n
}

func (x *Index) hash(key []byte) uint64 { return maphash.Bytes(x.seed, key) }
