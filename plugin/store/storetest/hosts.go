package storetest

import (
	"context"
	"errors"
	"net/netip"
	"testing"

	"github.com/coredns-ddns/ddns/plugin/store"
	"github.com/coredns-ddns/ddns/plugin/zone"
)

func (m mediumFunc) update(t *testing.T) {
	t.Run("a host comes back as it was put", func(t *testing.T) {
		h := m.hosts(t)
		for i, st := range []zone.State{
			{A: netip.MustParseAddr("192.0.2.1"), AAAA: netip.MustParseAddr("2001:db8::1"), TTL: 300},
			{A: netip.MustParseAddr("255.255.255.255"), Flags: zone.Withdrawn},
			{AAAA: netip.MustParseAddr("::"), TTL: 1<<32 - 1, Flags: zone.Wildcard | zone.Withdrawn},
			{},
		} {
			for _, n := range []zone.Name{origin, "*." + origin, "a.b.c." + origin} {
				before, _ := all(t, h)
				st.Revision = before[n].Revision
				r := must(t, h, store.Write{Host: zone.Host{Name: n, State: st}})
				st.Revision = r.Revision
				if after, _ := all(t, h); after[n] != st {
					t.Errorf("state %d of %s: %v, want %v", i, n, after[n], st)
				}
			}
		}
	})
	t.Run("a new host must not exist", func(t *testing.T) {
		h := m.hosts(t)
		r := must(t, h, put("a", 0, 1))
		current := conflict(t, h, put("a", 0, 2))
		if want := state(r.Revision, 1); len(current) != 1 || current[name("a")] != want {
			t.Errorf("current %v, want %v", current, want)
		}
	})
	t.Run("one stale host stops the whole update and all that are stale are shown", func(t *testing.T) {
		h := m.hosts(t)
		r := must(t, h, put("a", 0, 1), put("b", 0, 2))
		b := must(t, h, put("b", r.Revision, 3))
		before, _ := all(t, h)
		current := conflict(t, h, put("a", r.Revision, 8), put("b", r.Revision, 8), put("absent", 7, 8), put("new", 0, 8))
		if len(current) != 2 || current[name("b")] != state(b.Revision, 3) || current[name("absent")] != (zone.State{}) {
			t.Errorf("current %v, want b as it is and absent with revision 0", current)
		}
		if _, there := current[name("absent")]; !there {
			t.Error("the absent host is not shown")
		}
		same(t, h, before)
		if past := pastOf(t, h, "new"); past != nil {
			t.Errorf("history of a host that was not made: %v", past)
		}
	})
	t.Run("revisions count commits and the hosts of one share it", func(t *testing.T) {
		h := m.hosts(t)
		if _, p := all(t, h); p.Revision != 0 {
			t.Errorf("a new zone has revision %d, want 0", p.Revision)
		}
		for i := range 5 {
			last := zone.Revision(i)
			r := must(t, h, put("a", last, i), put("b", last, i))
			hosts, p := all(t, h)
			if r.Revision != last+1 || p.Revision != r.Revision || p.Serial != r.Serial {
				t.Fatalf("receipt %v and snapshot %v after commit %d", r, p, i+1)
			}
			if hosts[name("a")].Revision != r.Revision || hosts[name("b")].Revision != r.Revision {
				t.Fatalf("hosts %v, want revision %d", hosts, r.Revision)
			}
			conflict(t, h, put("a", 0, i))
		}
	})
	t.Run("what nobody should ask is invalid and changes nothing", func(t *testing.T) {
		h := m.hosts(t)
		r := must(t, h, put("a", 0, 1))
		before, _ := all(t, h)
		elsewhere := put("a", 0, 1)
		elsewhere.Host.Name = "a.example.net."
		suffix := put("a", 0, 1)
		suffix.Host.Name = "not" + origin
		mixed := put("b", 0, 1)
		mixed.Host.A, mixed.Host.AAAA = mixed.Host.AAAA, mixed.Host.A
		scoped := put("b", 0, 1)
		scoped.Host.AAAA = netip.MustParseAddr("fe80::1%eth0")
		flagged := put("b", 0, 1)
		flagged.Host.Flags = 1 << 15
		noted := refresh("a", r.Revision)
		noted.Settings = &store.Settings{Note: "x"}
		for why, writes := range map[string][]store.Write{
			"no host":                          nil,
			"a host twice":                     {put("b", 0, 1), put("b", 0, 2)},
			"a host twice, refreshed":          {put("a", r.Revision, 1), refresh("a", r.Revision)},
			"another zone":                     {put("b", 0, 1), elsewhere},
			"a name that ends like the zone":   {suffix},
			"an A that is IPv6":                {mixed},
			"an AAAA with a scope":             {scoped},
			"an unknown flag":                  {flagged},
			"a refresh of what must not exist": {refresh("b", 0)},
			"a delete of what must not exist":  {remove("b", 0)},
			"settings with a refresh":          {noted},
			"an unknown operation":             {{Op: 99, Host: zone.Host{Name: name("b")}}},
		} {
			_, err := h.Update(t.Context(), store.Update{Writes: writes})
			if !errors.Is(err, store.ErrInvalid) {
				t.Errorf("%s: %v, want ErrInvalid", why, err)
			}
		}
		same(t, h, before)
	})
	t.Run("an ended context changes nothing", func(t *testing.T) {
		h := m.hosts(t)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		for range 50 { // the store may be about to take it
			if _, err := h.Update(ctx, store.Update{Writes: []store.Write{put("a", 0, 1)}}); !errors.Is(err, context.Canceled) {
				t.Errorf("%v, want Canceled", err)
			}
		}
		r := must(t, h, put("b", 0, 1)) // behind all of them
		same(t, h, map[zone.Name]zone.State{name("b"): state(r.Revision, 1)})
	})
}

