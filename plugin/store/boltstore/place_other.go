//go:build !linux

package boltstore

import "io/fs"

func isAt(string, fs.FileInfo) bool { return false }
