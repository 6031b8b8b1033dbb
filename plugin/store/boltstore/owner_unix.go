//go:build unix

package boltstore

import (
	"fmt"
	"io/fs"
	"syscall"
)

// owner tells whose file it is, for an error.
func owner(info fs.FileInfo) string {
	if info == nil {
		return ""
	}
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return fmt.Sprintf("it belongs to user %d with mode %04o, ", st.Uid, info.Mode().Perm())
	}
	return ""
}
