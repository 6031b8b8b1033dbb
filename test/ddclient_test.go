package test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// What ddclient 3.10, as Debian 12 has it, makes of us.
//
// Its dyndns2 protocol sends one address a request, so a second family needs
// the name a second time, spelled differently; and it has all hosts with the
// same address in one request.
func TestDdclient(t *testing.T) {
	t.Parallel()
	n := boot(t, home)
	const one, two = "home.dyn.example.org", "nas.dyn.example.org"

	t.Run("updates several hosts, rests, and follows a new address", func(t *testing.T) {
		d := n.ddclient(t, n.token(t, one, two), useAddress+one+","+two)
		d.address(t, "198.51.100.7")
		d.succeeds(t, `SUCCESS: +updating `+one+`: good: IP address set to 198\.51\.100\.7`, `SUCCESS: +updating `+two+`: good`)
		n.answers(t, one, "198.51.100.7")
		n.answers(t, two, "198.51.100.7")
		d.holds(t, one, "good", "198.51.100.7")

		d.anHourPasses(t)
		d.succeeds(t, one+`: skipped: IP address was already set to 198\.51\.100\.7`)

		d.address(t, "198.51.100.8")
		d.succeeds(t, one+`: good: IP address set to 198\.51\.100\.8`)
		n.answers(t, one, "198.51.100.8")
		n.answers(t, two, "198.51.100.8")
		d.holds(t, two, "good", "198.51.100.8")

		if err := os.Remove(filepath.Join(d.dir, "cache")); err != nil {
			t.Fatal(err)
		}
		d.succeeds(t, `WARNING: +updating `+one+`: nochg`)
		d.holds(t, one, "good", "198.51.100.8")
	})

	t.Run("keeps both families of a name given twice", func(t *testing.T) {
		const host = "dual.dyn.example.org"
		d := n.ddclient(t, n.token(t, host), useAddress+host+"\nuse=cmd, cmd='cat address6' "+host+".")
		d.address(t, "198.51.100.17")
		d.write(t, "address6", "2001:db8::17")
		d.succeeds(t, host+`: good: IP address set to 198`, host+`\.: good: IP address set to 2001:db8::17`)
		n.answers(t, host, "198.51.100.17", "2001:db8::17")

		d.anHourPasses(t)
		d.write(t, "address6", "2001:db8::18")
		d.succeeds(t, host+`: skipped`, host+`\.: good: IP address set to 2001:db8::18`)
		n.answers(t, host, "198.51.100.17", "2001:db8::18")
	})

	t.Run("sends the IPv4 address of usev4 and usev6", func(t *testing.T) {
		const host = "modern.dyn.example.org"
		d := n.ddclient(t, n.token(t, host), "use=no, usev4=ipv4, ipv4=198.51.100.27, usev6=ipv6, ipv6=2001:db8::27\n"+host)
		d.succeeds(t, host+`: good: IP address set to 198\.51\.100\.27`)
		n.answers(t, host, "198.51.100.27")
	})

	t.Run("is told of a foreign host and updates the others", func(t *testing.T) {
		const foreign, mine = "foreign.dyn.example.org", "mine.dyn.example.org"
		d := n.ddclient(t, n.token(t, mine), useAddress+foreign+","+mine)
		d.address(t, "198.51.100.37")
		d.fails(t, `FAILED: +updating `+foreign+`: nohost`, `SUCCESS: +updating `+mine+`: good`)
		n.answers(t, mine, "198.51.100.37")
		n.answers(t, foreign)
		d.holds(t, mine, "good", "198.51.100.37")
		d.holds(t, foreign, "nohost", "")

		d.anHourPasses(t)
		d.address(t, "198.51.100.38")
		d.fails(t, foreign+`: nohost`, mine+`: good`)
		n.answers(t, mine, "198.51.100.38")
	})

	t.Run("is told of a wrong token and recovers with the right one", func(t *testing.T) {
		const host = "locked.dyn.example.org"
		right := n.token(t, host)
		wrong := right[:len(right)-3] + "000"
		d := n.ddclient(t, wrong, useAddress+host)
		d.address(t, "198.51.100.47")
		d.fails(t, `FAILED: +updating `+host+`: authorization failed \(HTTP/1\.1 401 Unauthorized`)
		n.answers(t, host)
		d.holds(t, host, "noconnect", "")

		d.replace(t, wrong, right)
		d.anHourPasses(t)
		d.succeeds(t, host+`: good`)
		n.answers(t, host, "198.51.100.47")
	})

	t.Run("is told of an address that nobody could reach", func(t *testing.T) {
		const host = "behind-nat.dyn.example.org"
		d := n.ddclient(t, n.token(t, host), useAddress+host)
		d.address(t, "192.168.1.7")
		d.fails(t, `FAILED: +updating `+host+`: dnserr`)
		n.answers(t, host)
		d.holds(t, host, "dnserr", "")

		d.anHourPasses(t)
		d.address(t, "198.51.100.57")
		d.succeeds(t, host+`: good`)
		n.answers(t, host, "198.51.100.57")
	})

	t.Run("updates the others and recovers when a server is back", func(t *testing.T) {
		const host, elsewhere = "patient.dyn.example.org", "elsewhere.dyn.example.org"
		other := boot(t, home)
		d := n.ddclient(t, n.token(t, host), useAddress+host+
			"\nserver="+other.addr(t, "https")+", password="+other.token(t, elsewhere)+" "+useAddress+elsewhere)
		d.write(t, "both.pem", n.read(t, "ca.pem")+other.read(t, "ca.pem"))
		d.replace(t, d.ca, "both.pem")
		d.address(t, "198.51.100.67")
		n.stop(t)
		d.fails(t, `FAILED: +updating `+host+`: Could not connect`, elsewhere+`: good`)
		d.holds(t, host, "noconnect", "")
		other.answers(t, elsewhere, "198.51.100.67")

		n.start(t)
		d.anHourPasses(t)
		d.succeeds(t, host+`: good`, elsewhere+`: skipped`)
		n.answers(t, host, "198.51.100.67")

		d.anHourPasses(t)
		d.address(t, "198.51.100.68")
		n.stop(t)
		d.fails(t, `Could not connect`)
		d.holds(t, host, "noconnect", "198.51.100.67")
		n.start(t)
		n.answers(t, host, "198.51.100.67")
		d.anHourPasses(t)
		d.succeeds(t, host+`: good`)
		n.answers(t, host, "198.51.100.68")
	})
}

