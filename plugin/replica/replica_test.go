package replica

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net/netip"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coredns-ddns/ddns/plugin/store"
	"github.com/coredns-ddns/ddns/plugin/store/boltstore"
	"github.com/coredns-ddns/ddns/plugin/token"
	"github.com/coredns-ddns/ddns/plugin/zone"
)

const origin = zone.Name("dyn.example.org.")

func openHosts(t *testing.T) (store.Store, store.Hosts) {
	t.Helper()
	st, err := boltstore.Open(filepath.Join(t.TempDir(), "ddns.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = st.Close() })
	hosts, err := st.Hosts(t.Context(), origin)
	if err != nil {
		t.Fatal(err)
	}
	return st, hosts
}

func soon(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func host(name string, rev zone.Revision, n int) zone.Host {
	return zone.Host{Name: zone.Name(name) + "." + origin, State: zone.State{
		Revision: rev, A: netip.AddrFrom4([4]byte{192, 0, 2, byte(n)})}}
}

func put(t *testing.T, hosts store.Hosts, h zone.Host) zone.Revision {
	t.Helper()
	r, err := hosts.Update(t.Context(), store.Update{Writes: []store.Write{{Host: h}}})
	if err != nil {
		t.Fatal(err)
	}
	return r.Revision
}

func TestWhatWaitReturnedForIsSeen(t *testing.T) {
	_, hosts := openHosts(t)
	z := FollowZone(origin, hosts, func(error) {})
	defer z.Close()
	if err := z.Wait(soon(t), 0); err != nil || !z.Ready() {
		t.Fatalf("an empty zone is not ready: %v", err)
	}
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			var rev zone.Revision
			for n := range 50 {
				h := host(fmt.Sprint("h", i), rev, n)
				r, err := hosts.Update(t.Context(), store.Update{Writes: []store.Write{{Host: h}}})
				if err != nil {
					t.Error(err)
					return
				}
				rev = r.Revision
				if err := z.Wait(soon(t), rev); err != nil {
					t.Error(err)
					return
				}
				if st := z.Get(h.Name); st.Revision != rev || st.A != h.A {
					t.Errorf("%s is %v after revision %d was waited for", h.Name, st, rev)
				}
			}
		})
	}
	wg.Wait()
	if z.Hosts() != 8 || z.Revision() != 400 {
		t.Errorf("%d hosts at revision %d", z.Hosts(), z.Revision())
	}
}

// broken is a log that fails on demand.
type broken struct {
	store.Hosts
	fail      atomic.Pointer[error]
	snapshots atomic.Int32
	follows   atomic.Int32
}

func (b *broken) Snapshot(ctx context.Context, yield func(zone.Host) error) (store.Position, error) {
	b.snapshots.Add(1)
	if err := b.fail.Load(); err != nil {
		return store.Position{}, *err
	}
	return b.Hosts.Snapshot(ctx, yield)
}

func (b *broken) Follow(ctx context.Context, after zone.Revision) iter.Seq2[store.Commit[zone.Host], error] {
	b.follows.Add(1)
	return func(yield func(store.Commit[zone.Host], error) bool) {
		if err := b.fail.Load(); err != nil {
			yield(store.Commit[zone.Host]{}, *err)
			return
		}
		for c, err := range b.Hosts.Follow(ctx, after) {
			if lost := b.fail.Load(); lost != nil {
				yield(store.Commit[zone.Host]{}, *lost)
				return
			}
			if !yield(c, err) {
				return
			}
		}
	}
}

func (b *broken) breakWith(err error) { b.fail.Store(&err) }

func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for ctx := soon(t); !ok(); {
		select {
		case <-ctx.Done():
			t.Fatalf("it does not come to pass that %s", what)
		case <-time.After(time.Millisecond):
		}
	}
}

