package redisstore

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/coredns-ddns/ddns/plugin/store"
	"github.com/coredns-ddns/ddns/plugin/zone"
)

// read runs what queue asks for in one step with a check of the meta. What is
// not there is no error.
func (l *place) read(ctx context.Context, queue func(ctx context.Context, p redis.Pipeliner)) error {
	return l.store.do(ctx, l.key("meta"), func(ctx context.Context, c *redis.Client, _ bool) error {
		p := c.Pipeline()
		head := l.queueMeta(ctx, p)
		queue(ctx, p)
		if err := run(ctx, p); err != nil {
			return err
		}
		_, err := l.checkMeta(head)
		return err
	})
}

// run runs a pipeline and returns its first error, absence aside.
func run(ctx context.Context, p redis.Pipeliner) error {
	cmds, err := p.Exec(ctx)
	for _, cmd := range cmds {
		if err := cmd.Err(); err != nil && !errors.Is(err, redis.Nil) {
			return err
		}
	}
	if errors.Is(err, redis.Nil) {
		return nil
	}
	return err
}

// Kept reads what is not part of a host's state, nil when there is no such
// host.
func (h *hosts) Kept(ctx context.Context, name zone.Name) (*store.Kept, error) {
	if !name.Within(h.origin) {
		return nil, nil
	}
	key := name.Relative(h.origin)
	b := bucket(key)
	var there *redis.BoolCmd
	var seen *redis.FloatCmd
	var settings *redis.StringCmd
	err := h.read(ctx, func(ctx context.Context, p redis.Pipeliner) {
		seen = p.ZScore(ctx, h.key("seen"), key)
		settings = p.HGet(ctx, h.bucketKey("settings", b), key)
		there = p.HExists(ctx, h.bucketKey("hosts", b), key) // last: what is deleted meanwhile is not there
	})
	if err != nil || !there.Val() {
		return nil, err
	}
	kept := &store.Kept{Seen: time.Unix(int64(seen.Val()), 0)}
	if text := settings.Val(); text != "" {
		if err := json.Unmarshal([]byte(text), &kept.Settings); err != nil {
			return nil, h.damaged("settings of %s: %w", name, err)
		}
	}
	return kept, nil
}

// History lists a host's states, the current one first.
func (h *hosts) History(ctx context.Context, name zone.Name) ([]store.Past, error) {
	if !name.Within(h.origin) {
		return nil, nil
	}
	key := name.Relative(h.origin)
	var text *redis.StringCmd
	err := h.read(ctx, func(ctx context.Context, p redis.Pipeliner) {
		text = p.HGet(ctx, h.bucketKey("history", bucket(key)), key)
	})
	if err != nil {
		return nil, err
	}
	past, err := store.ParseHistory(text.Val())
	if err != nil {
		return nil, h.damaged("history of %s: %w", name, err)
	}
	return past, nil
}

// List yields hosts bucket by bucket, within one by relative name. A cursor is
// the bucket's number and the last name listed, "BB NAME". Buckets are read
// whole: HSCAN may repeat and, in a bucket that grows, its pages have no order.
func (h *hosts) List(ctx context.Context, cursor string, limit int) ([]store.Listed, string, error) {
	number, after, _ := strings.Cut(cursor, " ")
	from, err := strconv.ParseUint(cmp.Or(number, "0"), 16, 8)
	if err != nil || limit < 1 {
		return nil, "", fmt.Errorf("%w: cursor %q and limit %d of a list, want a cursor of List and at least 1", store.ErrInvalid, cursor, limit)
	}
	sizes, err := h.sizes(ctx, h.kind)
	if err != nil {
		return nil, "", err
	}
	var list []store.Listed
	for b := int(from); b < buckets; {
		// As many buckets at once as the page may need.
		first, expected := b, 0
		for ; b < buckets && (b == first || len(list)+expected < limit); b++ {
			if b > int(from) || after == "" {
				expected += sizes[b]
			}
		}
		part, err := h.listBuckets(ctx, first, b, int(from), after, sizes)
		if err != nil {
			return nil, "", err
		}
		if list = append(list, part...); len(list) >= limit {
			list = list[:limit]
			break
		}
	}
	if len(list) < limit {
		return list, "", h.listSeen(ctx, list)
	}
	last := list[limit-1].Name.Relative(h.origin)
	return list, bucketName(bucket(last)) + " " + last, h.listSeen(ctx, list)
}

// sizes is how many fields the hashes of a kind have.
func (l *place) sizes(ctx context.Context, kind string) (sizes [buckets]int, err error) {
	var cmds [buckets]*redis.IntCmd
	err = l.read(ctx, func(ctx context.Context, p redis.Pipeliner) {
		for b := range cmds {
			cmds[b] = p.HLen(ctx, l.bucketKey(kind, byte(b)))
		}
	})
	if err == nil {
		for b, cmd := range cmds {
			sizes[b] = int(cmd.Val())
		}
	}
	return sizes, err
}

// listBuckets is the hosts of buckets first to end, in order; of bucket from
// only those after a name.
func (h *hosts) listBuckets(ctx context.Context, first, end, from int, after string, sizes [buckets]int) ([]store.Listed, error) {
	var cmds []*redis.StringSliceCmd
	err := h.read(ctx, func(ctx context.Context, p redis.Pipeliner) {
		cmds = cmds[:0]
		for b := first; b < end; b++ {
			if sizes[b] == 0 && b > from {
				continue // a host made meanwhile need not be listed
			}
			cmd := redis.NewStringSliceCmd(ctx, "hgetall", h.bucketKey(h.kind, byte(b)))
			_ = p.Process(ctx, cmd)
			cmds = append(cmds, cmd)
		}
	})
	if err != nil {
		return nil, err
	}
	var list []store.Listed
	for _, cmd := range cmds {
		some, err := h.entries(cmd.Val())
		if err != nil {
			return nil, err
		}
		slices.SortFunc(some, func(a, b zone.Host) int {
			return cmp.Compare(a.Name.Relative(h.origin), b.Name.Relative(h.origin))
		})
		for _, host := range some {
			name := host.Name.Relative(h.origin)
			if int(bucket(name)) > from || name > after {
				list = append(list, store.Listed{Host: host})
			}
		}
	}
	return list, nil
}

// listSeen fills in when hosts were last seen.
func (h *hosts) listSeen(ctx context.Context, list []store.Listed) error {
	if len(list) == 0 {
		return nil
	}
	names := make([]string, len(list))
	for i := range list {
		names[i] = list[i].Name.Relative(h.origin)
	}
	var seen *redis.FloatSliceCmd
	err := h.read(ctx, func(ctx context.Context, p redis.Pipeliner) { seen = p.ZMScore(ctx, h.key("seen"), names...) })
	if err != nil {
		return err
	}
	for i, second := range seen.Val() {
		list[i].Seen = time.Unix(int64(second), 0)
	}
	return nil
}

// entries reads what HGETALL answers for a bucket.
func (l *log[T]) entries(flat []string) ([]T, error) {
	list := make([]T, 0, len(flat)/2)
	for i := 0; i+1 < len(flat); i += 2 {
		t, err := l.parse(flat[i], flat[i+1])
		if err != nil {
			return nil, l.damaged("%s: %w", flat[i], err)
		}
		list = append(list, t)
	}
	return list, nil
}
