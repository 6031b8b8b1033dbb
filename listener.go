package ddns

import (
	"crypto/tls"
	"fmt"
	"net/netip"
	"runtime/debug"
	"slices"
	"time"

	"github.com/coredns-ddns/ddns/plugin/event"
	"github.com/coredns-ddns/ddns/plugin/token"
	"github.com/coredns-ddns/ddns/plugin/zone"
	"github.com/coredns-ddns/ddns/updateapi"
)

// listener is an update listener as a Corefile has it. The first block that
// names its address gives its settings.
type listener struct {
	*updateConfig
	blocks []*block
	realms []*updateapi.Realm
	share  *updateapi.Listener
	served *updateapi.Served
	certs  certificates
}

// add lets b be updated through l.
func (l *listener) add(b *block) error {
	for _, other := range l.blocks {
		for _, z := range b.zones {
			if slices.Contains(other.zones, z) && other.store.String() != b.store.String() {
				return fmt.Errorf("update: zone %s is given for %s in the stores %v and %v, one store is wanted",
					z, l.addr, &other.store, &b.store)
			}
		}
	}
	l.blocks = append(l.blocks, b)
	return nil
}

// offer adds a store with its zones. Blocks may have both in common.
func (l *listener) offer(realm *updateapi.Realm, zones []*updateapi.Zone) {
	at := slices.IndexFunc(l.realms, func(r *updateapi.Realm) bool { return r.Store == realm.Store })
	if at < 0 {
		l.realms = append(l.realms, realm)
		at = len(l.realms) - 1
	}
	realm = l.realms[at]
	for _, z := range zones {
		if !slices.ContainsFunc(realm.Zones, func(other *updateapi.Zone) bool { return other.Origin == z.Origin }) {
			realm.Zones = append(realm.Zones, z)
		}
	}
}

// prepare makes what the listener is to serve. reserved lists the names that no
// subtree of a grant reaches.
func (l *listener) prepare(reserved func() []zone.Name) error {
	admin, err := l.operator()
	if err != nil {
		return err
	}
	if l.certs, err = l.certificates(); err != nil {
		return err
	}
	l.served = &updateapi.Served{
		Handler: updateapi.New(updateapi.Config{
			Realms: l.realms, Admin: admin, TrustedProxies: l.trusted, Publish: l.publish, Rate: l.rate,
			Limits: &l.share.Limits, Reserved: reserved, Events: logEvent, Version: version(), Started: time.Now(),
		}),
	}
	if l.certs != nil {
		l.served.TLS = l.certs.config()
	} else if !loopback(l.host) {
		l.served.Peers = l.trusted
	}
	return nil
}

// operator reads the admin token, nil when there is none.
func (l *listener) operator() (*token.Secret, error) {
	if l.adminToken == "" {
		log.Warningf("update %s: no admin_token is given, so nobody can mint tokens here", l.addr)
		return nil, nil
	}
	s, err := adminToken(l.adminToken)
	return &s, err
}

// certificateEnd is when the certificate ends, zero where that is not ours to
// know.
func (l *listener) certificateEnd() time.Time {
	if l.certs == nil {
		return time.Time{}
	}
	return l.certs.end()
}

// ownNames are the listener's, by the Corefile and by its certificate.
func (l *listener) ownNames() []zone.Name {
	own := []string{l.host}
	if l.certs != nil {
		own = append(own, l.certs.names()...)
	}
	names := slices.Clone(l.names)
	for _, text := range own {
		if _, err := netip.ParseAddr(text); err == nil {
			continue
		}
		if n, err := zone.ParseName(text); err == nil && !n.IsWildcard() {
			names = append(names, n)
		}
	}
	return names
}

func (l *listener) certificates() (certificates, error) {
	switch l.tls.mode {
	case tlsFiles:
		return loadFiles(l.tls.cert, l.tls.key)
	case tlsInternal:
		return ownCertificate(l.adminToken, l.host)
	case tlsOff:
		return nil, nil
	}
	return blockCertificates{l.blocks[0].server.TLSConfig}, nil
}

// blockCertificates are those of the server block's tls, ACME's included.
type blockCertificates struct{ tls *tls.Config }

func (b blockCertificates) config() *tls.Config {
	c := b.tls.Clone()
	c.NextProtos = alpn
	c.ClientAuth, c.ClientCAs = tls.NoClientCert, nil // devices show tokens
	return c
}

func (b blockCertificates) end() time.Time {
	if len(b.tls.Certificates) == 0 {
		return time.Time{}
	}
	return leafOf(&b.tls.Certificates[0]).NotAfter
}

func (b blockCertificates) names() []string {
	var names []string
	for i := range b.tls.Certificates {
		names = append(names, leafOf(&b.tls.Certificates[i]).DNSNames...)
	}
	return names
}

// logEvent writes an event to CoreDNS's log.
func logEvent(e event.Event) {
	switch e.Kind {
	case event.Refused:
		log.Warning(e.String())
	case event.Failed:
		log.Error(e.String())
	default:
		log.Info(e.String())
	}
}

// version is that of the module the plugin was built from.
func version() string {
	const path = "github.com/coredns-ddns/ddns"
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	if info.Main.Path == path {
		return info.Main.Version
	}
	for _, m := range info.Deps {
		if m.Path == path {
			return m.Version
		}
	}
	return "unknown"
}
