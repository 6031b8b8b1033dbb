package index

import (
	"math/bits"
	"sync/atomic"
)

// A reference counts words, so 32 bits reach 32 GiB of records. Chunks double
// until those of the small ones together span one large chunk; from then on all
// are large.
const (
	smallestBits = 9  // 4 KiB
	largestBits  = 21 // 16 MiB
	smallChunks  = largestBits - smallestBits + 1
	firstRef     = 8                                     // keeps records of 64 bytes within a cache line
	maxChunks    = smallChunks + 1<<(32-largestBits) - 2 // the end is a reference, too
)

// arena hands out places. It never moves one and never gives memory back, for
// readers may come late; a released place waits for a record of its size.
type arena struct {
	chunks atomic.Pointer[[]chunk]
	next   uint32 // the first word never handed out, 0 before the first chunk
	end    uint32 // of the newest chunk
	free   [wordName + (maxKey+wordBytes-1)/wordBytes + 1]uint32
}

type chunk struct {
	base  uint32 // the reference of its first word
	words []uint64
	mem   *block
}

// at is the place that ref refers to. It reaches to the chunk's end.
func (a *arena) at(ref uint32) place {
	c := &(*a.chunks.Load())[chunkOf(ref)]
	return c.words[ref-c.base:]
}

func chunkOf(ref uint32) int {
	if ref < 1<<largestBits {
		return bits.Len32(ref >> smallestBits)
	}
	return smallChunks - 1 + int(ref>>largestBits)
}

// take hands out a place for a name of so many octets.
func (a *arena) take(nameLen int) uint32 {
	size := recordWords(nameLen)
	if ref := a.free[size]; ref != 0 {
		a.free[size] = uint32(a.at(ref)[wordRevision])
		return ref
	}
	if uint64(a.next)+uint64(size) > uint64(a.end) {
		a.grow()
	}
	ref := a.next
	a.next += uint32(size)
	return ref
}

// release takes back the place of a record that is in no table any more.
func (a *arena) release(ref uint32) {
	p := a.at(ref)
	size := recordWords(int(p[wordHead] & headLength))
	p.release(a.free[size])
	a.free[size] = ref
}

func (a *arena) grow() {
	var chunks []chunk
	if old := a.chunks.Load(); old != nil {
		chunks = *old
	}
	n := len(chunks)
	if n == maxChunks {
		panic("index: more than 32 GiB of names")
	}
	size := 1 << (smallestBits + min(max(n-1, 0), largestBits-smallestBits))
	mem := newBlock(size)
	c := chunk{words: mem.words, mem: mem}
	if n > 0 {
		last := chunks[n-1]
		c.base = last.base + uint32(len(last.words))
	}
	grown := append(chunks[:n:n], c)
	a.chunks.Store(&grown)
	a.next, a.end = max(c.base, firstRef), c.base+uint32(size)
}

// places yields every place handed out before it began.
func (a *arena) places(yield func(place) bool) {
	chunks := a.chunks.Load()
	if chunks == nil {
		return
	}
	for _, c := range *chunks {
		words := c.words
		if c.base == 0 {
			words = words[firstRef:]
		}
		for len(words) >= wordName {
			p := place(words)
			head := p.load(wordHead)
			if head == 0 { // never written
				break
			}
			if !yield(p) {
				return
			}
			words = words[recordWords(int(head&headLength)):]
		}
	}
}

func (a *arena) bytes() int {
	n := 0
	if chunks := a.chunks.Load(); chunks != nil {
		for _, c := range *chunks {
			n += len(c.words) * wordBytes
		}
	}
	return n
}
