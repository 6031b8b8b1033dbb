package redisstore

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/coredns-ddns/ddns/plugin/store"
	"github.com/coredns-ddns/ddns/plugin/zone"
)

// findings bounds how much Check says.
const findings = 100

// Check reads all that Redis has of a zone, or of the Tokens, and says what is
// not as this package leaves it: a line each, at most some hundred. Changes
// made meanwhile are no findings.
func (s *Store) Check(ctx context.Context, name zone.Name) ([]string, error) {
	if err := s.ended(ctx); err != nil {
		return nil, err
	}
	var c *checker
	var err error
	if name == Tokens {
		c, err = check(ctx, &s.tokens.log, func(id, value string) (zone.Revision, bool, error) {
			t, err := parseToken(id, value)
			return t.Revision, false, err
		})
	} else {
		h := s.hosts(name)
		c, err = check(ctx, &h.log, func(name, value string) (zone.Revision, bool, error) {
			host, err := h.host(name, value)
			if n, bad := zone.ParseName(string(host.Name)); bad != nil || n != host.Name {
				err = errors.Join(err, bad, errors.New("no name of a host"))
			}
			return host.Revision, host.Flags&zone.HasSettings != 0, err
		})
	}
	if err != nil {
		return nil, s.failure(err)
	}
	return c.found, nil
}

// checker collects findings.
type checker struct {
	found     []string
	entries   int
	settings  int // entries that ought to have some
	highest   zone.Revision
	highestIs string
}

func (c *checker) say(format string, args ...any) {
	if len(c.found) < findings {
		c.found = append(c.found, fmt.Sprintf(format, args...))
	}
}

// check reads a log; read gives an entry's revision and whether it has settings.
func check[T any](ctx context.Context, l *log[T], read func(key, value string) (zone.Revision, bool, error)) (*checker, error) {
	conn, err := l.pin(ctx)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	c := &checker{}
	before, err := l.countBuckets(ctx, conn)
	if errors.Is(err, store.ErrLost) {
		c.say("%v", err)
		return c, nil
	}
	if err != nil {
		return nil, err
	}
	for b := 0; b < buckets; b += bucketsAtOnce {
		replies, err := l.readBuckets(ctx, conn, b)
		if err != nil {
			return nil, err
		}
		for i, cmd := range replies {
			c.bucket(l.kind, byte(b+i), cmd.Val(), read)
		}
	}
	after, err := l.countBuckets(ctx, conn)
	if err != nil {
		return nil, err
	}
	if c.highest > after.revision {
		c.say("%s has revision %d, the latest commit is %d", c.highestIs, c.highest, after.revision)
	}
	quiet := before.revision == after.revision
	return c, l.checkRest(ctx, conn, c, after, quiet)
}

// bucket looks at each entry of a bucket, as HGETALL has it.
func (c *checker) bucket(kind string, b byte, flat []string, read func(key, value string) (zone.Revision, bool, error)) {
	for i := 0; i+1 < len(flat); i += 2 {
		key := flat[i]
		c.entries++
		revision, settings, err := read(key, flat[i+1])
		if err != nil {
			c.say("%s in %s:%s: %v", key, kind, bucketName(b), err)
		}
		if bucket(key) != b {
			c.say("%s is in %s:%s, and belongs in %s", key, kind, bucketName(b), bucketName(bucket(key)))
		}
		if settings {
			c.settings++
		}
		if revision > c.highest {
			c.highest, c.highestIs = revision, key
		}
	}
}

// checkRest compares the feed's end, and in a log that nobody changed meanwhile
// the counts of what is kept beside the entries.
func (l *place) checkRest(ctx context.Context, conn *redis.Conn, c *checker, m meta, quiet bool) error {
	p := conn.Pipeline()
	count := p.HGet(ctx, l.key("meta"), "count")
	end := p.XRevRangeN(ctx, l.key("feed"), "+", "-", 1)
	seen := p.ZCard(ctx, l.key("seen"))
	var sizes [2][]*redis.IntCmd
	if l.tag != Tokens {
		for b := range buckets {
			sizes[0] = append(sizes[0], p.HLen(ctx, l.bucketKey("history", byte(b))))
			sizes[1] = append(sizes[1], p.HLen(ctx, l.bucketKey("settings", byte(b))))
		}
	}
	tail := l.queueMeta(ctx, p)
	if err := run(ctx, p); err != nil {
		return err
	}
	last, err := l.checkMeta(tail)
	if err != nil || !quiet || last.revision != m.revision {
		return err
	}
	if n, _ := strconv.Atoi(count.Val()); n != c.entries {
		c.say("%s holds %d entries, the meta counts %d", l.kind, c.entries, n)
	}
	if entries := end.Val(); len(entries) > 0 {
		nonce, _ := entries[0].Values["nonce"].(string)
		if entries[0].ID != strconv.FormatUint(uint64(m.revision), 10)+"-0" || nonce != m.nonce {
			c.say("the feed ends with %s, the latest commit is %d", entries[0].ID, m.revision)
		}
	}
	if l.tag == Tokens {
		return nil
	}
	for i, want := range []int{c.entries, c.settings} {
		got := 0
		for _, cmd := range sizes[i] {
			got += int(cmd.Val())
		}
		if got != want {
			c.say("%s holds %d entries, want %d", l.kinds()[1+i], got, want)
		}
	}
	if int(seen.Val()) != c.entries {
		c.say("seen holds %d entries, want %d", seen.Val(), c.entries)
	}
	return nil
}

// Warnings asks the server with a zone, or with the Tokens, for what endangers
// them: an old version, eviction, no persistence.
func (s *Store) Warnings(ctx context.Context, name zone.Name) (warnings []string, err error) {
	l := s.place(name)
	err = s.do(ctx, l.key("meta"), func(ctx context.Context, c *redis.Client, _ bool) error {
		p := c.Pipeline()
		server, memory, persistence := p.Info(ctx, "server"), p.Info(ctx, "memory"), p.Info(ctx, "persistence")
		if err := run(ctx, p); err != nil {
			return err
		}
		warnings = nil
		if v := infoField(server.Val(), "redis_version"); older(v, 6, 2) {
			warnings = append(warnings, fmt.Sprintf("Redis %s, want 6.2 or newer", v))
		}
		if policy := infoField(memory.Val(), "maxmemory_policy"); policy != "noeviction" {
			warnings = append(warnings, fmt.Sprintf("maxmemory-policy is %q, want noeviction: eviction loses hosts", policy))
		}
		if infoField(persistence.Val(), "aof_enabled") != "1" {
			warnings = append(warnings, "appendonly is off: a restart of Redis loses what was acknowledged since its last dump")
		}
		return nil
	})
	return warnings, err
}

// older says whether a version is below major.minor.
func older(version string, major, minor int) bool {
	fields := strings.SplitN(version+".0", ".", 3)
	a, err := strconv.Atoi(fields[0])
	b, err2 := strconv.Atoi(fields[1])
	return err == nil && err2 == nil && (a < major || a == major && b < minor)
}
