package test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/coredns-ddns/ddns/updateapi"
)

// Exit codes that ddnsctl --help promises.
const (
	ctlDone = iota
	ctlFailed
	ctlUsage
	ctlNotFound
	ctlForbidden
	ctlUnavailable
)

// ctl runs ddnsctl, wants that exit code, and gives back standard output.
func (n *node) ctl(t testing.TB, want int, args ...string) string {
	t.Helper()
	stdout, stderr, code := n.ddnsctl(t, args...)
	if code != want {
		t.Errorf("ddnsctl %s: status %d, want %d: %s", strings.Join(args, " "), code, want, stderr)
	}
	if want != ctlDone && (stderr == "" || stdout != "") {
		t.Errorf("ddnsctl %s fails with %q on standard output and %q on the other", strings.Join(args, " "), stdout, stderr)
	}
	for _, secret := range n.secrets {
		if strings.Contains(stderr, secret) {
			t.Errorf("ddnsctl %s says a token", strings.Join(args, " "))
		}
	}
	return stdout
}

// ctlJSON is ctl with -o json, read into into.
func (n *node) ctlJSON(t testing.TB, into any, args ...string) {
	t.Helper()
	out := n.ctl(t, ctlDone, append(args, "-o", "json")...)
	if err := json.Unmarshal([]byte(out), into); err != nil {
		t.Errorf("ddnsctl %s: %v in %s", strings.Join(args, " "), err, out)
	}
}

