package redisstore

import (
	"testing"

	"github.com/coredns-ddns/ddns/plugin/store"
	"github.com/coredns-ddns/ddns/plugin/store/storetest"
)

// conform runs the suite on a store whose zones exist.
func conform(t *testing.T, c Config) {
	storetest.Run(t, func(t *testing.T) func() store.Store {
		c := c
		c.Prefix = config(t, "redis://unused").Prefix
		s := open(t, c)
		if _, err := s.Init(t.Context(), origin, "example.org."); err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		return func() store.Store { return open(t, c) }
	})
}

func TestStore(t *testing.T) {
	conform(t, config(t, startRedis(t).url()))
}
