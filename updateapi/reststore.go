package updateapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/coredns-ddns/ddns/plugin/event"
	"github.com/coredns-ddns/ddns/plugin/store"
	"github.com/coredns-ddns/ddns/plugin/zone"
)

// Shared is what a store does for its operator that nodes have in common: a zone
// is in it only after Init, and what it has lost stays lost to the nodes until
// Forget. The name TokensName stands for the tokens.
type Shared interface {
	store.Store
	Init(ctx context.Context, zones ...zone.Name) (made []zone.Name, err error)
	Forget(ctx context.Context, name zone.Name) (bool, error)
	Check(ctx context.Context, name zone.Name) (findings []string, err error)
}

// TokensName stands for the tokens where an operator's call takes a zone.
const TokensName zone.Name = "tokens"

// errEmbedded is the outcome of asking an embedded store for what only shared
// ones need.
var errEmbedded = fmt.Errorf("%w: the store is embedded, which needs no such care", errInput)

// shared finds the shared store of a zone, or of the tokens.
func (s *Server) shared(text string) (Shared, zone.Name, error) {
	name := TokensName
	realm := s.Realms[0]
	if text != string(TokensName) {
		n, err := zone.ParseName(text)
		if err != nil {
			return nil, "", badInput("zone is %.80q, a zone of this server or tokens is wanted", text)
		}
		r, z := s.zone(n)
		if z == nil || z.Origin != n {
			return nil, "", badInput("%s is no zone of this server", n)
		}
		name, realm = n, r
	}
	st, ok := realm.Store.(Shared)
	if !ok {
		return nil, "", errEmbedded
	}
	return st, name, nil
}

// initStore makes zones, all of this server unless some are named, and the
// tokens, where they are not there.
func (s *Server) initStore(c *caller, w http.ResponseWriter, r *http.Request) (any, error) {
	var in StoreInit
	if err := readJSON(r, &in); err != nil {
		return nil, err
	}
	if len(in.Zones) == 0 {
		for _, realm := range s.Realms {
			if _, ok := realm.Store.(Shared); ok {
				for _, z := range realm.Zones {
					in.Zones = append(in.Zones, string(z.Origin))
				}
			}
		}
	}
	if len(in.Zones) == 0 {
		return nil, errEmbedded
	}
	out := StoreMade{Made: []string{}}
	for _, text := range in.Zones {
		st, name, err := s.shared(text)
		if err != nil {
			return nil, err
		}
		made, err := st.Init(r.Context(), name)
		if err != nil {
			return nil, err
		}
		for _, m := range made {
			out.Made = append(out.Made, string(m))
			s.emit(c, event.Event{Kind: event.Stored, Reason: "made " + string(m)})
		}
	}
	return out, nil
}

func (s *Server) forgetStore(c *caller, w http.ResponseWriter, r *http.Request) (any, error) {
	var in StoreForget
	if err := readJSON(r, &in); err != nil {
		return nil, err
	}
	st, name, err := s.shared(in.Zone)
	if err != nil {
		return nil, err
	}
	forgotten, err := st.Forget(r.Context(), name)
	if err != nil {
		return nil, err
	}
	if forgotten {
		s.emit(c, event.Event{Kind: event.Stored, Reason: "forgot what was lost of " + string(name)})
	}
	return StoreForgotten{Forgotten: forgotten}, nil
}

func (s *Server) checkStore(c *caller, w http.ResponseWriter, r *http.Request) (any, error) {
	st, name, err := s.shared(r.URL.Query().Get("zone"))
	if err != nil {
		return nil, err
	}
	found, err := st.Check(r.Context(), name)
	if err != nil {
		return nil, err
	}
	return StoreFindings{Findings: append([]string{}, found...)}, nil
}

// unsupported makes errors.ErrUnsupported, of a backup, an answer.
func unsupported(err error) error {
	if errors.Is(err, errors.ErrUnsupported) {
		return fmt.Errorf("%w: %w", errInput, err)
	}
	return err
}
