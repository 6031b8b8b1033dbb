package updateapi

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"slices"
	"time"

	"github.com/coredns-ddns/ddns/plugin/event"
	"github.com/coredns-ddns/ddns/plugin/store"
	"github.com/coredns-ddns/ddns/plugin/zone"
)

var (
	// errName is the outcome of a name that is none.
	errName = errors.New("not a fully qualified host name")
	// errNoHost is the outcome of deleting what is not there.
	errNoHost = errors.New("there is no such host")
	// errPrecondition is the outcome of an edit whose ifMatch did not hold.
	errPrecondition = errors.New("the host has changed since you read it")
	// errWithheld is the outcome of a good edit in a request that is all or none.
	errWithheld = errors.New("not done, because another host of the request was refused")
)

const (
	// updateDeadline bounds an update whatever the store does.
	updateDeadline = 5 * time.Second
	// maxTries bounds how often an update is computed again because others
	// were faster.
	maxTries = 20
)

// outcome is what became of one edit.
type outcome struct {
	edit    *edit
	zone    *Zone
	before  zone.State
	after   zone.State
	changed bool
	err     error
	same    *outcome // an earlier edit of the same host, which serves both
}

// update is the way of every change: authorise every host, check its addresses,
// commit what is granted, zone by zone, all or none, and wait until this node
// answers it. An error is about the whole request. With strict set, one host
// that is refused refuses all.
func (s *Server) update(ctx context.Context, c *caller, edits []edit, strict bool) ([]outcome, error) {
	// A client that hangs up has no say in whether its update is whole.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), updateDeadline)
	defer cancel()
	outcomes := s.plan(c, edits)
	if strict && refused(outcomes) != nil {
		return outcomes, nil
	}
	var failed error
	for _, group := range byZone(outcomes) {
		if err := s.commit(ctx, c, group, strict); err != nil {
			failed = err
			s.report(c, group, err)
			continue
		}
		s.report(c, group, nil)
	}
	for i := range outcomes {
		if o := &outcomes[i]; o.same != nil {
			*o = *o.same
		}
	}
	return outcomes, failed
}

func (s *Server) plan(c *caller, edits []edit) []outcome {
	outcomes := make([]outcome, len(edits))
	seen := make(map[zone.Name]*outcome, len(edits))
	for i := range edits {
		e, o := &edits[i], &outcomes[i]
		o.edit = e
		if o.same = seen[e.name]; o.same != nil {
			continue
		}
		if e.name != "" {
			seen[e.name] = o
		}
		o.zone, o.err = s.authorise(c, e)
		if o.err != nil {
			updates.WithLabelValues(c.dialect, outcomeLabel(o.err)).Inc()
		}
	}
	return outcomes
}

// refused returns the first outcome that is a refusal for its own sake.
func refused(outcomes []outcome) *outcome {
	for i := range outcomes {
		if err := outcomes[i].err; err != nil && !errors.Is(err, errWithheld) {
			return &outcomes[i]
		}
	}
	return nil
}

// byZone groups what is to be committed together.
func byZone(outcomes []outcome) map[*Zone][]*outcome {
	groups := make(map[*Zone][]*outcome)
	for i := range outcomes {
		if o := &outcomes[i]; o.err == nil && o.same == nil {
			groups[o.zone] = append(groups[o.zone], o)
		}
	}
	return groups
}

// commit makes a group of edits of one zone true, or none of them. Edits that
// turn out to be impossible get an error of their own and are left out.
func (s *Server) commit(ctx context.Context, c *caller, group []*outcome, strict bool) error {
	z := group[0].zone
	if !z.Copy.Ready() {
		return errNotReady
	}
	if c.limited() && creates(group) {
		lock := &creating[maphash.String(creatingSeed, string(c.token.ID))%uint64(len(creating))]
		lock.Lock()
		defer lock.Unlock()
	}
	for _, o := range group {
		o.before = z.Copy.Get(o.edit.name)
	}
	for range maxTries {
		if err := c.still(time.Now()); err != nil {
			return err
		}
		writes, err := s.writes(ctx, c, group)
		if err != nil {
			return err
		}
		if strict && len(writes) < len(group) {
			withhold(group)
			return nil
		}
		if len(writes) == 0 {
			return nil
		}
		u := store.Update{Writes: writes, Served: z.Copy.Serial(time.Now()), By: store.Author{Token: c.id(), Client: c.client}}
		start := time.Now()
		receipt, err := z.Hosts.Update(ctx, u)
		storeLatency.Observe(time.Since(start).Seconds())
		var conflict *store.Conflict
		if errors.As(err, &conflict) {
			adopt(group, conflict)
			continue
		}
		if err != nil {
			return err
		}
		if err := z.Copy.Wait(ctx, receipt.Revision); err != nil {
			return fmt.Errorf("%w: this node has not applied revision %d", store.ErrUnavailable, receipt.Revision)
		}
		for _, o := range group {
			o.after.Revision = receipt.Revision
			if !o.changed {
				o.after.Revision = o.before.Revision
			}
		}
		return nil
	}
	return fmt.Errorf("%w: others were faster %d times", store.ErrUnavailable, maxTries)
}

