package index

import "runtime"

// mapFrom is the size in bytes from which memory comes from the system and not
// from the Go heap. Tests lower it.
var mapFrom = 64 << 10

// block is memory, zero at first. Who reads words must hold the block: when
// nobody does, they go back to where they came from.
type block struct {
	words  []uint64
	mapped []byte // the same memory, nil on the Go heap
}

// newBlock makes one of at least so many words.
func newBlock(words int) *block {
	if words*wordBytes >= mapFrom {
		if b := mapBlock(words); b != nil {
			runtime.AddCleanup(b, unmap, b.mapped)
			return b
		}
	}
	return &block{words: make([]uint64, words)}
}

// discard gives the memory back at once, leaving the addresses: whoever still
// reads may find zeroes.
func (b *block) discard() {
	if b.mapped != nil {
		discard(b.mapped)
	}
}
