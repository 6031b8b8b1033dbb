package index

import (
	"math/bits"
	"runtime"
	"sync/atomic"
	"unsafe"
)

// A name's shard is the top bits of its hash. Each shard grows alone, so that a
// writer pauses for a small part of the index only: at 10,000,000 hosts a table
// has some 4 MiB.
const (
	shardBits = 5
	shards    = 1 << shardBits
)

// A table is buckets of one cache line each. The first word of a bucket holds a
// tag, eight bits of the hash, for each of the seven slots after it, 0 for a free
// one, and in its lowest octet the overflow: how many names passed by the bucket
// because it was full. So the usual miss is decided by one word, the usual hit
// looks at one slot, and no branch depends on how long a chain is: processors
// cannot guess that, and then would not go on to the next lookup while they
// wait for memory.
const (
	bucketWords = 8
	bucketSlots = bucketWords - 1
	tagBits     = 8
	overflow    = 0xff
	everyTag    = 0x01_01_01_01_01_01_01_00 // times a tag: that tag in each place
	tagTops     = everyTag << (tagBits - 1)
)

const indexBytes = int(unsafe.Sizeof(Index{}))

// table is a shard's hash table. A name is in the first bucket from its home on
// that had a free slot, and stays in its slot for as long as the table is in use.
// A slot is the fragment of the name's hash << 32 | the reference of its record.
type table struct {
	words []uint64
	mem   *block
}

type bucket [bucketWords]uint64

// fragment is what a table is told of a hash.
func fragment(hash uint64) uint32 { return uint32(hash) }

func tagOf(frag uint32) uint64 { return max(uint64(frag&0xff), 1) }

// home is where the bucket begins that the search for a fragment begins with. It
// grows with the fragment, so that a larger table is filled front to back.
func (t *table) home(frag uint32) int {
	return int(uint64(frag)*uint64(len(t.words)/bucketWords)>>32) * bucketWords
}

// next is where the bucket after the one at begins.
func (t *table) next(at int) int {
	if at += bucketWords; at < len(t.words) {
		return at
	}
	return 0
}

func (t *table) bucket(at int) *bucket { return (*bucket)(t.words[at:]) }

// capacity is how many names a table takes before it gets too full.
func (t *table) capacity() int { return len(t.words) / bucketWords * bucketSlots * 3 / 4 }

// add gives the first free slot from home on to a name. Readers may be there.
func (t *table) add(frag, ref uint32) {
	for at := t.home(frag); ; at = t.next(at) {
		b := t.bucket(at)
		for i := 1; i <= bucketSlots; i++ {
			if b[0]>>(i*tagBits)&0xff == 0 {
				atomic.StoreUint64(&b[i], uint64(frag)<<32|uint64(ref))
				atomic.StoreUint64(&b[0], b[0]|tagOf(frag)<<(i*tagBits))
				return
			}
		}
		b.pass(+1)
	}
}

// remove frees the slot that is word at of the table.
func (t *table) remove(at int) {
	b := t.bucket(at - at%bucketWords)
	frag := uint32(t.words[at] >> 32)
	atomic.StoreUint64(&b[0], b[0]&^(0xff<<(at%bucketWords*tagBits)))
	for by := t.home(frag); t.bucket(by) != b; by = t.next(by) {
		t.bucket(by).pass(-1)
	}
}

// pass counts the names that passed by. Once it has lost count it stays there.
func (b *bucket) pass(n int) {
	if b[0]&overflow != overflow {
		atomic.StoreUint64(&b[0], b[0]+uint64(n))
	}
}

// match has the top bit of each octet set whose slot may be of the tag. Above
// such an octet it may be wrong.
func match(tags, tag uint64) uint64 {
	differ := tags ^ tag*everyTag
	return (differ - everyTag) &^ differ & tagTops
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

// search returns which word of t is the slot of key, and copies the record into
// r, or returns -1 and leaves r in disorder.
func (x *Index) search(t *table, frag uint32, key []byte, r *record) int {
	home := t.home(frag)
	for at := home; ; {
		b := t.bucket(at)
		tags := atomic.LoadUint64(&b[0])
		for m := match(tags, tagOf(frag)); m != 0; m &= m - 1 {
			i := bits.TrailingZeros64(m) / tagBits % bucketWords
			slot := atomic.LoadUint64(&b[i])
			if uint32(slot>>32) == frag && x.arena.at(uint32(slot)).read(key, r) {
				return at + i
			}
		}
		if tags&overflow == 0 {
			return -1
		}
		if at = t.next(at); at == home {
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
	return uint32(x.tables[e.shard].Load().words[e.slot])
}

// link puts the name of e, which has no slot yet, into its shard's table.
func (x *Index) link(e entry, ref uint32) {
	t := x.tables[e.shard].Load()
	if t == nil || x.names[e.shard] >= t.capacity() {
		t = x.rebuild(e.shard)
	}
	x.names[e.shard]++
	t.add(e.frag, ref)
}

// unlink takes the name of e out of its shard's table.
func (x *Index) unlink(e entry) {
	t := x.tables[e.shard].Load()
	t.remove(e.slot)
	x.names[e.shard]--
	if len(t.words) > bucketWords && x.names[e.shard]*8 < t.capacity() {
		x.rebuild(e.shard)
	}
}

// rebuild gives a shard a table that is half full, be it larger or smaller.
// Readers go on in the old one until they find that it has been replaced.
func (x *Index) rebuild(shard int) *table {
	mem := newBlock((2*x.names[shard]/bucketSlots + 1) * bucketWords)
	t := &table{words: mem.words, mem: mem}
	old := x.tables[shard].Load()
	if old != nil {
		for at := 0; at < len(old.words); at += bucketWords {
			for i, slot := range old.bucket(at) {
				if i > 0 && old.words[at]>>(i*tagBits)&0xff != 0 {
					t.add(uint32(slot>>32), uint32(slot))
				}
			}
		}
	}
	x.tables[shard].Store(t)
	if old != nil {
		old.mem.discard()
	}
	return t
}
