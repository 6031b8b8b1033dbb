package test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// What inadyn 2.10, as Debian 12 and UniFi have it, makes of us.
//
// It sends one request a host, over HTTP/1.0, and keeps one cache file a host:
// a second family needs the name a second time, spelled differently. What is
// neither a success nor a 5xx ends it, also for the hosts that would follow.
func TestInadyn(t *testing.T) {
	t.Parallel()
	n := boot(t, home)

	t.Run("updates several hosts, rests, and follows a new address", func(t *testing.T) {
		const one, two = "home.dyn.example.org", "nas.dyn.example.org"
		d := n.inadyn(t, n.token(t, one, two), `"`+one+`", "`+two+`"`)
		d.address(t, "198.51.100.7")
		d.exits(t, 0, `Certificate OK`, `Successful alias table update for `+one, `Successful alias table update for `+two)
		n.answers(t, one, "198.51.100.7")
		n.answers(t, two, "198.51.100.7")
		d.holds(t, one, "198.51.100.7")

		d.exits(t, 0, `No IP# change detected`)

		d.address(t, "198.51.100.8")
		d.exits(t, 0, `Successful alias table update for `+one)
		n.answers(t, one, "198.51.100.8")
		n.answers(t, two, "198.51.100.8")
		d.holds(t, two, "198.51.100.8")

		if err := os.Remove(filepath.Join(d.dir, one+".cache")); err != nil {
			t.Fatal(err)
		}
		d.exits(t, 0, `nochg 198\.51\.100\.8`, `Successful alias table update for `+one)
		d.holds(t, one, "198.51.100.8")
	})

	t.Run("keeps both families of a name given twice", func(t *testing.T) {
		const host = "dual.dyn.example.org"
		token := n.token(t, host)
		d := n.inadyn(t, token, host)
		second := strings.Replace(d.section(n.addr(t, "https"), token, host+"."), "cat address", "cat address6", 1)
		d.write(t, "inadyn.conf", d.read(t, "inadyn.conf")+strings.Replace(second, "custom ddns", "custom ddns-v6", 1))
		d.address(t, "198.51.100.17")
		d.write(t, "address6", "2001:db8::17")
		d.exits(t, 0, `good 198\.51\.100\.17`, `good 2001:db8::17`)
		n.answers(t, host, "198.51.100.17", "2001:db8::17")

		d.write(t, "address6", "2001:db8::18")
		d.exits(t, 0, `No IP# change detected for custom, still at 198\.51\.100\.17`, `good 2001:db8::18`)
		n.answers(t, host, "198.51.100.17", "2001:db8::18")
	})

	t.Run("ends at a foreign host, with those before it updated", func(t *testing.T) {
		const foreign, mine = "foreign.dyn.example.org", "mine.dyn.example.org"
		d := n.inadyn(t, n.token(t, mine), `"`+mine+`", "`+foreign+`"`)
		d.address(t, "198.51.100.37")
		d.exits(t, notOK, `Successful alias table update for `+mine, `\[200 OK\] nohost`)
		n.answers(t, mine, "198.51.100.37")
		n.answers(t, foreign)
		d.holds(t, mine, "198.51.100.37")
		d.holds(t, foreign, "")

		d.address(t, "198.51.100.38")
		d.exits(t, notOK, `\[200 OK\] nohost`)
		n.answers(t, mine, "198.51.100.38")
	})

	t.Run("ends at a wrong token and recovers with the right one", func(t *testing.T) {
		const host = "locked.dyn.example.org"
		right := n.token(t, host)
		wrong := right[:len(right)-3] + "000"
		d := n.inadyn(t, wrong, host)
		d.address(t, "198.51.100.47")
		d.exits(t, authFailure, `\[401 Unauthorized\] badauth`)
		n.answers(t, host)
		d.holds(t, host, "")

		d.write(t, "inadyn.conf", strings.Replace(d.read(t, "inadyn.conf"), wrong, right, 1))
		d.exits(t, 0, `good 198\.51\.100\.47`)
		n.answers(t, host, "198.51.100.47")
	})

	t.Run("stays at a wrong token as UniFi starts it", func(t *testing.T) {
		const host = "unifi.dyn.example.org"
		right := n.token(t, host)
		wrong := right[:len(right)-3] + "000"
		d := n.inadyn(t, wrong, host)
		d.address(t, "198.51.100.77")
		client := d.start(t, "--continue-on-error")
		client.waits(t, "[401 Unauthorized] badauth")
		client.waits(t, "Error response from DDNS server, ignoring")

		d.write(t, "inadyn.conf", strings.Replace(d.read(t, "inadyn.conf"), wrong, right, 1))
		client.signal(t, syscall.SIGHUP)
		client.waits(t, "Successful alias table update for "+host)
		n.answers(t, host, "198.51.100.77")
	})

	t.Run("stays and tries again after an address that nobody could reach", func(t *testing.T) {
		const host = "behind-nat.dyn.example.org"
		d := n.inadyn(t, n.token(t, host), host)
		d.address(t, "192.168.1.7")
		client := d.start(t)
		client.waits(t, "Temporary error in DDNS server response")
		client.waits(t, "Will retry again in")
		n.answers(t, host)
		d.holds(t, host, "")

		d.address(t, "198.51.100.57")
		client.signal(t, syscall.SIGUSR2) // check the address now
		client.waits(t, "Successful alias table update for "+host)
		n.answers(t, host, "198.51.100.57")
	})

	t.Run("updates the others and recovers when a server is back", func(t *testing.T) {
		other := boot(t, home)
		const host = "patient.dyn.example.org"
		d := n.inadyn(t, n.token(t, host), host)
		section := d.section(other.addr(t, "https"), other.token(t, host), host+".")
		d.write(t, "inadyn.conf", d.read(t, "inadyn.conf")+strings.Replace(section, "custom ddns", "custom other", 1))
		d.write(t, "both.pem", n.read(t, "ca.pem")+other.read(t, "ca.pem"))
		d.write(t, "inadyn.conf", strings.Replace(d.read(t, "inadyn.conf"), d.ca, filepath.Join(d.dir, "both.pem"), 1))
		d.address(t, "198.51.100.67")
		n.stop(t)
		d.exits(t, 0, `Connection refused`, `Successful alias table update for `+host+`\.`)
		other.answers(t, host, "198.51.100.67")
		d.holds(t, host, "")

		n.start(t)
		d.exits(t, 0, `Successful alias table update for `+host+` `)
		n.answers(t, host, "198.51.100.67")
		d.holds(t, host, "198.51.100.67")
	})
}