func (n *node) file(t testing.TB, name, text string) string {
	t.Helper()
	if err := os.WriteFile(n.path(name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return n.path(name)
}

func TestCtlTokens(t *testing.T) {
	t.Parallel()
	n := boot(t, proxied)
	n.adminToken(t)
	first := strings.TrimSpace(n.ctl(t, ctlDone, "token", "create", "home.dyn.example.org", "*.lab.dyn.example.org",
		"--type", "A", "--quota", "3", "--source", "127.0.0.0/8", "--expires", "90d", "--note", "the house"))
	n.keepSecret(first)
	id := first[5:11]
	var listed updateapi.Token
	n.ctlJSON(t, &listed, "token", "list")
	if listed.ID != id || fmt.Sprintln(listed.Names, listed.Types, listed.Quota, listed.Sources, listed.Note) !=
		"[home.dyn.example.org. *.lab.dyn.example.org.] [A] 3 [127.0.0.0/8] the house\n" || listed.Expires.IsZero() {
		t.Errorf("token list -o json: %+v", listed)
	}
	if out := n.ctl(t, ctlDone, "token", "list"); !strings.Contains(out, id) || strings.Contains(out, first) {
		t.Errorf("token list: %s", out)
	}
	n.ctl(t, ctlUsage, "token", "create")
	n.ctl(t, ctlFailed, "token", "create", "home.example.com")

	var rotated updateapi.TokenSecret
	n.ctlJSON(t, &rotated, "token", "rotate", id, "--overlap", "1h")
	n.keepSecret(rotated.Secret)
	for _, token := range []string{first, rotated.Secret} {
		n.ctl(t, ctlDone, "whoami", "--token-file", n.file(t, "device.token", token+"\n"))
	}
	var who updateapi.Whoami
	n.ctlJSON(t, &who, "whoami", "--token-file", n.path("device.token"))
	if who.Admin || who.Token == nil || who.Token.ID != id || who.Client != "127.0.0.1" || len(who.Hosts) != 1 {
		t.Errorf("whoami -o json: %+v", who)
	}
	n.ctl(t, ctlForbidden, "token", "list", "--token-file", n.path("device.token"))
	n.ctl(t, ctlForbidden, "host", "show", "next.dyn.example.org", "--token-file", n.path("device.token"))

	n.ctl(t, ctlDone, "token", "revoke", id)
	n.ctl(t, ctlForbidden, "whoami", "--token-file", n.path("device.token"))
	n.ctl(t, ctlNotFound, "token", "revoke", id)
	n.ctl(t, ctlNotFound, "token", "rotate", id)
	if out := n.ctl(t, ctlDone, "token", "list"); out != "" {
		t.Errorf("token list after the last was revoked: %s", out)
	}
}

func TestCtlHosts(t *testing.T) {
	t.Parallel()
	n := boot(t, proxied)
	const home = "home.dyn.example.org"
	n.ctl(t, ctlNotFound, "host", "show", home)
	n.ctl(t, ctlDone, "host", "set", home, "--a", "198.51.100.7", "--aaaa", "2001:db8::7", "--ttl", "30", "--note", "the house")
	n.ctl(t, ctlDone, "host", "set", home, "--a", "198.51.100.8", "--wildcard")
	var host updateapi.Host
	n.ctlJSON(t, &host, "host", "show", "HOME.dyn.example.org.")
	if host.A != "198.51.100.8" || host.AAAA != "2001:db8::7" || host.TTL != 30 || host.Note != "the house" || !host.Wildcard {
		t.Errorf("host show -o json: %+v", host)
	}
	if got := n.addresses(t, "x."+home); !slices.Equal(got, []string{"198.51.100.8", "2001:db8::7"}) {
		t.Errorf("DNS answers %v", got)
	}
	n.ctl(t, ctlDone, "host", "set", home, "--no-aaaa", "--wildcard=false", "--offline")
	if got := n.addresses(t, home); len(got) > 0 {
		t.Errorf("DNS answers %v of a host that is offline", got)
	}
	for _, args := range [][]string{{"list"}, {"show", home}, {"history", home}} {
		if out := n.ctl(t, ctlDone, append([]string{"host"}, args...)...); !strings.Contains(out, "198.51.100.8") || !strings.Contains(out, "offline") {
			t.Errorf("host %s: %s", args[0], out)
		}
	}
	var history updateapi.History
	n.ctlJSON(t, &history, "host", "history", home)
	if len(history.States) != 3 || history.States[2].A != "198.51.100.7" || history.States[2].Token != "admin" {
		t.Errorf("host history -o json: %+v", history)
	}

	// What is listed can be imported again.
	listed := n.ctl(t, ctlDone, "host", "list", "--zone", "dyn.example.org", "-o", "json")
	n.ctl(t, ctlDone, "host", "delete", home)
	n.ctl(t, ctlNotFound, "host", "delete", home)
	n.ctl(t, ctlNotFound, "host", "history", home)
	n.ctl(t, ctlDone, "import", n.file(t, "hosts.jsonl", listed))
	if again := n.ctl(t, ctlDone, "host", "show", home); !strings.Contains(again, "the house") || !strings.Contains(again, "offline") {
		t.Errorf("after the import of what was listed: %s", again)
	}

	n.ctl(t, ctlDone, "host", "set", "*.wild.dyn.example.org", "--a", "198.51.100.9")
	if got := n.addresses(t, "x.wild.dyn.example.org"); !slices.Equal(got, []string{"198.51.100.9"}) {
		t.Errorf("below a wildcard DNS answers %v", got)
	}
	n.ctl(t, ctlDone, "host", "show", "*.wild.dyn.example.org")
	n.ctl(t, ctlDone, "host", "delete", "*.wild.dyn.example.org")

	n.ctl(t, ctlUsage, "host", "set", home)
	n.ctl(t, ctlUsage, "host", "set", home, "--a", "home")
	n.ctl(t, ctlUsage, "host", "show", "ho me")
	n.ctl(t, ctlUsage, "host", "nothing")
	n.ctl(t, ctlUsage, "nothing")
	n.ctl(t, ctlUsage, "host", "list", "-o", "yaml")
	n.ctl(t, ctlForbidden, "host", "show", "home.example.com")
	n.ctl(t, ctlFailed, "host", "set", home, "--a", "10.0.0.1")
}

func TestCtlStatusAndExitCodes(t *testing.T) {
	t.Parallel()
	n := boot(t, proxied)
	var status updateapi.Status
	n.ctlJSON(t, &status, "status", "--wait", "30s")
	if !status.Ready || len(status.Zones) != 1 || status.Zones[0].Zone != "dyn.example.org." || status.Zones[0].Error != "" {
		t.Errorf("status -o json: %+v", status)
	}
	if out := n.ctl(t, ctlDone, "status"); !strings.Contains(out, "dyn.example.org.") {
		t.Errorf("status: %s", out)
	}
	if out := n.ctl(t, ctlDone, "whoami"); !strings.Contains(out, "admin") {
		t.Errorf("whoami: %s", out)
	}
	if out := n.ctl(t, ctlDone, "completion", "bash"); !strings.Contains(out, "ddnsctl") {
		t.Errorf("completion: %.80s", out)
	}
	n.ctl(t, ctlForbidden, "status", "--token-file", n.file(t, "wrong.token", "ddns_AAAAAA_wrong\n"))
	n.ctl(t, ctlFailed, "status", "--token-file", n.path("nothing"))
	n.ctl(t, ctlFailed, "status", "--ca", n.file(t, "no.pem", "no certificate"))
	n.certificate(t, "other.pem", "other-key.pem")
	n.ctl(t, ctlFailed, "status", "--ca", n.path("other.pem"))
	n.ctl(t, ctlUnavailable, "status", "--url", "https://"+n.addr(t, "nobody"))
	n.stop(t)
	n.ctl(t, ctlUnavailable, "host", "list")
	n.start(t)
	n.ctl(t, ctlDone, "host", "list")
}

func TestCtlBackup(t *testing.T) {
	t.Parallel()
	n := boot(t, proxied)
	token := n.token(t, "home.dyn.example.org")
	n.ctl(t, ctlDone, "host", "set", "home.dyn.example.org", "--a", "198.51.100.7")
	n.ctl(t, ctlDone, "backup", "copy.db")
	n.ctl(t, ctlFailed, "backup", "copy.db")
	n.ctl(t, ctlDone, "host", "set", "home.dyn.example.org", "--a", "198.51.100.8")
	n.ctl(t, ctlDone, "backup", "copy.db", "--force")
	if info, err := os.Stat(n.path("copy.db")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the copy: %v, %v", info.Mode(), err)
	}

	restored := newNode(t, proxied)
	restored.file(t, "ddns.db", n.read(t, "copy.db"))
	restored.start(t)
	if got := restored.addresses(t, "home.dyn.example.org"); !slices.Equal(got, []string{"198.51.100.8"}) {
		t.Errorf("the copy's DNS answers %v", got)
	}
	if r := restored.get(t, token, "/nic/update?hostname=home.dyn.example.org&myip=198.51.100.8"); r.body != "nochg 198.51.100.8\n" {
		t.Errorf("the copy tells a device %d %q", r.status, r.body)
	}
}

const many = 100_000

// hostsFile writes a file of many hosts, a line each.
func (n *node) hostsFile(t testing.TB, name, head, line string) string {
	t.Helper()
	f, err := os.Create(n.path(name))
	if err != nil {
		t.Fatal(err)
	}
	w := bufio.NewWriter(f)
	fmt.Fprintln(w, head)
	for i := range many {
		fmt.Fprintf(w, line, i, i>>8&255, i&255)
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	f.Close()
	return f.Name()
}

type importResult struct{ Hosts, Changed, Unchanged, LeftOut int }

func (n *node) importResult(t testing.TB, args ...string) (got importResult) {
	t.Helper()
	began := time.Now()
	var out struct {
		importResult
		LeftOut int `json:"left_out"`
	}
	n.ctlJSON(t, &out, append([]string{"import"}, args...)...)
	t.Logf("ddnsctl import of %d hosts took %.1f s", out.Hosts, time.Since(began).Seconds())
	out.importResult.LeftOut = out.LeftOut
	return out.importResult
}

// checkImported looks at what hostsFile wrote, from outside.
func (n *node) checkImported(t *testing.T) {
	t.Helper()
	for _, i := range []int{0, 1, 256, 77_777, many - 1} {
		want := []string{fmt.Sprintf("198.18.%d.%d", i>>8&255, i&255)}
		if got := n.addresses(t, fmt.Sprintf("h%d.dyn.example.org", i)); !slices.Equal(got, want) {
			t.Errorf("h%d: DNS answers %v, want %v", i, got, want)
		}
	}
	var status updateapi.Status
	n.ctlJSON(t, &status, "status")
	if status.Zones[0].Hosts != many {
		t.Errorf("%d hosts, want %d", status.Zones[0].Hosts, many)
	}
}

// An import that broke off goes on where it was.
func TestImportJSONLinesAndResume(t *testing.T) {
	n := boot(t, proxied)
	file := n.hostsFile(t, "hosts.jsonl", "", `{"name":"h%d.dyn.example.org","a":"198.18.%d.%d"}`+"\n")
	cmd := exec.Command(program(t, "ddnsctl"), "import", file, "--url", n.url(t), "--token-file", n.path("admin.token"), "--ca", n.path("ca.pem"))
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	begun := regexp.MustCompile(`"done": ?[1-9]`)
	n.await(t, "first batch", func() bool {
		kept, err := os.ReadFile(file + ".ddnsctl-progress")
		return err == nil && begun.Match(kept)
	})
	cmd.Process.Signal(syscall.SIGINT)
	if err := cmd.Wait(); err == nil || cmd.ProcessState.ExitCode() != ctlFailed {
		t.Fatalf("an import that was interrupted ends with %v", cmd.ProcessState)
	}
	got := n.importResult(t, file, "--resume")
	if got.Hosts >= many || got.Hosts == 0 || got.Changed+got.Unchanged != got.Hosts {
		t.Errorf("resumed: %+v", got)
	}
	n.checkImported(t)
	if got := n.importResult(t, file); got != (importResult{Hosts: many, Unchanged: many}) {
		t.Errorf("imported again: %+v", got)
	}
}

func TestImportZoneFile(t *testing.T) {
	n := boot(t, proxied)
	head := `$ORIGIN dyn.example.org.
$TTL 120
@ IN SOA ns1 hostmaster 1 600 120 1209600 60
@ IN NS ns1
mail IN MX 10 h0
h0 IN A 198.18.255.255`
	file := n.hostsFile(t, "zone", head, "h%d IN A 198.18.%d.%d\n")
	// The second A of h0 is left out, as are SOA, NS and MX.
	if got := n.importResult(t, file); got != (importResult{Hosts: many, Changed: many, LeftOut: 4}) {
		t.Errorf("imported: %+v", got)
	}
	n.ctl(t, ctlDone, "host", "set", "h0.dyn.example.org", "--a", "198.18.0.0")
	n.checkImported(t)
	n.ctl(t, ctlFailed, "import", n.file(t, "wrong.jsonl", `{"name":"x.dyn.example.org","a":"home"}`))
	n.ctl(t, ctlUsage, "import", file, "--format", "csv")
	n.restart(t)
	n.checkImported(t)
}
