package ddns

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/coredns/caddy"
	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/plugin"
	"github.com/coredns/coredns/plugin/pkg/fall"

	"github.com/coredns-ddns/ddns/plugin/ratelimit"
	"github.com/coredns-ddns/ddns/plugin/store/redisstore"
	"github.com/coredns-ddns/ddns/plugin/zone"
	"github.com/coredns-ddns/ddns/updateapi"
)

// config is what one ddns block of a Corefile says.
type config struct {
	zones  []zone.Name
	store  storeConfig
	ns     []zone.NameServer
	mbox   zone.Name // "": hostmaster below each zone
	ttl    time.Duration
	fall   fall.F
	update *updateConfig // nil: this block takes no updates
}

// updateConfig is what a block says of its update listener.
type updateConfig struct {
	host, addr string      // as in the Corefile; host "" is every address
	names      []zone.Name // by which devices reach it, beside host and the certificate's
	tls        tlsConfig
	adminToken string // path; "": no operator
	trusted    []netip.Prefix
	publish    updateapi.Publish
	rate       ratelimit.Limit
	settings   []string // properties given beside the address
	where      string   // file:line of the property
}

// tlsConfig says where the listener's certificates come from.
type tlsConfig struct {
	mode      tlsMode
	cert, key string // with tlsFiles
}

type tlsMode uint8

const (
	tlsBlock    tlsMode = iota // the server block's tls
	tlsFiles                   // files of our own
	tlsInternal                // a certificate authority of our own
	tlsOff                     // plain HTTP
)

const (
	defaultTTL      = 60 * time.Second
	defaultDatabase = "ddns.db"
)

var defaultRate = ratelimit.Limit{Count: 60, Per: time.Minute}

// parser reads one ddns block.
type parser struct {
	*caddy.Controller
	config
	update updateConfig
	redis  redisstore.Config // as far as it has been read
	root   string
	seen   map[string]bool
}

// property reads the arguments of one property.
type property func(p *parser, args []string) error

var properties = map[string]property{
	"database":        (*parser).parseDatabase,
	"redis":           (*parser).parseRedis,
	"redis_auth":      (*parser).parseRedisAuth,
	"sentinel_auth":   (*parser).parseSentinelAuth,
	"redis_tls":       (*parser).parseRedisTLS,
	"prefix":          (*parser).parsePrefix,
	"wait":            (*parser).parseWait,
	"ns":              (*parser).parseNS,
	"mbox":            (*parser).parseMbox,
	"ttl":             (*parser).parseTTL,
	"update":          (*parser).parseUpdate,
	"tls":             (*parser).parseTLS,
	"admin_token":     (*parser).parseAdminToken,
	"trusted_proxies": (*parser).parseTrustedProxies,
	"publish":         (*parser).parsePublish,
	"rate":            (*parser).parseRate,
	"fallthrough":     (*parser).parseFallthrough,
}

// listenerProperties belong to the listener and mean nothing without update.
var listenerProperties = []string{"tls", "admin_token", "trusted_proxies", "publish", "rate"}

// parse reads the ddns block of a server block. Every error names the property,
// what was given and what is wanted, and c adds file and line.
func parse(c *caddy.Controller) (*config, error) {
	p := &parser{Controller: c, root: dnsserver.GetConfig(c).Root, seen: map[string]bool{}}
	p.config = config{ttl: defaultTTL, store: storeConfig{database: database(p.path(defaultDatabase))}}
	p.update = updateConfig{rate: defaultRate}
	for blocks := 0; c.Next(); blocks++ {
		if blocks > 0 {
			return nil, c.Err("ddns: given twice in one server block, once is wanted; several zones go behind one ddns")
		}
		if err := p.parseZones(c.RemainingArgs()); err != nil {
			return nil, err
		}
		for c.NextBlock() {
			if err := p.parseProperty(c.Val()); err != nil {
				return nil, err
			}
		}
	}
	return p.finish()
}

func (p *parser) parseZones(args []string) error {
	for _, arg := range args {
		if len(plugin.Host(arg).NormalizeExact()) == 0 {
			return p.Errf("ddns: zone %q, a domain name below the root is wanted", arg)
		}
	}
	for _, origin := range plugin.OriginsFromArgsOrServerBlock(args, p.ServerBlockKeys) {
		n, err := zone.ParseName(origin)
		if err != nil || n.IsWildcard() {
			return p.Errf("ddns: zone %q, a domain name below the root is wanted", origin)
		}
		if slices.Contains(p.zones, n) {
			return p.Errf("ddns: zone %q is given twice", origin)
		}
		p.zones = append(p.zones, n)
	}
	return nil
}