// creates says whether one of the hosts is not there yet.
func creates(group []*outcome) bool {
	return slices.ContainsFunc(group, func(o *outcome) bool { return o.zone.Copy.Get(o.edit.name).Revision == 0 })
}

var creatingSeed = maphash.MakeSeed()

// withhold marks what is not done because of its company.
func withhold(group []*outcome) {
	for _, o := range group {
		if o.err == nil && o.same == nil {
			o.err = errWithheld
		}
	}
}

// adopt puts the states that others have made in the place of those that the
// edits were computed from.
func adopt(group []*outcome, conflict *store.Conflict) {
	for _, h := range conflict.Current {
		for _, o := range group {
			if o.edit.name == h.Name {
				o.before = h.State
			}
		}
	}
}

// writes computes what to ask of the store.
func (s *Server) writes(ctx context.Context, c *caller, group []*outcome) ([]store.Write, error) {
	var writes []store.Write
	made := 0
	for _, o := range group {
		w, err := s.write(ctx, c, o)
		if err == nil && o.edit.shy && o.before.Revision == 0 && !o.after.A.IsValid() && !o.after.AAAA.IsValid() {
			o.after, o.changed = o.before, false
			continue
		}
		if err == nil && o.before.Revision == 0 {
			made++
			err = s.quota(c, made)
		}
		if errors.Is(err, store.ErrUnavailable) {
			return nil, err
		}
		if o.err = err; err != nil {
			o.changed = false
			continue
		}
		writes = append(writes, w)
	}
	return writes, nil
}

// write computes one host's part from the state it has.
func (s *Server) write(ctx context.Context, c *caller, o *outcome) (store.Write, error) {
	e := o.edit
	exists := o.before.Revision != 0
	if e.ifMatch != nil && !e.ifMatch(o.before.Revision) {
		return store.Write{}, errPrecondition
	}
	w := store.Write{Op: store.Put, Host: zone.Host{Name: e.name, State: o.before}}
	if e.delete {
		if !exists {
			return w, errNoHost
		}
		w.Op, o.after, o.changed = store.Delete, zone.State{}, true
		return w, nil
	}
	if e.aaaa.op == move && !o.before.AAAA.IsValid() && e.a.op == keep {
		return w, fmt.Errorf("%w: the host has no IPv6 address to move below the prefix", errAddress)
	}
	o.after = e.of(o.before)
	if err := c.sets(spokenFor(o.before, o.after)); err != nil {
		return w, err
	}
	o.changed = !exists || !o.after.Same(o.before)
	if e.note != nil {
		if err := s.note(ctx, o, &w); err != nil {
			return w, err
		}
	}
	w.Host.State = o.after
	if !o.changed {
		w.Op = store.Refresh
	}
	return w, nil
}

// note adds the new settings to w if they differ from what is kept.
func (s *Server) note(ctx context.Context, o *outcome, w *store.Write) error {
	var settings store.Settings
	if o.before.Flags&zone.HasSettings != 0 {
		kept, err := o.zone.Hosts.Kept(ctx, o.edit.name)
		if err != nil {
			return err
		}
		if kept != nil {
			settings = kept.Settings
		}
	}
	if settings.Note != *o.edit.note {
		settings.Note = *o.edit.note
		w.Settings, o.changed = &settings, true
	}
	return nil
}

// report counts what became of a group and tells of its changes.
func (s *Server) report(c *caller, group []*outcome, failed error) {
	for _, o := range group {
		err := o.err
		if failed != nil {
			err = failed
		}
		e := event.Event{Host: string(o.edit.name)}
		switch {
		case failed != nil:
			e.Kind, e.Reason = event.Failed, failed.Error()
		case err != nil:
			e.Kind, e.Reason = event.Refused, err.Error()
		case o.edit.delete:
			e.Kind, e.Before = event.Deleted, &o.before
		case o.changed && c.dialect == importing: // told of as a whole
		case o.changed:
			e.Kind, e.Before, e.After = event.Changed, &o.before, &o.after
		}
		label := outcomeLabel(err)
		if err == nil && o.changed {
			label = "good"
		}
		updates.WithLabelValues(c.dialect, label).Inc()
		if e.Kind != "" {
			s.emit(c, e)
		}
	}
}
