//go:build !unix

package boltstore

import "io/fs"

func owner(fs.FileInfo) string { return "" }
