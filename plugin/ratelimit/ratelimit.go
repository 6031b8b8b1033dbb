// Package ratelimit decides whether an event comes too soon. Decisions are pure
// (the generic cell rate algorithm, ITU-T I.371); a Limiter remembers them for
// many keys in bounded memory.
package ratelimit

import (
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Limit allows Count events in Per, all at once or spread. The zero Limit
// allows everything.
type Limit struct {
	Count int
	Per   time.Duration
}

// Parse reads COUNT/DURATION, such as 30/1m.
func Parse(s string) (Limit, error) {
	count, per, ok := strings.Cut(s, "/")
	n, errN := strconv.Atoi(count)
	d, errD := time.ParseDuration(per)
	if !ok || errN != nil || errD != nil || n < 1 || n > 1e6 || d < time.Second || d > 24*time.Hour {
		return Limit{}, fmt.Errorf("%q: want COUNT/DURATION such as 30/1m, a count of 1 to 1000000 and a duration of 1s to 24h", s)
	}
	return Limit{n, d}, nil
}

func (l Limit) String() string { return fmt.Sprintf("%d/%s", l.Count, l.Per) }

// Decide says whether an event at now is allowed after those that led to next,
// the time at which all of them are paid for; and what next becomes. If it is
// not allowed, wait is how long until one would be.
func (l Limit) Decide(next, now time.Time) (_ time.Time, wait time.Duration) {
	if l.Count == 0 {
		return next, 0
	}
	if next.Before(now) {
		next = now
	}
	next = next.Add(l.Per / time.Duration(l.Count))
	if wait = next.Sub(now) - l.Per; wait > 0 {
		return next.Add(-l.Per / time.Duration(l.Count)), wait
	}
	return next, 0
}

// Limiter remembers what each of many keys owes. The zero Limiter is ready.
type Limiter[K comparable] struct {
	mu   sync.Mutex
	next map[K]time.Time
}

// maxKeys bounds a Limiter's memory. When it is full of keys that all still owe,
// somebody is using as many keys; forgetting some then is the lesser harm.
const maxKeys = 1 << 16

// Take records an event of key at now if limit allows it, or says how long to
// wait.
func (l *Limiter[K]) Take(key K, limit Limit, now time.Time) (wait time.Duration) {
	if limit.Count == 0 {
		return 0
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.next == nil {
		l.next = make(map[K]time.Time)
	}
	next, wait := limit.Decide(l.next[key], now)
	if _, known := l.next[key]; !known && len(l.next) >= maxKeys {
		l.sweep(now)
	}
	l.next[key] = next
	return wait
}

// sweep forgets what is paid for, and if that is little, half of the rest.
func (l *Limiter[K]) sweep(now time.Time) {
	for key, next := range l.next {
		if next.Before(now) {
			delete(l.next, key)
		}
	}
	for key := range l.next {
		if len(l.next) <= maxKeys/2 {
			return
		}
		delete(l.next, key)
	}
}
