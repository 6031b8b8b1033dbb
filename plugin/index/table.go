package index

import (
	"runtime"
	"sync/atomic"
	"unsafe"
)

// A name's shard is the top bits of its hash. Each shard grows alone, so that a
// writer pauses for a small part of the index only: at 10,000,000 hosts a table
// has some 2 MiB.
const (
	shardBits = 6
	shards    = 1 << shardBits
)

// A slot is the low half of a name's hash << 32 | the reference of its record.
const (
	slotEmpty   = 0
	slotDeleted = 1 // the chain of a name further on may lead through it
	firstRef    = 8 // keeps records of 64 bytes within a cache line
)

const minSlots = 8

const indexBytes = int(unsafe.Sizeof(Index{}))

// table is a shard's open-addressing hash table with linear probing. A name
// stays in its slot for as long as the table is in use.
type table struct {
	slots []uint64
	mem   *block
}

// load is the writer's count of a shard's slots.
type load struct {
	live int
	used int // live and deleted
}

// fragment is the part of the hash that slots keep, never zero.
func fragment(hash uint64) uint32 { return max(uint32(hash), 1) }

// home is the slot where the search for a fragment begins. It grows with the
// fragment, so that a larger table is filled front to back.
func (t *table) home(frag uint32) int {
	return int(uint64(frag) * uint64(len(t.slots)) >> 32)
}

func (t *table) next(slot int) int {
	if slot++; slot < len(t.slots) {
		return slot
	}
	return 0
}

func (t *table) previous(slot int) int {
	if slot == 0 {
		return len(t.slots) - 1
	}
	return slot - 1
}

// read copies the record of key into r and says whether key exists. If not, r
// is zero.
func (x *Index) read(key []byte, r *record) bool {
	hash := x.hash(key)
	shard := &x.tables[hash>>(64-shardBits)]
	found := false
	for t := shard.Load(); t != nil && !found; {
		found = x.search(t, fragment(hash), key, r) >= 0
		// A table that was replaced meanwhile may have lost its memory.
		now := shard.Load()
		runtime.KeepAlive(t)
		if now == t {
			break
		}
		t = now
	}
	if !found {
		*r = record{}
	}
	runtime.KeepAlive(x)
	return found
}

// search returns the slot of key in t and copies its record into r, or returns
// -1 and leaves r in disorder.
func (x *Index) search(t *table, frag uint32, key []byte, r *record) int {
	for i := t.home(frag); ; i = t.next(i) {
		slot := atomic.LoadUint64(&t.slots[i])
		switch {
		case uint32(slot>>32) == frag:
			if x.arena.at(uint32(slot)).read(key, r) {
				return i
			}
		case slot == slotEmpty:
			return -1
		}
	}
}

// entry is where a name is, or would be: what a writer works on.
type entry struct {
	shard  int
	frag   uint32
	slot   int // -1: the name does not exist
	record record
}

func (e *entry) exists() bool { return e.slot >= 0 }

func (x *Index) find(key []byte) entry {
	hash := x.hash(key)
	e := entry{shard: int(hash >> (64 - shardBits)), frag: fragment(hash), slot: -1}
	if t := x.tables[e.shard].Load(); t != nil {
		e.slot = x.search(t, e.frag, key, &e.record)
	}
	return e
}

// reference is that of the record of an entry that exists.
func (x *Index) reference(e entry) uint32 {
	return uint32(x.tables[e.shard].Load().slots[e.slot])
}

// link puts the name of e, which has no slot yet, into its shard's table.
func (x *Index) link(e entry, ref uint32) {
	t, l := x.tables[e.shard].Load(), &x.loads[e.shard]
	if t == nil || (l.used+1)*4 > len(t.slots)*3 {
		t = x.rebuild(e.shard)
	}
	i := t.home(e.frag)
	for t.slots[i] > slotDeleted {
		i = t.next(i)
	}
	if t.slots[i] == slotEmpty {
		l.used++
	}
	l.live++
	atomic.StoreUint64(&t.slots[i], uint64(e.frag)<<32|uint64(ref))
}

// unlink takes the name of e out of its shard's table. Where no chain can lead
// on, slots become empty again at once.
func (x *Index) unlink(e entry) {
	t, l := x.tables[e.shard].Load(), &x.loads[e.shard]
	l.live--
	atomic.StoreUint64(&t.slots[e.slot], slotDeleted)
	if t.slots[t.next(e.slot)] == slotEmpty {
		for i := e.slot; t.slots[i] == slotDeleted; i = t.previous(i) {
			atomic.StoreUint64(&t.slots[i], slotEmpty)
			l.used--
		}
	}
	if len(t.slots) > minSlots && l.live*8 < len(t.slots) {
		x.rebuild(e.shard)
	}
}

// rebuild gives a shard a table that is half full, be it larger or smaller.
// Readers go on in the old one until they find that it has been replaced.
func (x *Index) rebuild(shard int) *table {
	old, l := x.tables[shard].Load(), &x.loads[shard]
	mem := newBlock(max(minSlots, 2*(l.live+1)))
	t := &table{slots: mem.words, mem: mem}
	if old != nil {
		for _, slot := range old.slots {
			if slot <= slotDeleted {
				continue
			}
			i := t.home(uint32(slot >> 32))
			for t.slots[i] != slotEmpty {
				i = t.next(i)
			}
			t.slots[i] = slot
		}
	}
	l.used = l.live
	x.tables[shard].Store(t)
	if old != nil {
		old.mem.discard()
	}
	return t
}
