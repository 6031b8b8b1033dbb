package updateapi

import (
	"net/http"
	"time"

	"github.com/coredns-ddns/ddns/plugin/zone"
)

// whoami tells a device what the server makes of it.
func (s *Server) whoami(c *caller, w http.ResponseWriter, r *http.Request) (any, error) {
	out := Whoami{Admin: c.admin, Client: spell(c.client), Remote: spell(c.remote)}
	if c.admin {
		return out, nil
	}
	t := tokenOut(c.token)
	out.Token = &t
	for _, p := range c.token.Names {
		if p.Subtree() != "" {
			continue
		}
		h, err := s.whoamiHost(c, r, zone.Name(p))
		if err != nil {
			return nil, err
		}
		out.Hosts = append(out.Hosts, h)
	}
	return out, nil
}

func (s *Server) whoamiHost(c *caller, r *http.Request, name zone.Name) (WhoamiHost, error) {
	out := WhoamiHost{Name: string(name), DNS: []string{}}
	realm, z := s.zone(name)
	if z == nil || realm != c.realm {
		return out, nil
	}
	for _, a := range z.Copy.Answers(name) {
		out.DNS = append(out.DNS, a.String())
	}
	st := z.Copy.Get(name)
	if st.Revision == 0 {
		return out, nil
	}
	kept, err := z.Hosts.Kept(r.Context(), name)
	if err != nil || kept == nil {
		return out, err
	}
	h := keptOut(z, zone.Host{Name: name, State: st}, kept)
	out.Stored = &h
	return out, nil
}

func (s *Server) status(c *caller, w http.ResponseWriter, r *http.Request) (any, error) {
	now := time.Now()
	out := Status{Version: s.Version, Started: s.Started, Ready: true, Zones: []ZoneStatus{}}
	for _, realm := range s.Realms {
		out.Tokens += realm.Known.Len()
		out.Ready = out.Ready && realm.Known.Ready()
		for _, z := range realm.Zones {
			lag, err := z.Copy.Lag(now)
			zs := ZoneStatus{
				Zone: string(z.Origin), Ready: z.Copy.Ready(), Hosts: z.Copy.Hosts(),
				Revision: uint64(z.Copy.Revision()), Serial: z.Copy.Serial(now),
				LagSeconds: lag.Seconds(), Store: realm.Name,
			}
			if err != nil {
				zs.Error = err.Error()
			}
			out.Ready = out.Ready && zs.Ready
			out.Zones = append(out.Zones, zs)
		}
	}
	return out, nil
}

// backup sends a copy of a store, of the one that keeps ?zone= where there are
// several. What goes wrong midway breaks the connection, so that a part is
// never taken for the whole.
func (s *Server) backup(c *caller, w http.ResponseWriter, r *http.Request) (any, error) {
	realm := s.Realms[0]
	if len(s.Realms) > 1 {
		name, err := zone.ParseName(r.URL.Query().Get("zone"))
		if err != nil {
			return nil, badInput("there are several stores: zone=ORIGIN is wanted")
		}
		if realm, _ = s.zone(name); realm == nil {
			return nil, errNoZone
		}
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	out := &backupWriter{w: w, control: http.NewResponseController(w)}
	if err := realm.Store.Backup(r.Context(), out); err != nil {
		if out.n == 0 {
			return nil, unsupported(err)
		}
		panic(http.ErrAbortHandler)
	}
	return nil, nil
}

// backupWriter gives a slow client all the time it needs, as long as it takes
// something now and then: a store cannot close while it is copied.
type backupWriter struct {
	w       http.ResponseWriter
	control *http.ResponseController
	n       int64
}

func (b *backupWriter) Write(p []byte) (int, error) {
	const piece = 64 << 10
	for done := 0; done < len(p); {
		if err := b.control.SetWriteDeadline(time.Now().Add(requestTimeout)); err != nil {
			return done, err
		}
		n, err := b.w.Write(p[done:min(done+piece, len(p))])
		done, b.n = done+n, b.n+int64(n)
		if err != nil {
			return done, err
		}
	}
	return len(p), nil
}