// same checks that the zone is as before.
func same(t *testing.T, h store.Hosts, before map[zone.Name]zone.State) {
	t.Helper()
	after, _ := all(t, h)
	for n, st := range before {
		if after[n] != st {
			t.Errorf("%s is %v, want %v", n, after[n], st)
		}
	}
	if len(after) != len(before) {
		t.Errorf("%d hosts, want %d", len(after), len(before))
	}
}

func (m mediumFunc) refresh(t *testing.T) {
	t.Run("advances the time last seen and nothing else", func(t *testing.T) {
		h := m.hosts(t)
		r := must(t, h, put("a", 0, 1))
		seen := keptOf(t, h, "a").Seen
		if !seen.Equal(r.Time) {
			t.Errorf("seen %v, want the time of the update, %v", seen, r.Time)
		}
		before, p := all(t, h)
		f := startFollow(t, h, r.Revision)
		until(t, "a refresh is seen", func() bool {
			r := must(t, h, refresh("a", r.Revision))
			if r.Revision != 0 || r.Time.Before(seen) {
				t.Fatalf("receipt %v, want no revision", r)
			}
			k := keptOf(t, h, "a")
			return k.Seen.After(seen) && !k.Seen.After(r.Time)
		})
		same(t, h, before)
		if _, q := all(t, h); !q.Same(p) {
			t.Errorf("position %v, want %v", q, p)
		}
		if past := pastOf(t, h, "a"); len(past) != 1 {
			t.Errorf("history %v, want one state", past)
		}
		if c := must(t, h, put("b", 0, 2)); f.next(t).Revision != c.Revision {
			t.Error("a refresh was followed")
		}
	})
	t.Run("conflicts when stale", func(t *testing.T) {
		h := m.hosts(t)
		r := must(t, h, put("a", 0, 1))
		r2 := must(t, h, put("a", r.Revision, 2))
		current := conflict(t, h, refresh("a", r.Revision), refresh("absent", 1))
		if len(current) != 2 || current[name("a")] != state(r2.Revision, 2) {
			t.Errorf("current %v", current)
		}
	})
	t.Run("is done beside a change or not at all", func(t *testing.T) {
		h := m.hosts(t)
		r := must(t, h, put("a", 0, 1), put("b", 0, 1))
		c := must(t, h, refresh("a", r.Revision), put("b", r.Revision, 2))
		hosts, _ := all(t, h)
		if hosts[name("a")].Revision != r.Revision || hosts[name("b")].Revision != c.Revision {
			t.Errorf("hosts %v", hosts)
		}
		conflict(t, h, refresh("a", r.Revision), put("b", r.Revision, 3))
	})
}

