package ddns

import "sync"

// shares holds what blocks, and the instances before and after a reload, have in
// common, by key, for as long as somebody holds it.
type shares[T any] struct {
	mu   sync.Mutex
	held map[string]*share[T]
}

type share[T any] struct {
	value   T
	holders int
	close   func()
}

// hold returns what there is under key, or opens it. release must be called
// once; with the last one it is closed.
func (s *shares[T]) hold(key string, open func() (T, func(), error)) (value T, release func(), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.held == nil {
		s.held = make(map[string]*share[T])
	}
	h := s.held[key]
	if h == nil {
		h = &share[T]{}
		if h.value, h.close, err = open(); err != nil {
			return value, nil, err
		}
		s.held[key] = h
	}
	h.holders++
	return h.value, sync.OnceFunc(func() { s.release(key) }), nil
}

func (s *shares[T]) release(key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.held[key]
	if h.holders--; h.holders > 0 {
		return
	}
	delete(s.held, key)
	h.close() // under the lock: whoever opens the same key waits for it
}
