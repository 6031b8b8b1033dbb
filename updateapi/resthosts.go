package updateapi

import (
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strconv"

	"github.com/coredns-ddns/ddns/plugin/event"
	"github.com/coredns-ddns/ddns/plugin/store"
	"github.com/coredns-ddns/ddns/plugin/token"
	"github.com/coredns-ddns/ddns/plugin/zone"
)

func hostOut(z *Zone, h zone.Host) Host {
	out := Host{
		Name: string(h.Name), Zone: string(z.Origin), Revision: uint64(h.Revision), TTL: h.TTL,
		Offline: h.Flags&zone.Withdrawn != 0, Wildcard: h.Flags&zone.Wildcard != 0,
	}
	out.A, out.AAAA = spell(h.A), spell(h.AAAA)
	return out
}

func keptOut(z *Zone, h zone.Host, kept *store.Kept) Host {
	out := hostOut(z, h)
	out.Seen, out.Note = kept.Seen, kept.Settings.Note
	return out
}

func spell(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

// readable finds the zone of a host that c may read. What is not granted and
// what does not exist look the same.
func (s *Server) readable(c *caller, r *http.Request) (*Zone, zone.Name, error) {
	name, err := pathName(r)
	if err != nil {
		return nil, "", err
	}
	z, err := s.decide(c, name, nil)
	if err != nil {
		s.emit(c, event.Event{Kind: event.Refused, Host: string(name), Reason: err.Error()})
		return nil, "", err
	}
	if !z.Copy.Ready() {
		return nil, "", errNotReady
	}
	return z, name, nil
}

func (s *Server) getHost(c *caller, w http.ResponseWriter, r *http.Request) (any, error) {
	z, name, err := s.readable(c, r)
	if err != nil {
		return nil, err
	}
	return s.host(w, r, z, name)
}

// host reads a host whole.
func (s *Server) host(w http.ResponseWriter, r *http.Request, z *Zone, name zone.Name) (*Host, error) {
	st := z.Copy.Get(name)
	kept, err := z.Hosts.Kept(r.Context(), name)
	if err != nil {
		return nil, err
	}
	if st.Revision == 0 || kept == nil {
		return nil, errNoHost
	}
	out := keptOut(z, zone.Host{Name: name, State: st}, kept)
	w.Header().Set("ETag", etag(st.Revision))
	return &out, nil
}

// putEdit decodes the whole of a host.
func putEdit(name zone.Name, given string, put *HostPut) (edit, error) {
	if put.TTL != 0 && (put.TTL < MinTTL || put.TTL > MaxTTL) {
		return edit{}, badInput("ttl is %d, %d to %d seconds or none is wanted", put.TTL, MinTTL, MaxTTL)
	}
	if len(put.Note) > 256 {
		return edit{}, badInput("the note has %d octets, at most 256 are wanted", len(put.Note))
	}
	e := edit{given: given, name: name, ttl: &put.TTL, offline: put.Offline, wildcard: &put.Wildcard, note: &put.Note}
	var err error
	if e.a, err = putAddr(put.A, "a", netip.Addr.Is4); err != nil {
		return e, err
	}
	e.aaaa, err = putAddr(put.AAAA, "aaaa", netip.Addr.Is6)
	return e, err
}

func putAddr(text, field string, family func(netip.Addr) bool) (setTo, error) {
	if text == "" {
		return setTo{op: remove}, nil
	}
	a, err := parseAddr(text)
	if err == nil && !family(a) {
		err = fmt.Errorf("%w: %v is of the wrong family for %s", errAddress, a, field)
	}
	return setTo{op: set, addr: a}, err
}

func (s *Server) putHost(c *caller, w http.ResponseWriter, r *http.Request) (any, error) {
	name, err := pathName(r)
	if err != nil {
		return nil, err
	}
	var put HostPut
	if err := readJSON(r, &put); err != nil {
		return nil, err
	}
	e, err := putEdit(name, string(name), &put)
	if err != nil {
		return nil, err
	}
	s.onlyGranted(c, &e)
	o, err := s.updateOne(c, r, e)
	if err != nil {
		return nil, err
	}
	h, err := s.host(w, r, o.zone, name)
	if err == nil && o.before.Revision == 0 {
		return created{h}, nil
	}
	return h, err
}

// onlyGranted lets a token whose grant is for one family put hosts: of the
// other family it may say nothing, which then keeps what is there.
func (s *Server) onlyGranted(c *caller, e *edit) {
	if c.admin {
		return
	}
	if e.a.op == remove && !c.token.Sets("A") {
		e.a.op = keep
	}
	if e.aaaa.op == remove && !c.token.Sets("AAAA") {
		e.aaaa.op = keep
	}
}

func (s *Server) deleteHost(c *caller, w http.ResponseWriter, r *http.Request) (any, error) {
	name, err := pathName(r)
	if err != nil {
		return nil, err
	}
	gone := setTo{op: remove}
	if _, err := s.updateOne(c, r, edit{given: string(name), name: name, delete: true, a: gone, aaaa: gone}); err != nil {
		return nil, err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil, nil
}

func (s *Server) updateOne(c *caller, r *http.Request, e edit) (*outcome, error) {
	var err error
	if e.ifMatch, err = ifMatch(r); err != nil {
		return nil, err
	}
	outcomes, err := s.update(r.Context(), c, []edit{e}, true)
	if err != nil {
		return nil, err
	}
	return &outcomes[0], outcomes[0].err
}

// importing is the dialect of imports, whose hosts get no event each.
const importing = "import"

func (s *Server) importHosts(c *caller, w http.ResponseWriter, r *http.Request) (any, error) {
	var in Import
	if err := readJSON(r, &in); err != nil {
		return nil, err
	}
	if len(in.Hosts) > MaxImport {
		return nil, badInput("%d hosts, at most %d at once are wanted", len(in.Hosts), MaxImport)
	}
	edits := make([]edit, len(in.Hosts))
	seen := make(map[zone.Name]bool, len(in.Hosts))
	for i := range in.Hosts {
		h := &in.Hosts[i]
		name, err := zone.ParseName(h.Name)
		if err != nil {
			return nil, fmt.Errorf("hosts[%d]: %w: %w", i, errName, err)
		}
		if seen[name] {
			return nil, badInput("hosts[%d]: %s is there twice", i, name)
		}
		seen[name] = true
		if edits[i], err = putEdit(name, h.Name, &h.HostPut); err != nil {
			return nil, fmt.Errorf("hosts[%d] %s: %w", i, name, err)
		}
	}
	bulk := *c
	bulk.dialect = importing
	outcomes, err := s.update(r.Context(), &bulk, edits, true)
	if err != nil {
		return nil, err
	}
	if o := refused(outcomes); o != nil {
		return nil, fmt.Errorf("%s: %w", o.edit.given, o.err)
	}
	var out Imported
	for i := range outcomes {
		if outcomes[i].changed {
			out.Changed++
		} else {
			out.Unchanged++
		}
	}
	s.emit(&bulk, event.Event{Kind: event.Imported, Reason: fmt.Sprintf("%d changed, %d unchanged", out.Changed, out.Unchanged)})
	return out, nil
}

func (s *Server) getHistory(c *caller, w http.ResponseWriter, r *http.Request) (any, error) {
	z, name, err := s.readable(c, r)
	if err != nil {
		return nil, err
	}
	past, err := z.Hosts.History(r.Context(), name)
	if err != nil {
		return nil, err
	}
	if len(past) == 0 {
		return nil, errNoHost
	}
	out := History{Name: string(name)}
	for _, p := range past {
		h := hostOut(z, zone.Host{Name: name, State: p.State})
		out.States = append(out.States, Past{
			Time: p.Time, Token: string(p.By.Token), Client: spell(p.By.Client), Revision: h.Revision,
			A: h.A, AAAA: h.AAAA, TTL: h.TTL, Offline: h.Offline, Wildcard: h.Wildcard,
		})
	}
	return out, nil
}

// listHosts pages through the zones. A page holds at most limit hosts; of those
// a device sees its own.
func (s *Server) listHosts(c *caller, w http.ResponseWriter, r *http.Request) (any, error) {
	cursor, limit, err := page(r)
	if err != nil {
		return nil, err
	}
	origin, inner, err := decodeCursor(cursor)
	if err != nil {
		return nil, err
	}
	zones, err := s.zonesOf(c, r.URL.Query().Get("zone"))
	if err != nil {
		return nil, err
	}
	at := 0
	if cursor != "" {
		if at = slices.IndexFunc(zones, func(z *Zone) bool { return z.Origin == origin }); at < 0 {
			return nil, errCursor
		}
	}
	out := HostList{Hosts: []Host{}}
	for ; at < len(zones); at++ {
		z := zones[at]
		listed, next, err := s.list(c, r, z, inner, limit-len(out.Hosts))
		if err != nil {
			return nil, err
		}
		out.Hosts = append(out.Hosts, listed...)
		if next != "" {
			out.Cursor = encodeCursor(z.Origin, next)
			break
		}
		inner = ""
		if len(out.Hosts) >= limit && at+1 < len(zones) {
			out.Cursor = encodeCursor(zones[at+1].Origin, "")
			break
		}
	}
	return out, nil
}

// zonesOf lists the zones that c can have hosts in, only that of origin unless
// it is "".
func (s *Server) zonesOf(c *caller, origin string) ([]*Zone, error) {
	only, err := zone.ParseName(origin)
	if origin != "" && err != nil {
		return nil, badInput("zone is %v", err)
	}
	var zones []*Zone
	for _, realm := range s.Realms {
		if !c.admin && realm != c.realm {
			continue
		}
		for _, z := range realm.Zones {
			if only == "" || z.Origin == only {
				zones = append(zones, z)
			}
		}
	}
	return zones, nil
}

func (s *Server) list(c *caller, r *http.Request, z *Zone, cursor string, limit int) ([]Host, string, error) {
	if !c.admin && !slices.ContainsFunc(c.token.Names, func(p token.Pattern) bool { return p.Subtree() != "" }) {
		return z.listLiteral(c, r, cursor, limit)
	}
	listed, next, err := z.Hosts.List(r.Context(), cursor, limit)
	if err != nil {
		return nil, "", err
	}
	var hosts []Host
	for _, l := range listed {
		if _, err := s.decide(c, l.Name, nil); err != nil && !c.admin {
			continue
		}
		h := hostOut(z, l.Host)
		h.Seen = l.Seen
		if l.Flags&zone.HasSettings != 0 {
			kept, err := z.Hosts.Kept(r.Context(), l.Name)
			if err != nil {
				return nil, "", err
			}
			if kept != nil {
				h.Note = kept.Settings.Note
			}
		}
		hosts = append(hosts, h)
	}
	return hosts, next, nil
}

// listLiteral looks the few names up of a grant without subtrees. Its cursor is
// how many of them are done with.
func (z *Zone) listLiteral(c *caller, r *http.Request, cursor string, limit int) (hosts []Host, next string, _ error) {
	names, done := c.token.Names, 0
	if cursor != "" {
		var err error
		if done, err = strconv.Atoi(cursor); err != nil || done < 0 || done > len(names) {
			return nil, "", errCursor
		}
	}
	for ; done < len(names); done++ {
		if len(hosts) == limit {
			return hosts, strconv.Itoa(done), nil
		}
		name := zone.Name(names[done])
		if !name.Within(z.Origin) {
			continue
		}
		st := z.Copy.Get(name)
		var kept *store.Kept
		var err error
		if st.Revision != 0 {
			if kept, err = z.Hosts.Kept(r.Context(), name); err != nil {
				return nil, "", err
			}
		}
		if kept != nil {
			hosts = append(hosts, keptOut(z, zone.Host{Name: name, State: st}, kept))
		}
	}
	return hosts, "", nil
}
