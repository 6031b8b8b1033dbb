package updateapi

import (
	"errors"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"github.com/coredns-ddns/ddns/plugin/zone"
)

// maxHosts is how many hosts one dyndns2 request may name; more get numhost.
const maxHosts = 20

// dyndns2 serves the protocol of members.dyndns.org, which nearly every router
// and update client speaks.
func (s *Server) dyndns2(w http.ResponseWriter, r *http.Request) {
	form, err := formOf(r)
	if err != nil {
		status := http.StatusBadRequest
		if errors.As(err, new(*http.MaxBytesError)) {
			status = http.StatusRequestEntityTooLarge
		}
		text(w, status, "911\n")
		return
	}
	c, err := s.authenticate(r, "dyndns2", form.Get)
	if err != nil {
		dyndns2Error(w, err)
		return
	}
	hosts := hostnames(form)
	switch {
	case len(hosts) == 0:
		dyndns2Lines(w, r, []string{"notfqdn"})
		return
	case len(hosts) > maxHosts:
		dyndns2Lines(w, r, []string{"numhost"})
		return
	}
	ask, asked, badAddress := dyndns2Ask(form, c.client)
	edits := make([]edit, len(hosts))
	for i, host := range hosts {
		edits[i] = ask
		edits[i].given, edits[i].name = host, dyndns2Name(host)
		edits[i].refuse = badAddress
	}
	outcomes, err := s.update(r.Context(), c, edits, false)
	if err != nil {
		dyndns2Error(w, err)
		return
	}
	lines := make([]string, len(outcomes))
	for i := range outcomes {
		lines[i] = dyndns2Line(&outcomes[i], asked)
	}
	dyndns2Lines(w, r, lines)
}

// formOf reads the parameters of the query and of a form in the body, as many
// as can be read: routers send odd escapes. A body that is not there to its end
// is an error, for the addresses it lacks would pass for not given.
func formOf(r *http.Request) (url.Values, error) {
	body := &bodyReader{ReadCloser: r.Body}
	r.Body = body
	_ = r.ParseForm() // what it cannot read it leaves out
	if body.err != nil {
		return nil, body.err
	}
	if r.Form == nil {
		r.Form = url.Values{}
	}
	return r.Form, nil
}

// bodyReader keeps the error that reading the body ended with.
type bodyReader struct {
	io.ReadCloser
	err error
}

func (b *bodyReader) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil && err != io.EOF {
		b.err = err
	}
	return n, err
}

// hostnames lists the names of a request. Routers leave empty ones between
// commas; one that is all a request names is a name that is none.
func hostnames(form url.Values) []string {
	var hosts []string
	for _, list := range form["hostname"] {
		hosts = append(hosts, strings.Split(list, ",")...)
	}
	return slices.DeleteFunc(hosts, func(h string) bool { return strings.TrimSpace(h) == "" })
}

// dyndns2Name is "" for what is not a fully qualified name.
func dyndns2Name(host string) zone.Name {
	n, err := zone.ParseName(strings.TrimSpace(host))
	if err != nil || strings.Count(string(n), ".") < 2 {
		return ""
	}
	return n
}

// echo is the requested addresses as they were spelled, for clients that compare
// them.
type echo struct {
	addrs  []string
	prefix string
}

// of is what to echo for a host that became st: a prefix only where there is an
// address below it.
func (e echo) of(st zone.State) []string {
	if e.prefix == "" || !st.AAAA.IsValid() {
		return e.addrs
	}
	return append(slices.Clip(e.addrs), e.prefix)
}

// dyndns2Ask decodes what shall become of every host of a request. An error
// refuses the addresses.
func dyndns2Ask(form url.Values, client netip.Addr) (ask edit, _ echo, _ error) {
	p := dyndns2Params{ask: &ask, client: client}
	v4, v6 := []string{"myip", "ip", "myipv4", "ipv4"}, []string{"myipv6", "ipv6"}
	for _, name := range v4 {
		p.addresses(form, name, &ask.a)
	}
	for _, name := range v6 {
		p.addresses(form, name, &ask.aaaa)
	}
	for _, name := range []string{"ipv6prefix", "ip6lanprefix"} {
		// A host's address that is there too is the more exact wish. A line
		// without IPv6 has no prefix: that changes nothing.
		if form.Has(name) {
			p.named++
		}
		if value := strings.TrimSpace(form.Get(name)); value != "" && ask.aaaa.op != set {
			p.prefix(value)
		}
	}
	ask.shy = true
	ask.offline = strings.EqualFold(form.Get("offline"), "yes")
	switch on := strings.ToUpper(form.Get("wildcard")); on {
	case "ON", "OFF":
		wild := on == "ON"
		ask.wildcard = &wild
	}
	onlyEmptyMyIP := p.named == 1 && p.empty == 1 && form.Has("myip")
	if (p.named == 0 || onlyEmptyMyIP) && !ask.offline {
		ask.a, ask.aaaa = setTo{}, setTo{}
		p.detected()
	}
	return ask, p.echo, p.err
}

