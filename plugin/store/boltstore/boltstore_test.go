package boltstore

import (
	"path/filepath"
	"testing"

	"github.com/coredns-ddns/ddns/plugin/store"
	"github.com/coredns-ddns/ddns/plugin/store/storetest"
)

func TestStore(t *testing.T) {
	storetest.Run(t, func(t *testing.T) func() store.Store {
		path := filepath.Join(t.TempDir(), "ddns.db")
		return func() store.Store { return open(t, path) }
	})
}

// open opens a store that its test closes.
func open(t testing.TB, path string, options ...Option) *Store {
	t.Helper()
	s, err := Open(path, options...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}
