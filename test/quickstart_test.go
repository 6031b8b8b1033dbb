package test

import (
	"os/exec"
	"strconv"
	"strings"
	"testing"
)

// home is one zone with everything a node can have.
const home = `dyn.example.org:{{dns}} {
	bind 127.0.0.1
	ready 127.0.0.1:{{ready}}
	errors
	log
	ddns {
		database {{dir}}/ddns.db
		ns ns1.dyn.example.org 192.0.2.53
		update 127.0.0.1:{{https}}
		tls internal
		admin_token {{dir}}/admin.token
	}
}
`

// The steps that make run prints, with the programs that a user has.
func TestQuickStart(t *testing.T) {
	n := boot(t, home)

	token, stderr, code := n.ddnsctl(t, "token", "create", "home.dyn.example.org")
	if code != 0 {
		t.Fatalf("ddnsctl token create: status %d: %s", code, stderr)
	}
	token = strings.TrimSpace(token)
	n.keepSecret(token)

	update := n.url(t) + "/nic/update?hostname=home.dyn.example.org&myip=198.51.100.7"
	curl := func() string { return n.run(t, "curl", "-sS", "--cacert", "ca.pem", "-u", "home:"+token, update) }
	dig := func() string {
		return n.run(t, "dig", "@127.0.0.1", "-p", strconv.Itoa(n.port(t, "dns")), "home.dyn.example.org", "+short")
	}
	if got := curl(); got != "good 198.51.100.7\n" {
		t.Errorf("curl says %q", got)
	}
	if got := dig(); got != "198.51.100.7\n" {
		t.Errorf("dig says %q", got)
	}

	n.interrupt(t)
	n.start(t)
	if got := dig(); got != "198.51.100.7\n" {
		t.Errorf("after a restart dig says %q", got)
	}
	if got := curl(); got != "nochg 198.51.100.7\n" {
		t.Errorf("after a restart curl says %q", got)
	}
}

// run runs somebody else's program in the node's directory.
func (n *node) run(t testing.TB, program string, args ...string) string {
	t.Helper()
	cmd := exec.Command(peer(t, program), args...)
	cmd.Dir = n.dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v: %s", program, err, out)
	}
	return string(out)
}
