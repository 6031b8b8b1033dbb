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
	z.follower.mu.Lock()
	defer z.follower.mu.Unlock()
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

// ahead is a log whose snapshot holds what is newer than its position, and that
// yields the commits sent to it.
type ahead[T any] struct {
	snapshot []T
	at       zone.Revision
	through  zone.Revision
	commits  chan store.Commit[T]
}

func (a *ahead[T]) Snapshot(_ context.Context, yield func(T) error) (store.Position, error) {
	for _, v := range a.snapshot {
		if err := yield(v); err != nil {
			return store.Position{}, err
		}
	}
	return store.Position{Revision: a.at, Through: a.through}, nil
}

func (a *ahead[T]) Follow(ctx context.Context, _ zone.Revision) iter.Seq2[store.Commit[T], error] {
	return func(yield func(store.Commit[T], error) bool) {
		for {
			select {
			case c := <-a.commits:
				if !yield(c, nil) {
					return
				}
			case <-ctx.Done():
				yield(store.Commit[T]{}, ctx.Err())
				return
			}
		}
	}
}

// commit has a copy apply a change and waits until it has.
func (a *ahead[T]) commit(t *testing.T, r zone.Revision, value T, deleted bool, wait func(context.Context, zone.Revision) error) {
	t.Helper()
	a.commits <- store.Commit[T]{Position: store.Position{Revision: r}, Changes: []store.Change[T]{{Value: value, Deleted: deleted}}}
	if err := wait(soon(t), r); err != nil {
		t.Fatal(err)
	}
}

func TestAHostInTheSnapshotIsNotSetBackByOlderCommits(t *testing.T) {
	log := &ahead[zone.Host]{snapshot: []zone.Host{host("a", 5, 5)}, at: 2, commits: make(chan store.Commit[zone.Host])}
	z := FollowZone(origin, log, func(error) {})
	defer z.Close()
	for _, step := range []struct {
		host    zone.Host
		deleted bool
		want    zone.Host
	}{
		{host("a", 3, 3), false, host("a", 5, 5)},
		{host("a", 4, 0), true, host("a", 5, 5)},
		{host("a", 5, 5), false, host("a", 5, 5)},
		{host("a", 6, 6), false, host("a", 6, 6)},
		{host("a", 7, 0), true, zone.Host{}},
	} {
		log.commit(t, step.host.Revision, step.host, step.deleted, z.Wait)
		if st := z.Get("a." + origin); st != step.want.State {
			t.Errorf("%v after commit %d, want %v", st, step.host.Revision, step.want.State)
		}
	}
}

// What was deleted while the snapshot was taken may have been read before.
func TestNobodySeesASnapshotBeforeItHasCaughtUp(t *testing.T) {
	log := &ahead[zone.Host]{snapshot: []zone.Host{host("a", 5, 5)}, at: 2, through: 5, commits: make(chan store.Commit[zone.Host])}
	z := FollowZone(origin, log, func(error) {})
	defer z.Close()
	send := func(r zone.Revision, h zone.Host, deleted bool) {
		log.commits <- store.Commit[zone.Host]{Position: store.Position{Revision: r}, Changes: []store.Change[zone.Host]{{Value: h, Deleted: deleted}}}
	}
	send(3, host("b", 3, 3), false)
	if z.Ready() {
		t.Error("it answers from what is half old")
	}
	send(4, host("b", 4, 0), true)
	send(5, host("a", 5, 5), false)
	if err := z.Wait(soon(t), 5); err != nil {
		t.Fatal(err)
	}
	if z.Hosts() != 1 || z.Get("b."+origin).Revision != 0 {
		t.Errorf("%d hosts, b is %v", z.Hosts(), z.Get("b."+origin))
	}
}

func TestATokenInTheSnapshotIsNotSetBackByOlderCommits(t *testing.T) {
	_, s := token.Mint()
	at := func(r zone.Revision) token.Token {
		return token.Token{ID: s.ID, Hash: s.Hash, Revision: r, Grant: token.Grant{Quota: int(r)}}
	}
	log := &ahead[token.Token]{snapshot: []token.Token{at(5)}, at: 2, commits: make(chan store.Commit[token.Token])}
	known := FollowTokens(log, func(error) {})
	defer known.Close()
	for _, step := range []struct {
		revision zone.Revision
		deleted  bool
		want     zone.Revision // 0: no token
	}{
		{3, false, 5}, {4, true, 5}, {5, false, 5}, {6, false, 6}, {7, true, 0},
	} {
		log.commit(t, step.revision, at(step.revision), step.deleted, known.Wait)
		tok := known.Get(s.ID)
		if tok == nil && step.want != 0 || tok != nil && (tok.Revision != step.want || tok.Quota != int(step.want)) {
			t.Errorf("%+v after commit %d, want that of %d", tok, step.revision, step.want)
		}
	}
}