func (m mediumFunc) delete(t *testing.T) {
	t.Run("removes state, history and settings", func(t *testing.T) {
		h := m.hosts(t)
		w := put("a", 0, 1)
		w.Settings = &store.Settings{Note: "attic"}
		r := must(t, h, w, put("b", 0, 1))
		f := startFollow(t, h, r.Revision)
		d := must(t, h, remove("a", r.Revision))
		c := f.next(t)
		if d.Revision != r.Revision+1 || !c.Same(d.Position) || len(c.Changes) != 1 {
			t.Fatalf("receipt %v, commit %v", d, c)
		}
		if ch := c.Changes[0]; !ch.Deleted || ch.Value.Name != name("a") || ch.Value.Revision != d.Revision {
			t.Errorf("change %v, want a deleted with revision %d", ch, d.Revision)
		}
		hosts, _ := all(t, h)
		if _, there := hosts[name("a")]; there || len(hosts) != 1 {
			t.Errorf("hosts %v, want b alone", hosts)
		}
		if k, err := h.Kept(t.Context(), name("a")); k != nil || err != nil {
			t.Errorf("Kept: %v, %v, want nil", k, err)
		}
		if past := pastOf(t, h, "a"); past != nil {
			t.Errorf("history %v, want none", past)
		}
		conflict(t, h, remove("a", r.Revision))
		again := must(t, h, put("a", 0, 2))
		hosts, _ = all(t, h)
		if past := pastOf(t, h, "a"); hosts[name("a")] != state(again.Revision, 2) || len(past) != 1 || keptOf(t, h, "a").Settings != (store.Settings{}) {
			t.Errorf("made again: %v with history %v, want a new host", hosts[name("a")], past)
		}
	})
	t.Run("conflicts when stale", func(t *testing.T) {
		h := m.hosts(t)
		r := must(t, h, put("a", 0, 1))
		must(t, h, put("a", r.Revision, 2))
		before, _ := all(t, h)
		conflict(t, h, remove("a", r.Revision))
		same(t, h, before)
	})
}

func (m mediumFunc) settings(t *testing.T) {
	h := m.hosts(t)
	revision := zone.Revision(0)
	for _, step := range []struct {
		intent  string
		set     *store.Settings
		claimed zone.Flags // by the writer
		want    store.Settings
	}{
		{"a new host has none, whatever its writer says", nil, zone.HasSettings, store.Settings{}},
		{"they are set", &store.Settings{Note: "größer\n\"<&>\""}, 0, store.Settings{Note: "größer\n\"<&>\""}},
		{"a change without settings leaves them", nil, 0, store.Settings{Note: "größer\n\"<&>\""}},
		{"they are replaced", &store.Settings{Note: "b"}, 0, store.Settings{Note: "b"}},
		{"the zero value removes them", &store.Settings{}, zone.HasSettings, store.Settings{}},
		{"they stay away", nil, zone.HasSettings, store.Settings{}},
	} {
		w := put("a", revision, 1)
		w.Settings, w.Host.Flags = step.set, zone.Wildcard|step.claimed
		revision = must(t, h, w).Revision
		if k := keptOf(t, h, "a"); k.Settings != step.want {
			t.Errorf("%s: %v, want %v", step.intent, k.Settings, step.want)
		}
		flags := zone.Wildcard
		if step.want != (store.Settings{}) {
			flags |= zone.HasSettings
		}
		if hosts, _ := all(t, h); hosts[name("a")].Flags != flags {
			t.Errorf("%s: flags %b, want %b", step.intent, hosts[name("a")].Flags, flags)
		}
	}
}

func (m mediumFunc) history(t *testing.T) {
	h := m.hosts(t)
	if past := pastOf(t, h, "a"); past != nil {
		t.Errorf("of a host that is not there: %v", past)
	}
	var want []store.Past
	revision := zone.Revision(0)
	for i := range store.HistoryLen + 5 {
		by := store.Author{Token: "abc123", Client: netip.MustParseAddr("2001:db8::7")}
		switch i % 3 {
		case 1:
			by = store.Author{Token: "admin", Client: netip.MustParseAddr("198.51.100.7")}
		case 2:
			by = store.Author{}
		}
		w := put("a", revision, i)
		r, err := h.Update(t.Context(), store.Update{Writes: []store.Write{w, put("b"+string(rune('a'+i)), 0, i)}, By: by})
		if err != nil {
			t.Fatal(err)
		}
		revision, w.Host.Revision = r.Revision, r.Revision
		want = append([]store.Past{{Time: r.Time, By: by, State: w.Host.State}}, want...)
	}
	past := pastOf(t, h, "a")
	if len(past) != store.HistoryLen {
		t.Fatalf("%d states, want %d", len(past), store.HistoryLen)
	}
	for i, p := range past {
		if !p.Time.Equal(want[i].Time) || p.By != want[i].By || p.State != want[i].State {
			t.Errorf("state %d: %v, want %v", i, p, want[i])
		}
	}
}
