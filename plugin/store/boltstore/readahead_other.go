//go:build !linux

package boltstore

import "go.etcd.io/bbolt"

func readAhead(*bbolt.DB) {}
