package index

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

const hugePage = 2 << 20

// mapBlock maps anonymous memory, in whole huge pages where that is little
// more. It returns nil when the system refuses.
func mapBlock(words int) *block {
	size := words * wordBytes
	if size > hugePage*3/4 {
		size = (size + hugePage - 1) &^ (hugePage - 1)
	}
	mem, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return nil
	}
	if len(mem) >= hugePage {
		// A lookup among 10,000,000 hosts takes a third longer without. A kernel
		// that has none serves as well.
		_ = unix.Madvise(mem, unix.MADV_HUGEPAGE)
	}
	return &block{words: unsafe.Slice((*uint64)(unsafe.Pointer(&mem[0])), size/wordBytes), mapped: mem}
}

// Neither can fail on a range that Mmap returned.

func unmap(mem []byte)   { _ = unix.Munmap(mem) }
func discard(mem []byte) { _ = unix.Madvise(mem, unix.MADV_DONTNEED) }
