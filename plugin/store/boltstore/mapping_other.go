//go:build !linux

package boltstore

import (
	"math"

	"go.etcd.io/bbolt"
)

func mappable(int) bool { return true }

func addressSpace() (octets int, limited bool) { return math.MaxInt, false }

func readAhead(*bbolt.DB, int) {}
