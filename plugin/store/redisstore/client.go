package redisstore

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/coredns-ddns/ddns/plugin/store"
)

const (
	// patience bounds a call, waiting for replicas aside.
	patience = 2 * time.Second
	// oneTry bounds each reply within it, so that a connection whose other end
	// has vanished leaves time for another one.
	oneTry = time.Second
	tries  = 6
	// longest is how long Follow and Snapshot wait for a reply.
	longest = 10 * time.Second
	// block is how long Redis holds a poll of Follow. Never for ever: FLUSHALL
	// does not wake who waits for a stream.
	block = time.Second
)

type use int

const (
	short use = iota
	long
)

// clients finds the server that is asked about a key.
type clients struct {
	redis.UniversalClient
	master  *redis.Client        // unless it is a Cluster
	cluster *redis.ClusterClient // when it is one
}

// connect makes the clients for one use. They never repeat a command on their
// own: go-redis does so silently, and a follower would not notice that its
// connection was another.
func connect(c *Config, u use) *clients {
	read, size := oneTry+c.waitTimeout(), 64
	if u == long {
		read, size = longest, 4096 // a Follow holds its connection; none shall starve another
	}
	secure := c.TLS
	if secure != nil {
		secure = secure.Clone()
	}
	o := &redis.UniversalOptions{
		// go-redis appends to Addrs.
		Addrs: slices.Clone(c.Addrs), DB: c.DB, Username: c.User, Password: c.Password, TLSConfig: secure,
		MasterName: c.Master, SentinelUsername: c.SentinelUser, SentinelPassword: c.SentinelPassword,
		IsClusterMode: c.Cluster, Protocol: 2, DisableIdentity: true,
		MaxRetries: -1, MaxRedirects: -1, DialerRetries: 1, DialTimeout: oneTry,
		ReadTimeout: read, WriteTimeout: oneTry, ContextTimeoutEnabled: true,
		PoolSize: size, PoolTimeout: patience,
	}
	if c.Unix {
		o.Dialer = func(ctx context.Context, _, path string) (net.Conn, error) {
			return (&net.Dialer{Timeout: oneTry}).DialContext(ctx, "unix", path)
		}
	}
	switch {
	case c.Master != "":
		m := redis.NewFailoverClient(o.Failover())
		return &clients{UniversalClient: m, master: m}
	case c.Cluster:
		m := redis.NewClusterClient(o.Cluster())
		return &clients{UniversalClient: m, cluster: m}
	default:
		m := redis.NewClient(o.Simple())
		return &clients{UniversalClient: m, master: m}
	}
}

// of is the client of the server that writes key.
func (c *clients) of(ctx context.Context, key string) (*redis.Client, error) {
	if c.cluster == nil {
		return c.master, nil
	}
	return c.cluster.MasterForKey(ctx, key)
}

// reload has a Cluster's map of slots read again.
func (c *clients) reload(ctx context.Context) {
	if c.cluster != nil {
		c.cluster.ReloadState(ctx)
	}
}

// do runs a short step on the server that writes key, again where that may
// help, until patience ends. doubtful says, with any error, that an earlier try
// may have reached Redis.
func (s *Store) do(ctx context.Context, key string, step func(ctx context.Context, c *redis.Client, doubtful bool) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	ctx, cancel := context.WithTimeout(ctx, patience+s.config.waitTimeout())
	defer cancel()
	doubtful := false
	pause := 10 * time.Millisecond
	for n := 1; ; n++ {
		c, err := s.update.of(ctx, key)
		if err == nil {
			err = step(ctx, c, doubtful)
		}
		what := classify(err)
		if what == final || n == tries {
			return s.failure(err)
		}
		if what == moved {
			s.update.reload(ctx)
		}
		doubtful = doubtful || what == doubt
		select {
		case <-time.After(rand.N(pause)): // full jitter
			pause *= 2
		case <-ctx.Done():
			return s.failure(err)
		case <-s.closing:
			return s.failure(err)
		}
	}
}

type outcome int

const (
	final  outcome = iota // the answer, or an error that stays
	moved                 // not done here: another server may
	notyet                // not done: Redis is busy with itself
	doubt                 // may have been done
)

// classify says what an error of a step means for another try.
func classify(err error) outcome {
	var answer redis.Error
	var dial *net.OpError
	switch {
	case err == nil, errors.Is(err, store.ErrUnavailable), errors.Is(err, store.ErrConflict),
		errors.Is(err, store.ErrNotFound), errors.Is(err, store.ErrInvalid), errors.Is(err, redis.ErrClosed):
		return final
	case errors.As(err, &answer):
		word, _, _ := strings.Cut(strings.TrimPrefix(err.Error(), "ERR "), " ")
		switch word {
		case "MOVED", "ASK", "READONLY", "CLUSTERDOWN":
			return moved
		case "Error": // before Redis 7 a script's error is wrapped
			if strings.Contains(err.Error(), "READONLY ") {
				return moved
			}
		case "TRYAGAIN", "LOADING", "MASTERDOWN", "BUSY", "max":
			return notyet
		}
		return final
	case errors.As(err, &dial) && dial.Op == "dial", errors.Is(err, redis.ErrPoolTimeout):
		return moved
	}
	return doubt
}

// failure makes an error of a client one of the contract's.
func (s *Store) failure(err error) error {
	var certificate *tls.CertificateVerificationError
	switch {
	case err == nil:
		return nil
	case errors.Is(err, store.ErrUnavailable), errors.Is(err, store.ErrConflict), errors.Is(err, store.ErrNotFound),
		errors.Is(err, store.ErrInvalid), errors.Is(err, store.ErrClosed), errors.Is(err, store.ErrGap):
		return err
	case errors.Is(err, redis.ErrClosed):
		return store.ErrClosed
	case errors.As(err, &certificate):
		return fmt.Errorf("%w: %v: its certificate: %w", store.ErrUnavailable, s.config, err)
	// Whoever has not authenticated may not even ask for more than a few words.
	case redis.IsAuthError(err), redis.HasErrorPrefix(err, "ERR Protocol error: unauthenticated"):
		return fmt.Errorf("%w: %v: wants other credentials than those given: %w", store.ErrUnavailable, s.config, err)
	}
	return fmt.Errorf("%w: %v: %w", store.ErrUnavailable, s.config, err)
}
