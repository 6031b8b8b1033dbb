package redisstore

import (
	"context"
	"crypto/rand"
	_ "embed"
	"fmt"

	"github.com/redis/go-redis/v9"

	"github.com/coredns-ddns/ddns/plugin/store"
	"github.com/coredns-ddns/ddns/plugin/zone"
)

// Tokens stands for the tokens where an operator's call takes zones.
const Tokens zone.Name = "tokens"

var (
	//go:embed init.lua
	initLua    string
	initScript = redis.NewScript(initLua)
	//go:embed forget.lua
	forgetLua    string
	forgetScript = redis.NewScript(forgetLua)
)

// Init makes the tokens and the zones that are not in Redis, empty, and returns
// which it made. It is an operator's decision: to nodes that know them full they
// are still lost.
func (s *Store) Init(ctx context.Context, zones ...zone.Name) (made []zone.Name, err error) {
	for _, name := range append([]zone.Name{Tokens}, zones...) {
		l := s.place(name)
		answer, err := l.evaluate(ctx, initScript, l.allKeys(), []any{format, rand.Text()})
		if err != nil {
			return made, err
		}
		switch answer[0] {
		case "remains":
			return made, fmt.Errorf("%w: %s in %v has lost its meta, not all of its entries; \"ddnsctl store forget\" accepts that",
				store.ErrLost, name, s.config)
		case done:
			made = append(made, name)
		}
	}
	return made, nil
}

// Forget accepts that what is lost of a zone, or of the Tokens, is lost: what
// Redis has, if anything, is from now on all that there is, and the nodes take
// it. It is false when nothing is lost.
func (s *Store) Forget(ctx context.Context, name zone.Name) (bool, error) {
	l := s.place(name)
	incarnation, tip, _, _ := l.chain.known()
	keys := []string{l.key("meta"), l.key("feed")}
	args := []any{format, rand.Text(), incarnation, uint64(tip)}
	for b := range buckets {
		keys = append(keys, l.bucketKey(l.kind, byte(b)))
		args = append(args, bucketName(byte(b)))
	}
	answer, err := l.evaluate(ctx, forgetScript, keys, args)
	if err != nil {
		return false, err
	}
	return answer[0] == done, l.refusal(answer)
}

// place finds a zone, or the Tokens.
func (s *Store) place(name zone.Name) *place {
	if name == Tokens {
		return &s.tokens.place
	}
	return &s.hosts(name).place
}

// allKeys is every key that the place may have, the meta first.
func (l *place) allKeys() []string {
	keys := []string{l.key("meta"), l.key("feed"), l.key("seen")}
	for b := range buckets {
		for _, kind := range l.kinds() {
			keys = append(keys, l.bucketKey(kind, byte(b)))
		}
	}
	return keys
}

func (l *place) kinds() []string {
	if l.tag == Tokens {
		return []string{l.kind}
	}
	return []string{"hosts", "history", "settings"}
}

// evaluate runs an operator's script.
func (l *place) evaluate(ctx context.Context, script *redis.Script, keys []string, args []any) (answer []string, err error) {
	err = l.store.do(ctx, keys[0], func(ctx context.Context, c *redis.Client, _ bool) (err error) {
		answer, err = l.store.eval(ctx, c, script, keys, args)
		return err
	})
	return answer, err
}
