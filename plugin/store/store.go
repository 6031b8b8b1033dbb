// Package store is the contract that every store of hosts and tokens keeps, and
// its sentinel errors. storetest holds the suite that checks a store against it.
//
// A store guarantees:
//
//   - What Update, Put or Delete returned nil for is durable as far as the
//     store's medium is, whole, and yielded by Follow exactly once, in order.
//   - What it returned ErrConflict or ErrInvalid for changed nothing. After
//     ErrUnavailable it may or may not have happened; doing it again is safe,
//     for a write names the revision that it was computed from.
//   - A snapshot, followed from its revision on, is the store's whole truth.
package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/netip"
	"time"

	"github.com/coredns-ddns/ddns/plugin/token"
	"github.com/coredns-ddns/ddns/plugin/zone"
)

var (
	// ErrConflict is returned, as a *Conflict, by Update, and bare by Put and
	// Delete, when a revision named is not the current one.
	ErrConflict = errors.New("changed by another update meanwhile")
	// ErrGap is yielded by Follow when the commits since the revision asked
	// for are no longer there. Take a new snapshot.
	ErrGap = errors.New("the store no longer has the changes since that revision")
	// ErrUnavailable is returned, wrapped with the cause, when the store cannot
	// be reached or cannot write. Trying again later may succeed.
	ErrUnavailable = errors.New("the store is unavailable")
	// ErrLost is returned, and yielded, wrapped with what is missing, by a store
	// that is there and no longer holds what it held: emptied, in part evicted,
	// or another one. Nothing is written to it until an operator decides what
	// becomes of it; what a node still has is the last known good. It is an
	// ErrUnavailable.
	ErrLost = fmt.Errorf("%w: it has lost data", ErrUnavailable)
	// ErrNotFound is returned by Delete for a token that is not there.
	ErrNotFound = errors.New("not found")
	// ErrInvalid is returned by Update, List and Put for what no caller should
	// ask: no host, the same host twice, a name outside the zone, a state that
	// no host can have, Refresh or Delete of a host that must not exist or with
	// Settings, a list of no hosts, a token without an id.
	ErrInvalid = errors.New("invalid update")
	// ErrClosed is returned, and yielded, after Close.
	ErrClosed = errors.New("the store is closed")
)

// Store holds the hosts of any number of zones, and tokens.
type Store interface {
	// Hosts is the part of one zone. An embedded store makes it when it is
	// first asked for.
	Hosts(ctx context.Context, origin zone.Name) (Hosts, error)
	// Tokens is the part with the tokens.
	Tokens(ctx context.Context) (Tokens, error)
	// Backup writes a consistent copy of the whole store, while it is in use.
	// Stores that have means of their own return errors.ErrUnsupported.
	Backup(ctx context.Context, w io.Writer) error
	// Close ends every Follow and waits for commits under way.
	Close() error
}

// Log is what can be copied and followed: hosts and tokens alike.
type Log[T any] interface {
	// Snapshot yields every T and returns the position that they are complete
	// up to. T may already be newer than that; following from the position
	// repeats such changes. It stops at the first error of yield.
	Snapshot(ctx context.Context, yield func(T) error) (Position, error)
	// Follow yields each commit after revision, in order, without gaps, and
	// waits for more until ctx ends or an error is yielded, which is last. A
	// commit without changes, at the position of the one before it, says that
	// there is none after it yet: stores that can be out of reach yield one at
	// once where there is nothing to catch up with, and then every second.
	Follow(ctx context.Context, after zone.Revision) iter.Seq2[Commit[T], error]
}

// Position is a point in a log.
type Position struct {
	Revision zone.Revision
	Serial   uint32 // SOA serial of that commit; of the zone's making before the first; 0 for tokens
	// Through is of a snapshot taken while the store was written to: some of
	// its states are as new as this revision. 0: none is newer than Revision.
	Through zone.Revision
	// Clock is a time of the store's own clock up to which the log has no commit
	// but those up to this one, so that all nodes know alike when the second of
	// a serial is over. Zero: this machine's clock is the store's.
	Clock time.Time
}