// The configurations that README shows are run as they are there.
func TestDdclientAsInReadme(t *testing.T) {
	t.Parallel()
	for _, block := range readmeBlocks(t, "ddclient") {
		t.Run(firstLine(block), func(t *testing.T) {
			n := boot(t, behindProxy)
			net := n.internet(t)
			names := namesIn(block)
			d := &ddclient{net.machine(t)}
			d.write(t, "ddclient.conf", "ssl_ca_file="+d.ca+"\n"+net.configuration(block, n.token(t, names...)))
			both := strings.Contains(block, "curl -6")
			addresses := func(v4, v6 string) []string {
				net.give(v4, v6)
				if both {
					return []string{v4, v6}
				}
				return []string{v4}
			}

			want := addresses("198.51.100.7", "2001:db8::7")
			d.succeeds(t, `good: IP address set to 198\.51\.100\.7`)
			if got := net.updates(); got != len(want) {
				t.Errorf("ddclient sends %d updates for %v, want one an address", got, names)
			}
			for _, name := range names {
				n.answers(t, name, want...)
			}

			d.anHourPasses(t)
			d.succeeds(t, `skipped: IP address was already set`)
			if got := net.updates(); got != 0 {
				t.Errorf("ddclient sends %d updates without a new address", got)
			}

			want = addresses("198.51.100.8", "2001:db8::8")
			d.succeeds(t, `good: IP address set to 198\.51\.100\.8`)
			for _, name := range names {
				n.answers(t, name, want...)
			}
		})
	}
}

// useAddress begins a line of hosts whose address is the device's.
const useAddress = "use=cmd, cmd='cat address' "

// ddclient is a device that runs it.
type ddclient struct{ *machine }

// ddclient makes a device with a token, hosts being the lines that name them.
func (n *node) ddclient(t testing.TB, token, hosts string) *ddclient {
	t.Helper()
	d := &ddclient{n.machine(t)}
	d.write(t, "ddclient.conf", fmt.Sprintf(`ssl=yes
ssl_ca_file=%s
protocol=dyndns2
server=%s
login=home
password='%s'
%s
`, d.ca, n.addr(t, "https"), token, hosts)) // ddclient refuses a server without a dot in its name
	return d
}

func (d *ddclient) succeeds(t testing.TB, patterns ...string) { t.Helper(); d.runs(t, 0, patterns) }
func (d *ddclient) fails(t testing.TB, patterns ...string)    { t.Helper(); d.runs(t, 1, patterns) }

func (d *ddclient) runs(t testing.TB, want int, patterns []string) {
	t.Helper()
	said, code := d.run(t, "ddclient", "-daemon=0", "-foreground", "-verbose", "-file", "ddclient.conf", "-cache", "cache")
	if code != want {
		t.Errorf("ddclient exits with %d, want %d:\n%s", code, want, said)
	}
	for _, p := range patterns {
		says(t, said, p)
	}
}

// holds fails the test unless the cache has this status and address for host.
func (d *ddclient) holds(t testing.TB, host, status, ip string) {
	t.Helper()
	line := regexp.MustCompile(`(?m)^.* ` + regexp.QuoteMeta(host) + `$`).FindString(d.read(t, "cache"))
	got := map[string]string{}
	options, _, _ := strings.Cut(line, " ")
	for _, option := range strings.Split(options, ",") {
		key, value, _ := strings.Cut(option, "=")
		got[key] = value
	}
	if got["status"] != status || got["ip"] != ip {
		t.Errorf("ddclient holds status %q and address %q for %s, want %q and %q", got["status"], got["ip"], host, status, ip)
	}
}

var times = regexp.MustCompile(`\b[am]time=(\d+)`)

// anHourPasses sets the times of the cache back: ddclient waits between updates.
func (d *ddclient) anHourPasses(t testing.TB) {
	t.Helper()
	ago := strconv.FormatInt(time.Now().Add(-time.Hour).Unix(), 10)
	d.write(t, "cache", times.ReplaceAllStringFunc(d.read(t, "cache"), func(s string) string {
		key, value, _ := strings.Cut(s, "=")
		if value == "0" { // never
			return s
		}
		return key + "=" + ago
	}))
}

func (d *ddclient) replace(t testing.TB, old, new string) {
	t.Helper()
	d.write(t, "ddclient.conf", strings.Replace(d.read(t, "ddclient.conf"), old, new, 1))
}

var hostName = regexp.MustCompile(`\b[a-z]+\.dyn\.example\.org\b`)

// namesIn are the hosts that a configuration of README names.
func namesIn(text string) []string {
	seen, names := map[string]bool{}, []string(nil)
	for _, name := range hostName.FindAllString(text, -1) {
		if !seen[name] {
			seen[name], names = true, append(names, name)
		}
	}
	return names
}

func firstLine(text string) string {
	line, _, _ := strings.Cut(text, "\n")
	return strings.TrimLeft(line, "# ")
}