func (p *parser) parseProperty(name string) error {
	read, ok := properties[name]
	if !ok {
		return p.Errf("%s: unknown property, one of %s is wanted", name,
			strings.Join(slices.Sorted(maps.Keys(properties)), ", "))
	}
	if p.seen[name] && name != "ns" {
		return p.Errf("%s: given twice, once is wanted", name)
	}
	p.seen[name] = true
	if slices.Contains(listenerProperties, name) {
		p.update.settings = append(p.update.settings, name)
	}
	return read(p, p.RemainingArgs())
}

// wrong is the error of a property: what was given and what is wanted.
func (p *parser) wrong(name string, args []string, wanted string) error {
	given := "nothing"
	if len(args) > 0 {
		given = strconv.Quote(strings.Join(args, " "))
	}
	return p.Errf("%s: %s given, %s wanted", name, given, wanted)
}

func (p *parser) path(file string) string {
	if filepath.IsAbs(file) {
		return filepath.Clean(file)
	}
	return filepath.Join(p.root, file)
}

func (p *parser) parseNS(args []string) error {
	const wanted = "the name of a name server and, when it lies in the zone, its addresses are"
	if len(args) == 0 {
		return p.wrong("ns", args, wanted)
	}
	name, err := zone.ParseName(args[0])
	if err != nil || name.IsWildcard() {
		return p.wrong("ns", args, wanted)
	}
	if slices.ContainsFunc(p.ns, func(s zone.NameServer) bool { return s.Name == name }) {
		return p.wrong("ns", args, "each name server once is")
	}
	server := zone.NameServer{Name: name}
	for _, text := range args[1:] {
		a, err := netip.ParseAddr(text)
		if err != nil || a.Zone() != "" || a.IsUnspecified() || a.IsMulticast() {
			return p.wrong("ns", args, wanted)
		}
		server.Addrs = append(server.Addrs, a.Unmap())
	}
	within := slices.ContainsFunc(p.zones, name.Within)
	if within != (len(server.Addrs) > 0) {
		if within {
			return p.wrong("ns", args, string(name)+" lies in the zone: its addresses too are")
		}
		return p.wrong("ns", args, string(name)+" lies outside the zone: no addresses are")
	}
	if slices.Contains(p.zones, name) {
		return p.wrong("ns", args, "a name below the zone or outside it is")
	}
	p.ns = append(p.ns, server)
	return nil
}

func (p *parser) parseMbox(args []string) error {
	const wanted = "a mailbox such as hostmaster.example.org or hostmaster@example.org is"
	if len(args) != 1 {
		return p.wrong("mbox", args, wanted)
	}
	// RFC 1035, 8: the local part becomes the first label.
	name, err := zone.ParseName(strings.Replace(args[0], "@", ".", 1))
	if err != nil || name.IsWildcard() {
		return p.wrong("mbox", args, wanted)
	}
	p.mbox = name
	return nil
}

func (p *parser) parseTTL(args []string) error {
	const wanted = "a duration of 1s to 24h such as 60s is"
	if len(args) != 1 {
		return p.wrong("ttl", args, wanted)
	}
	d, err := time.ParseDuration(args[0])
	if n, errN := strconv.Atoi(args[0]); errN == nil {
		d, err = time.Duration(n)*time.Second, nil // CoreDNS's own plugins take seconds
	}
	if err != nil || d < time.Second || d > 24*time.Hour || d%time.Second != 0 {
		return p.wrong("ttl", args, wanted)
	}
	p.ttl = d
	return nil
}

