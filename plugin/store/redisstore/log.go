package redisstore

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/redis/go-redis/v9"

	"github.com/coredns-ddns/ddns/plugin/store"
	"github.com/coredns-ddns/ddns/plugin/zone"
)

// format is how this package writes a log. Scripts refuse any other.
const format = "1"

// buckets is over how many hashes a log is spread, so that none takes Redis long
// to read or to move.
const buckets = 256

// place is where in Redis a log lies, and what this process knows of it.
type place struct {
	store *Store
	tag   zone.Name // origin, or Tokens: what hashes to the slot
	kind  string    // of the buckets
	chain chain
}

// log is what hosts and tokens have in common.
type log[T any] struct {
	place
	parse func(key, value string) (T, error)
	gone  func(key string, r zone.Revision) T
}

// bucket is the number of the bucket that holds key.
func bucket(key string) byte { return byte(crc32.ChecksumIEEE([]byte(key))) }

// bucketName is the number as keys and meta have it.
func bucketName(b byte) string { return fmt.Sprintf("%02x", b) }

func (l *place) key(part string) string {
	return l.store.config.prefix() + "{" + string(l.tag) + "}:" + part
}

func (l *place) bucketKey(kind string, b byte) string { return l.key(kind + ":" + bucketName(b)) }

// meta is the head of a log.
type meta struct {
	format, incarnation, replaces string
	revision                      zone.Revision
	serial                        uint32
	nonce                         string // of the commit with that revision
}

// metaFields are what readMeta wants, in its order.
var metaFields = []string{"format", "incarnation", "replaces", "revision", "serial", "nonce"}

// queueMeta asks for the meta, for checkMeta.
func (l *place) queueMeta(ctx context.Context, p redis.Cmdable) *redis.SliceCmd {
	return p.HMGet(ctx, l.key("meta"), metaFields...)
}

// checkMeta reads what queueMeta asked for. A log that is not there, or not the
// one that this process knows, is ErrLost.
func (l *place) checkMeta(cmd *redis.SliceCmd) (meta, error) {
	values, err := cmd.Result()
	if err != nil {
		return meta{}, err
	}
	var text [6]string
	for i := range text {
		text[i], _ = values[i].(string)
	}
	m := meta{format: text[0], incarnation: text[1], replaces: text[2], nonce: text[5]}
	switch {
	case m.format == "":
		return m, l.absent()
	case m.format != format:
		return m, l.otherFormat(m.format)
	}
	revision, err := strconv.ParseUint(text[3], 10, 53)
	serial, err2 := strconv.ParseUint(text[4], 10, 32)
	if err = errors.Join(err, err2); err != nil {
		return m, l.damaged("meta: %w", err)
	}
	m.revision, m.serial = zone.Revision(revision), uint32(serial)
	if !l.chain.meet(m) {
		return m, l.replaced()
	}
	return m, nil
}

func (l *place) absent() error {
	if incarnation, _, _, _ := l.chain.known(); incarnation != "" {
		return fmt.Errorf("%w: %s is gone from %v; \"ddnsctl store forget\" accepts that", store.ErrLost, l.tag, l.store.config)
	}
	return fmt.Errorf("%w: %s is not in %v; \"ddnsctl store init\" makes it, where it has never been", store.ErrLost, l.tag, l.store.config)
}

func (l *place) otherFormat(found string) error {
	return fmt.Errorf("%w: %s in %v has format %q, this program wants %q", store.ErrUnavailable, l.tag, l.store.config, found, format)
}

func (l *place) replaced() error {
	return fmt.Errorf("%w: %s in %v is not the one that this node knows; \"ddnsctl store forget\" accepts that", store.ErrLost, l.tag, l.store.config)
}

func (l *place) evicted(bucket string, got, want int) error {
	return fmt.Errorf("%w: %s in %v has %d entries left of %d in %s:%s; \"ddnsctl store forget\" accepts that",
		store.ErrLost, l.tag, l.store.config, got, want, l.kind, bucket)
}

func (l *place) damaged(what string, args ...any) error {
	return fmt.Errorf("%w: %s in %v is damaged: %w", store.ErrUnavailable, l.tag, l.store.config, fmt.Errorf(what, args...))
}

// remembered bounds the commits that a chain knows.
const remembered = 4096

// chain is what this process has seen of a log: its incarnation, and the nonces
// of commits. Another nonce for the same revision is another past: a backup was
// restored, or a failover lost what had been acknowledged.
type chain struct {
	mu          sync.Mutex
	incarnation string // "": none seen yet
	nonces      map[zone.Revision]string
	tip         zone.Revision // what the copies of this process have come to
	lost        error         // found by the latest count
	parted      bool          // a Follow could not go on: what is known may be of another past
}

// meet compares a meta with the incarnation known. One that an operator put in
// its place is adopted; each Follow under way notices by itself.
func (c *chain) meet(m meta) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.incarnation == m.incarnation:
	case c.incarnation == "":
		c.incarnation = m.incarnation
	case slices.Contains(strings.Fields(m.replaces), c.incarnation):
		c.incarnation, c.nonces, c.tip, c.lost = m.incarnation, nil, 0, nil
	default:
		return false
	}
	return true
}