// dyndns2Params gathers the address parameters of a request.
type dyndns2Params struct {
	ask    *edit
	client netip.Addr
	named  int // parameters that are there
	empty  int // of those, empty ones
	echo   echo
	err    error
}

// addresses reads one parameter: a list of addresses of either family, auto,
// preserve, a prefix, or nothing, which removes the parameter's own family.
func (p *dyndns2Params) addresses(form url.Values, name string, own *setTo) {
	if !form.Has(name) {
		return
	}
	p.named++
	value := strings.TrimSpace(form.Get(name))
	if value == "" {
		p.empty++
		if own.op == keep {
			own.op = remove
		}
		return
	}
	for _, one := range strings.Split(value, ",") {
		switch one = strings.TrimSpace(one); {
		case one == "" && strings.Trim(value, ", ") != "":
			// Templates such as <ipaddr>,<ip6addr> on a line without one of them.
		case strings.EqualFold(one, "preserve"):
		case strings.EqualFold(one, "auto"):
			p.detected()
		case strings.Contains(one, "/"):
			p.prefix(one)
		default:
			p.address(one)
		}
	}
}

func (p *dyndns2Params) address(one string) {
	a, err := parseAddr(one)
	if err != nil {
		p.err = err
		return
	}
	p.put(a, one)
}

func (p *dyndns2Params) detected() {
	if !p.client.IsValid() {
		p.err = errAddress
		return
	}
	p.put(p.client, p.client.String())
}

// put sets the address of a's family. Two different ones of a family are one
// too many.
func (p *dyndns2Params) put(a netip.Addr, spelled string) {
	to := &p.ask.aaaa
	if a.Is4() {
		to = &p.ask.a
	}
	if to.op == set {
		if to.addr != a {
			p.err = errAddress
		}
		return
	}
	*to = setTo{op: set, addr: a}
	p.echo.addrs = append(p.echo.addrs, spelled)
}

func (p *dyndns2Params) prefix(value string) {
	prefix, err := parsePrefix(value)
	if err != nil {
		p.err = err
		return
	}
	p.ask.aaaa = setTo{op: move, prefix: prefix}
	p.echo.prefix = value
}

func dyndns2Line(o *outcome, asked echo) string {
	if o.err != nil {
		return replyTo(o.err).word
	}
	word := "nochg"
	if o.changed {
		word = "good"
	}
	addrs := asked.of(o.after)
	if len(addrs) == 0 {
		return word
	}
	return word + " " + strings.Join(addrs, ",")
}

// dyndns2Lines replies with a line a host.
func dyndns2Lines(w http.ResponseWriter, r *http.Request, lines []string) {
	status := dyndns2Status(r.UserAgent(), lines)
	explain(w, status, nil, "")
	text(w, status, strings.Join(lines, "\n")+"\n")
}

// dyndns2Status is 200 but to clients that go by the status.
func dyndns2Status(agent string, lines []string) int {
	failed := slices.ContainsFunc(lines, func(line string) bool {
		word, _, _ := strings.Cut(line, " ")
		return word != "good" && word != "nochg"
	})
	switch {
	// OPNsense takes every 2xx for a success.
	case failed && strings.HasPrefix(agent, "OPNsense-dyndns"):
		return http.StatusUnprocessableEntity
	// inadyn 2.10 exits for good on a 2xx that is no success, and comes back
	// after a 5xx. An address is mostly refused because the client could not
	// find out its own, which passes.
	case slices.Contains(lines, "dnserr") && strings.HasPrefix(agent, "inadyn"):
		return http.StatusServiceUnavailable
	}
	return http.StatusOK
}

func dyndns2Error(w http.ResponseWriter, err error) {
	r := replyTo(err)
	explain(w, r.status, err, `Basic realm="ddns"`)
	text(w, r.status, r.word+"\n")
}
