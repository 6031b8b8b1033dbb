package storetest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"reflect"
	"runtime"
	"strconv"
	"sync"
	"testing"

	"github.com/coredns-ddns/ddns/plugin/store"
	"github.com/coredns-ddns/ddns/plugin/token"
	"github.com/coredns-ddns/ddns/plugin/zone"
)

func (m mediumFunc) life(t *testing.T) {
	t.Run("everything is there after reopen", m.reopen)
	t.Run("after Close everything says so", m.afterClose)
	t.Run("Close loses nothing that was acknowledged", m.closeUnderLoad)
	t.Run("a closed store leaves no goroutine", m.leak)
	t.Run("a backup is taken while updates run", func(t *testing.T) {
		s := m.store(t)
		h := zoneOf(t, s, origin)
		must(t, h, put("a", 0, 1))
		var copied bytes.Buffer
		err := s.Backup(t.Context(), writerFunc(func(p []byte) (int, error) {
			must(t, h, put("b"+strconv.Itoa(copied.Len()), 0, 1))
			return copied.Write(p)
		}))
		if !errors.Is(err, errors.ErrUnsupported) && (err != nil || copied.Len() == 0) {
			t.Errorf("%v after %d octets", err, copied.Len())
		}
	})
}

type writerFunc func(p []byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

func (m mediumFunc) reopen(t *testing.T) {
	open := m(t)
	s := open()
	h, k := zoneOf(t, s, origin), tokensOf(t, s)
	w := put("a", 0, 1)
	w.Settings = &store.Settings{Note: "attic"}
	r := must(t, h, w, put("b", 0, 2), put("c", 0, 3))
	r = must(t, h, put("a", r.Revision, 4), remove("c", r.Revision))
	if _, err := k.Put(t.Context(), minted("aaaaaa")); err != nil {
		t.Fatal(err)
	}
	hosts, p := all(t, h)
	kept, past := keptOf(t, h, "a"), pastOf(t, h, "a")
	tokens, pt := allTokens(t, k)
	if err := s.Close(); err != nil {
		t.Fatalf("Close: %v", err)
	}

	s = open()
	defer s.Close()
	h, k = zoneOf(t, s, origin), tokensOf(t, s)
	same(t, h, hosts)
	if _, q := all(t, h); !q.Same(p) {
		t.Errorf("position %v, want %v", q, p)
	}
	if got := keptOf(t, h, "a"); got != kept {
		t.Errorf("kept %v, want %v", got, kept)
	}
	if got := pastOf(t, h, "a"); !reflect.DeepEqual(got, past) {
		t.Errorf("history %v, want %v", got, past)
	}
	if got, q := allTokens(t, k); !reflect.DeepEqual(got, tokens) || !q.Same(pt) {
		t.Errorf("tokens %v at %v, want %v at %v", got, q, tokens, pt)
	}
	f := startFollow(t, h, p.Revision)
	next := must(t, h, put("a", r.Revision, 5))
	if next.Revision != p.Revision+1 || zone.SerialLess(next.Serial, p.Serial) || !f.next(t).Same(next.Position) {
		t.Errorf("first commit %v, want the one after %v", next, p)
	}
	// Whether commits from before are still there is the store's choice: they
	// come without a hole, or there is a gap.
	old := startFollow(t, h, 1)
	select {
	case c := <-old.commits:
		if c.Revision != 2 {
			t.Errorf("commit %d after 1", c.Revision)
		}
	case err := <-old.end:
		if !errors.Is(err, store.ErrGap) {
			t.Errorf("%v, want ErrGap", err)
		}
	}
}

func (m mediumFunc) afterClose(t *testing.T) {
	s := m(t)()
	h, k := zoneOf(t, s, origin), tokensOf(t, s)
	r := must(t, h, put("a", 0, 1))
	followHosts, followTokens := startFollow(t, h, r.Revision), startFollow(t, k, 0)
	for range 2 {
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	}
	ctx := t.Context()
	for what, do := range map[string]func() error{
		"Hosts":            func() error { _, err := s.Hosts(ctx, "other.example.org."); return err },
		"Tokens":           func() error { _, err := s.Tokens(ctx); return err },
		"Update":           func() error { _, err := h.Update(ctx, store.Update{Writes: []store.Write{put("b", 0, 1)}}); return err },
		"Kept":             func() error { _, err := h.Kept(ctx, name("a")); return err },
		"History":          func() error { _, err := h.History(ctx, name("a")); return err },
		"List":             func() error { _, _, err := h.List(ctx, "", 1); return err },
		"Snapshot":         func() error { _, err := h.Snapshot(ctx, func(zone.Host) error { return nil }); return err },
		"Put":              func() error { _, err := k.Put(ctx, minted("aaaaaa")); return err },
		"Delete":           func() error { _, err := k.Delete(ctx, "aaaaaa"); return err },
		"Tokens' Snapshot": func() error { _, err := k.Snapshot(ctx, func(token.Token) error { return nil }); return err },
		"Follow, waiting":  func() error { return followHosts.ended(t) },
		"Tokens' Follow":   func() error { return followTokens.ended(t) },
		"Follow":           func() error { return startFollow(t, h, 0).ended(t) },
		"Backup":           func() error { return unlessUnsupported(s.Backup(ctx, io.Discard)) },
	} {
		if err := do(); !errors.Is(err, store.ErrClosed) {
			t.Errorf("%s: %v, want ErrClosed", what, err)
		}
	}
}

func unlessUnsupported(err error) error {
	if errors.Is(err, errors.ErrUnsupported) {
		return store.ErrClosed
	}
	return err
}

func (m mediumFunc) closeUnderLoad(t *testing.T) {
	open := m(t)
	s := open()
	h := zoneOf(t, s, origin)
	const workers = 8
	var acknowledged [workers]zone.Revision
	var wg sync.WaitGroup
	going := make(chan struct{}, workers)
	for w := range workers {
		wg.Go(func() {
			for i := 0; ; i++ {
				r, err := h.Update(context.Background(), store.Update{Writes: []store.Write{put("w"+strconv.Itoa(w), acknowledged[w], i)}})
				if err != nil {
					if !errors.Is(err, store.ErrClosed) {
						t.Errorf("Update: %v, want ErrClosed", err)
					}
					return
				}
				if acknowledged[w] = r.Revision; i == 5 {
					going <- struct{}{}
				}
			}
		})
	}
	for range workers {
		<-going
	}
	if err := s.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	wg.Wait()
	s = open()
	defer s.Close()
	hosts, _ := all(t, zoneOf(t, s, origin))
	for w, revision := range acknowledged {
		if got := hosts[name("w"+strconv.Itoa(w))]; got.Revision != revision {
			t.Errorf("worker %d: revision %d, want %d", w, got.Revision, revision)
		}
	}
}

func (m mediumFunc) leak(t *testing.T) {
	open := m(t)
	before := runtime.NumGoroutine()
	s := open()
	h, k := zoneOf(t, s, origin), tokensOf(t, s)
	for i := range 4 {
		f := startFollow(t, h, 0)
		must(t, h, put("a"+strconv.Itoa(i), 0, 1))
		f.next(t)
		startFollow(t, k, 0)
		f.cancel()
	}
	if err := s.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	until(t, "no goroutine more than before", func() bool { return runtime.NumGoroutine() <= before })
}