func (p *parser) parseUpdate(args []string) error {
	const wanted = "[HOST]:PORT such as :8443 or 192.0.2.1:8443, and perhaps names that devices reach it by, is"
	if len(args) == 0 {
		return p.wrong("update", args, wanted)
	}
	for _, text := range args[1:] {
		n, err := zone.ParseName(text)
		if err != nil || n.IsWildcard() {
			return p.wrong("update", args, wanted)
		}
		p.update.names = append(p.update.names, n)
	}
	host, port, err := net.SplitHostPort(args[0])
	n, errN := strconv.Atoi(port)
	if err != nil || errN != nil || n < 1 || n > 65535 || strings.ContainsAny(host, " /") {
		return p.wrong("update", args, wanted)
	}
	p.update.host, p.update.addr = host, net.JoinHostPort(host, strconv.Itoa(n))
	p.update.where = fmt.Sprintf("%s:%d", p.File(), p.Line())
	return nil
}

func (p *parser) parseTLS(args []string) error {
	switch {
	case len(args) == 1 && args[0] == "internal":
		p.update.tls.mode = tlsInternal
	case len(args) == 1 && args[0] == "off":
		p.update.tls.mode = tlsOff
	case len(args) == 2:
		p.update.tls = tlsConfig{mode: tlsFiles, cert: p.path(args[0]), key: p.path(args[1])}
	default:
		return p.wrong("tls", args, "CERT KEY, internal or off is")
	}
	return nil
}

func (p *parser) parseAdminToken(args []string) error {
	if len(args) != 1 || args[0] == "" {
		return p.wrong("admin_token", args, "one file is")
	}
	p.update.adminToken = p.path(args[0])
	return nil
}

func (p *parser) parseTrustedProxies(args []string) error {
	const wanted = "addresses or prefixes such as 192.0.2.1 or 2001:db8::/32 are"
	if len(args) == 0 {
		return p.wrong("trusted_proxies", args, wanted)
	}
	for _, text := range args {
		prefix, err := netip.ParsePrefix(text)
		if a, errA := netip.ParseAddr(text); errA == nil && a.Zone() == "" {
			prefix, err = netip.PrefixFrom(a, a.BitLen()), nil
		}
		if err != nil || prefix.Addr().Is4In6() {
			return p.wrong("trusted_proxies", []string{text}, wanted)
		}
		p.update.trusted = append(p.update.trusted, prefix.Masked())
	}
	return nil
}

func (p *parser) parsePublish(args []string) error {
	switch strings.Join(args, " ") {
	case "public":
		p.update.publish = updateapi.PublishPublic
	case "any":
		p.update.publish = updateapi.PublishAny
	default:
		return p.wrong("publish", args, "public or any is")
	}
	return nil
}

func (p *parser) parseRate(args []string) error {
	const wanted = "COUNT/DURATION such as 60/1m (a count of 1 to 1000000, a duration of 1s to 24h) is"
	if len(args) != 1 {
		return p.wrong("rate", args, wanted)
	}
	limit, err := ratelimit.Parse(args[0])
	if err != nil {
		return p.wrong("rate", args, wanted)
	}
	p.update.rate = limit
	return nil
}

func (p *parser) parseFallthrough(args []string) error {
	for _, text := range args {
		if _, err := zone.ParseName(text); err != nil && text != "." {
			return p.wrong("fallthrough", []string{text}, "zones are")
		}
	}
	p.fall.SetZonesFromArgs(args)
	return nil
}

// finish checks what only the whole block can tell.
func (p *parser) finish() (*config, error) {
	if len(p.ns) == 0 {
		return nil, p.Err("ns: nothing given, at least one name server is wanted: ns NAME [ADDRESS...]")
	}
	if err := p.checkStore(); err != nil {
		return nil, p.Err(err.Error())
	}
	if p.update.addr == "" {
		if len(p.update.settings) > 0 {
			return nil, p.Errf("%s: given without update, update [HOST]:PORT is wanted too", p.update.settings[0])
		}
		return &p.config, nil
	}
	if err := p.update.check(); err != nil {
		return nil, p.Err(err.Error())
	}
	p.config.update = &p.update
	return &p.config, nil
}

func (u *updateConfig) check() error {
	switch {
	case u.tls.mode == tlsInternal && u.adminToken == "":
		return errors.New("tls: \"internal\" given without admin_token, which is wanted too: ca.pem is written beside it")
	case u.tls.mode == tlsOff && len(u.trusted) == 0 && !loopback(u.host):
		return fmt.Errorf("tls: \"off\" given for %s, a loopback address or trusted_proxies are wanted, for tokens would cross the network in the clear", u.addr)
	}
	return nil
}

func loopback(host string) bool {
	a, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && a.IsLoopback()
}