// The configurations that README shows are run as they are there.
func TestInadynAsInReadme(t *testing.T) {
	t.Parallel()
	for _, block := range readmeBlocks(t, "inadyn") {
		t.Run(firstLine(block), func(t *testing.T) {
			n := boot(t, behindProxy)
			net := n.internet(t)
			names := namesIn(block)
			d := &inadyn{net.machine(t)}
			d.write(t, "inadyn.conf", "ca-trust-file = "+d.ca+"\n"+net.configuration(block, n.token(t, names...)))

			net.give("198.51.100.7", "2001:db8::7")
			d.exits(t, 0, `good 198\.51\.100\.7`, `good 2001:db8::7`)
			for _, name := range names {
				n.answers(t, name, "198.51.100.7", "2001:db8::7")
			}

			net.updates()
			d.exits(t, 0, `still at 198\.51\.100\.7`, `still at 2001:db8::7`)
			if got := net.updates(); got != 0 {
				t.Errorf("inadyn sends %d updates without a new address", got)
			}

			net.give("198.51.100.8", "2001:db8::8")
			d.exits(t, 0, `good 198\.51\.100\.8`, `good 2001:db8::8`)
			for _, name := range names {
				n.answers(t, name, "198.51.100.8", "2001:db8::8")
			}
		})
	}
}

// Exit statuses of inadyn.
const (
	notOK       = 48 // DDNS server response not OK
	authFailure = 50
)

// inadyn is a device that runs it.
type inadyn struct{ *machine }

// inadyn makes a device with a token that updates hosts, a list in its syntax.
func (n *node) inadyn(t testing.TB, token, hosts string) *inadyn {
	t.Helper()
	d := &inadyn{n.machine(t)}
	d.write(t, "inadyn.conf", "allow-ipv6 = true\nca-trust-file = "+d.ca+"\n"+d.section(n.addr(t, "https"), token, hosts))
	return d
}

func (d *inadyn) section(server, token, hosts string) string {
	return fmt.Sprintf(`custom ddns {
	username        = home
	password        = %s
	checkip-command = "cat address"
	ddns-server     = %s
	ddns-path       = "/nic/update?hostname=%%h&myip=%%i"
	hostname        = { %s }
}
`, token, server, hosts)
}

var inadynArgs = []string{"--once", "--foreground", "--no-pidfile", "--config", "inadyn.conf", "--cache-dir", ".", "--loglevel", "debug"}

// exits runs inadyn once, which ends with a status and says what matches patterns.
func (d *inadyn) exits(t testing.TB, want int, patterns ...string) {
	t.Helper()
	said, code := d.run(t, "inadyn", inadynArgs...)
	if code != want {
		t.Errorf("inadyn exits with %d, want %d:\n%s", code, want, said)
	}
	for _, p := range patterns {
		says(t, said, p)
	}
}

// holds fails the test unless the cache has this address for host, "" for none.
func (d *inadyn) holds(t testing.TB, host, want string) {
	t.Helper()
	got, err := os.ReadFile(filepath.Join(d.dir, host+".cache"))
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Errorf("inadyn holds address %q for %s, want %q", got, host, want)
	}
}

// running is an inadyn that goes on until the test ends.
type running struct {
	process *os.Process
	out     *output
}

func (d *inadyn) start(t testing.TB, args ...string) *running {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	cmd, out := d.command(ctx, peer(t, "inadyn"), slices.Concat(inadynArgs, args)...), &output{}
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		cmd.Wait()
	})
	return &running{cmd.Process, out}
}

func (r *running) signal(t testing.TB, s os.Signal) {
	t.Helper()
	if err := r.process.Signal(s); err != nil {
		t.Fatal(err)
	}
}

func (r *running) waits(t testing.TB, words string) {
	t.Helper()
	for end := time.Now().Add(patience); !r.out.contains(words); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("inadyn does not say %q within %v:\n%s", words, patience, r.out)
		}
	}
}
