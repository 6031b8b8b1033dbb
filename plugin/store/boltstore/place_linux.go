package boltstore

import (
	"io/fs"
	"syscall"

	"golang.org/x/sys/unix"
)

// isAt says whether file is sure to be what path names. Unlike os.Stat it does
// not ask for times: a file whose times were looked at (Linux 6.13 and later)
// gets new ones at its next write, and to keep those took an update a sixth
// longer.
func isAt(path string, file fs.FileInfo) bool {
	var at unix.Statx_t
	st, ok := file.Sys().(*syscall.Stat_t)
	return ok && unix.Statx(unix.AT_FDCWD, path, 0, unix.STATX_INO, &at) == nil &&
		at.Mask&unix.STATX_INO != 0 && at.Ino == st.Ino && unix.Mkdev(at.Dev_major, at.Dev_minor) == uint64(st.Dev)
}