func TestACopyAnswersOnWhileTheStoreIsAwayAndCatchesUp(t *testing.T) {
	_, hosts := openHosts(t)
	b := &broken{Hosts: hosts}
	first := put(t, hosts, host("a", 0, 1))
	z := FollowZone(origin, b, func(error) {})
	defer z.Close()
	if err := z.Wait(soon(t), first); err != nil {
		t.Fatal(err)
	}
	b.breakWith(store.ErrUnavailable)
	put(t, hosts, host("b", 0, 2)) // wakes the follower, which then finds its log broken
	until(t, "the copy notices", func() bool { lag, err := z.Lag(time.Now()); return lag > 0 && errors.Is(err, store.ErrUnavailable) })
	if st := z.Get("a." + origin); !z.Ready() || st.Revision != first {
		t.Errorf("the last known good is gone: %v", st)
	}
	last := put(t, hosts, host("c", 0, 3))
	b.fail.Store(nil)
	if err := z.Wait(soon(t), last); err != nil {
		t.Fatal(err)
	}
	if lag, err := z.Lag(time.Now()); lag != 0 || err != nil || z.Hosts() != 3 || b.snapshots.Load() != 1 {
		t.Errorf("lag %v, %v; %d hosts; %d snapshots", lag, err, z.Hosts(), b.snapshots.Load())
	}
}

func TestAGapIsMendedByASnapshotWithoutAHole(t *testing.T) {
	_, hosts := openHosts(t)
	b := &broken{Hosts: hosts}
	first := put(t, hosts, host("a", 0, 1))
	z := FollowZone(origin, b, func(error) {})
	defer z.Close()
	if err := z.Wait(soon(t), first); err != nil {
		t.Fatal(err)
	}
	stop, holes := make(chan struct{}), make(chan int)
	go func() {
		n := 0
		for {
			select {
			case <-stop:
				holes <- n
				return
			default:
				if z.Get("a."+origin).Revision == 0 {
					n++
				}
			}
		}
	}()
	b.breakWith(store.ErrGap)
	last := put(t, hosts, host("b", 0, 2))
	until(t, "a snapshot is asked for", func() bool { return b.snapshots.Load() > 1 })
	b.fail.Store(nil)
	if err := z.Wait(soon(t), last); err != nil {
		t.Fatal(err)
	}
	close(stop)
	if n := <-holes; n > 0 || z.Hosts() != 2 {
		t.Errorf("%d holes, %d hosts", n, z.Hosts())
	}
}

func TestWaitEndsWithItsContext(t *testing.T) {
	_, hosts := openHosts(t)
	z := FollowZone(origin, hosts, func(error) {})
	defer z.Close()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- z.Wait(ctx, 1000) }()
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	if n := len(z.follower.waiting); n != 0 {
		t.Errorf("%d waiters are remembered", n)
	}
}

func TestTokensAreKnownOnceWaitedForAndRevokedLikewise(t *testing.T) {
	st, _ := openHosts(t)
	tokens, err := st.Tokens(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	known := FollowTokens(tokens, func(error) {})
	defer known.Close()
	var ids []token.ID
	for range 500 {
		_, s := token.Mint()
		tok := token.Token{ID: s.ID, Hash: s.Hash, Created: time.Unix(1_800_000_000, 0).UTC(),
			Grant: token.Grant{Names: []token.Pattern{"home.dyn.example.org."}}}
		rev, err := tokens.Put(t.Context(), tok)
		if err != nil {
			t.Fatal(err)
		}
		if err := known.Wait(soon(t), rev); err != nil {
			t.Fatal(err)
		}
		if got := known.Get(s.ID); got == nil || got.Hash != s.Hash || got.ID != s.ID || got.Revision != rev {
			t.Fatalf("%+v", got)
		}
		ids = append(ids, s.ID)
	}
	for i, id := range ids {
		if i%5 == 0 {
			continue
		}
		rev, err := tokens.Delete(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		if err := known.Wait(soon(t), rev); err != nil {
			t.Fatal(err)
		}
		if known.Get(id) != nil {
			t.Fatal("a revoked token is known")
		}
	}
	if known.Len() != 100 || len(known.List("", 1000)) != 100 {
		t.Errorf("%d tokens are left, want 100", known.Len())
	}
	if held := len(known.table.text); held > 100*400 {
		t.Errorf("100 tokens hold %d octets after the others are gone", held)
	}
	page := known.List("", 10)
	if rest := known.List(page[9], 1000); len(rest) != 90 || rest[0] <= page[9] {
		t.Errorf("%d tokens after the first ten", len(rest))
	}
}

func BenchmarkTokenMemory(b *testing.B) {
	const n = 100_000
	for b.Loop() {
		table := newTokenTable()
		for range n {
			_, s := token.Mint()
			table.set(token.Token{ID: s.ID, Hash: s.Hash, Created: time.Now().UTC().Truncate(time.Second),
				Grant: token.Grant{Names: []token.Pattern{"h000001.dyn.example.org."}}})
		}
		b.ReportMetric(float64(cap(table.text))/n, "text-octets/token")
	}
}