// Same says whether p is the same point of a log as o.
func (p Position) Same(o Position) bool { return p.Revision == o.Revision && p.Serial == o.Serial }

// Commit is what one Update, Put or Delete changed.
type Commit[T any] struct {
	Position
	Changes []Change[T]
}

// Change is the new state of one T, or which T is gone.
type Change[T any] struct {
	Value   T // of a deleted one only its key (Name or ID) and Revision
	Deleted bool
}

// Hosts is one zone of a store.
type Hosts interface {
	Log[zone.Host]
	// Update does all of u or none of it.
	Update(ctx context.Context, u Update) (Receipt, error)
	// Kept reads what is not part of a host's state, nil when there is no such
	// host.
	Kept(ctx context.Context, name zone.Name) (*Kept, error)
	// History lists a host's states, the current one first, at most HistoryLen;
	// none when there is no such host.
	History(ctx context.Context, name zone.Name) ([]Past, error)
	// List yields hosts in the store's own order, at most limit, from where
	// cursor says ("" is the start), and the cursor to go on with, "" at the
	// end. A host that exists all along is listed exactly once.
	List(ctx context.Context, cursor string, limit int) ([]Listed, string, error)
}

// HistoryLen is how many states of a host are kept.
const HistoryLen = 20

// Update is a compare-and-set of hosts of one zone.
type Update struct {
	Writes []Write
	Served uint32 // highest SOA serial that the caller has published, 0: none
	By     Author
}

// Op is what a Write does.
type Op uint8

const (
	// Put sets the host's state; its Revision is the commit's.
	Put Op = iota
	// Refresh only advances the time at which the host was last seen. It is
	// not a change: history and Follow know nothing of it.
	Refresh
	// Delete removes the host, its history and its settings.
	Delete
)

// Write is one host's part of an Update.
type Write struct {
	Op Op
	// Host is the name and the state wanted. Host.Revision is the revision it
	// was computed from, 0 for a host that must not exist.
	Host zone.Host
	// Settings replaces the host's settings; nil leaves them. The zero
	// Settings removes them. Flags in the state agree with what is kept:
	// the store sets and clears zone.HasSettings by itself.
	Settings *Settings
}

// Author is who asked for an update.
type Author struct {
	Token  token.ID
	Client netip.Addr
}

// Receipt says what an Update became.
type Receipt struct {
	Position           // of the commit; Revision 0 when there were only refreshes
	Time     time.Time // by the store's clock, in whole seconds as Seen and Past have it
}

// Conflict is the error of an Update computed from what is no longer current.
// Current holds those hosts of the update whose revision differed, absent ones
// with revision 0.
type Conflict struct{ Current []zone.Host }

func (c *Conflict) Error() string {
	return fmt.Sprintf("%d hosts: %v", len(c.Current), ErrConflict)
}

// Is makes errors.Is(err, ErrConflict) true.
func (c *Conflict) Is(target error) bool { return target == ErrConflict }

// Settings are what a host rarely has.
type Settings struct {
	Note string `json:"note,omitempty"`
}

// Kept is what a store knows of a host beside its state.
type Kept struct {
	Seen     time.Time // last change or refresh
	Settings Settings
}

// Past is a state that a host had.
type Past struct {
	Time time.Time // since when
	By   Author
	zone.State
}

// Listed is a host in a list.
type Listed struct {
	zone.Host
	Seen time.Time
}

// Tokens is the part of a store with the tokens.
type Tokens interface {
	Log[token.Token]
	// Put makes or replaces a token. t.Revision is the revision it was
	// computed from, 0 for a new one.
	Put(ctx context.Context, t token.Token) (zone.Revision, error)
	// Delete revokes a token, whatever its revision.
	Delete(ctx context.Context, id token.ID) (zone.Revision, error)
}