// note remembers a commit. It is false when another one is known in its place.
func (c *chain) note(r zone.Revision, nonce string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if known, ok := c.nonces[r]; ok {
		return known == nonce
	}
	if c.nonces == nil {
		c.nonces = make(map[zone.Revision]string)
	}
	if len(c.nonces) >= remembered {
		for old := range c.nonces {
			if old+remembered/2 < r && old != c.tip {
				delete(c.nonces, old)
			}
		}
	}
	c.nonces[r] = nonce
	return true
}

// at says that a copy has come to r.
func (c *chain) at(r zone.Revision) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.tip = r
}

// restart follows a snapshot from one commit to another. What was known is
// forgotten unless it is of the same past.
func (c *chain) restart(from, to meta) {
	c.mu.Lock()
	if c.parted || c.nonces[from.revision] != from.nonce {
		c.nonces, c.parted = nil, false
	}
	c.mu.Unlock()
	c.note(from.revision, from.nonce)
	c.note(to.revision, to.nonce)
	c.at(from.revision)
	c.counted(nil)
}

// nonce is that of a commit; there is none for revision 0.
func (c *chain) nonce(r zone.Revision) (string, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	nonce, ok := c.nonces[r]
	return nonce, ok || r == 0
}

// part says that a Follow could not go on.
func (c *chain) part() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.parted = true
}

// counted notes what a count of the buckets found.
func (c *chain) counted(lost error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lost = lost
}

// known is what a writer tells its script: see log.lua.
func (c *chain) known() (incarnation string, tip zone.Revision, nonce string, lost error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	nonce, ok := c.nonces[c.tip]
	if !ok {
		return c.incarnation, 0, "", c.lost
	}
	return c.incarnation, c.tip, nonce, c.lost
}

//go:embed log.lua
var logLua string

// write runs a script that commits to the log and returns its answer. The nonce
// is that of the commit; doubtful is as in Store.do.
func (l *place) write(ctx context.Context, script *redis.Script, keys []string, served uint32, args []any,
	take func(answer []string, nonce string, doubtful bool) error) error {
	incarnation, tip, tipNonce, lost := l.chain.known()
	if lost != nil {
		return lost
	}
	nonce := strconv.FormatUint(rand.Uint64(), 36)
	keys = append([]string{l.key("meta"), l.key("feed")}, keys...)
	args = append([]any{format, incarnation, uint64(tip), tipNonce, nonce, served}, args...)
	return l.store.do(ctx, keys[0], func(ctx context.Context, c *redis.Client, doubtful bool) error {
		answer, err := l.store.eval(ctx, c, script, keys, args)
		if err != nil {
			return err
		}
		if err := l.refusal(answer); err != nil {
			return err
		}
		return take(answer, nonce, doubtful)
	})
}

// done is the first word of a script's answer when it wrote what it was to write.
const done = "done"

// refusal is the error for an answer with which any script may refuse.
func (l *place) refusal(answer []string) error {
	switch answer[0] {
	case "absent":
		return l.absent()
	case "format":
		return l.otherFormat(answer[1])
	case "replaced":
		return l.replaced()
	case "behind":
		return fmt.Errorf("%w: %s in %v is at revision %s without what this node has seen; the node is about to load it again",
			store.ErrUnavailable, l.tag, l.store.config, answer[1])
	case "lost":
		return fmt.Errorf("%w: %s in %v misses entries in %s:%s; \"ddnsctl store forget\" accepts that",
			store.ErrLost, l.tag, l.store.config, l.kind, answer[1])
	case "damaged":
		return l.damaged("%s is %q", answer[1], answer[2])
	}
	return nil
}

// eval runs a script, and waits on the same connection for the replicas that are
// to have its effects. WAIT on another connection knows nothing of them.
func (s *Store) eval(ctx context.Context, c *redis.Client, script *redis.Script, keys []string, args []any) ([]string, error) {
	for _, run := range []func(context.Context, redis.Scripter, []string, ...any) *redis.Cmd{script.EvalSha, script.Eval} {
		p := c.Pipeline()
		answer := run(ctx, p, keys, args...)
		var waited *redis.IntCmd
		if s.config.Wait > 0 {
			waited = redis.NewIntCmd(ctx, "wait", s.config.Wait, s.config.waitTimeout().Milliseconds())
			_ = p.Process(ctx, waited)
		}
		_, err := p.Exec(ctx)
		if redis.HasErrorPrefix(err, "NOSCRIPT") {
			continue
		}
		if err != nil {
			return nil, err
		}
		text, err := answer.StringSlice()
		if err == nil && len(text) == 0 {
			err = errors.New("a script answered nothing")
		}
		if err == nil && text[0] == done && waited != nil && int(waited.Val()) < s.config.Wait {
			err = fmt.Errorf("%w: %v: %d of %d replicas have the update after %v", store.ErrUnavailable, s.config,
				waited.Val(), s.config.Wait, s.config.waitTimeout())
		}
		return text, err
	}
	return nil, errors.New("redis forgets scripts at once")
}
