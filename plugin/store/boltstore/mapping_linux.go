package boltstore

import (
	"math"

	"go.etcd.io/bbolt"
	"golang.org/x/sys/unix"
)

// mappable says whether so many octets of address space are to be had.
func mappable(octets int) bool {
	mem, err := unix.Mmap(-1, 0, octets, unix.PROT_NONE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err == nil {
		err = unix.Munmap(mem)
	}
	return err == nil
}

// addressSpace is how many octets this process may map, and whether that is
// limited at all.
func addressSpace() (octets int, limited bool) {
	var l unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_AS, &l); err != nil || l.Cur >= math.MaxInt {
		return math.MaxInt, false
	}
	return int(l.Cur), true
}

// readAhead undoes that bbolt asks the kernel to read no page but the one asked
// for: a snapshot of a million hosts from a disk not yet cached takes 0.5 s
// instead of 2.5 s. It is advice, so that failing does not matter.
func readAhead(db *bbolt.DB, octets int) {
	_, _, _ = unix.Syscall(unix.SYS_MADVISE, db.Info().Data, uintptr(octets), unix.MADV_NORMAL)
}
