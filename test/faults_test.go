package test

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/coredns-ddns/ddns/updateapi"
)

// onDisk is busy with its database, and nothing else, on a file system of its
// own.
var onDisk = strings.Replace(busy, "{{dir}}/ddns.db", "{{dir}}/disk/ddns.db", 1)

// mountDisk mounts a file system of that many octets at disk in the node's
// directory. That takes root.
func (n *node) mountDisk(t *testing.T, octets int) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("to mount a small disk takes root")
	}
	dir := n.path("disk")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size="+strconv.Itoa(octets)); err != nil {
		t.Fatalf("mount a tmpfs: %v", err)
	}
	// Detached, for the node may still have its file open when it fails.
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
}

// fillDisk leaves no room on the disk, and says how to make room again.
func (n *node) fillDisk(t *testing.T) (makeRoom func()) {
	t.Helper()
	file := n.path("disk/ballast")
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for err == nil {
		_, err = f.Write(make([]byte, 4096))
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	return func() { os.Remove(file) }
}

// newDiskNode is a node with a small disk, that does not run yet.
func newDiskNode(t *testing.T) *node {
	n := newNode(t, onDisk)
	t.Cleanup(func() { n.finish(t) }) // before the disk goes
	n.mountDisk(t, 4<<20)
	return n
}

// setHosts makes hosts until one is not acknowledged, at most limit, and adds
// the addresses of the others to acked.
func (n *node) setHosts(t *testing.T, token string, acked map[string]string, limit int) (refused *reply) {
	t.Helper()
	for range limit {
		name, a := fmt.Sprintf("h%d.dyn.example.org", len(acked)), fmt.Sprintf("10.1.%d.%d", len(acked)>>8, len(acked)&0xff)
		r := n.get(t, token, "/nic/update?hostname="+name+"&myip="+a)
		if r.body != "good "+a+"\n" {
			return &r
		}
		acked[name] = a
	}
	return nil
}

// answersAll holds DNS to everything that was acknowledged.
func (n *node) answersAll(t *testing.T, acked map[string]string) {
	t.Helper()
	for name, a := range acked {
		if got := n.addresses(t, name); !slices.Equal(got, []string{a}) {
			t.Errorf("DNS answers %v for %s, want %s", got, name, a)
		}
	}
}

// retryLater is the one reply to an update that the store does not take.
func (r reply) retryLater(t *testing.T) {
	t.Helper()
	after, err := strconv.Atoi(r.header.Get("Retry-After"))
	if r.status != http.StatusServiceUnavailable || r.body != "911\n" || err != nil || after < 1 {
		t.Errorf("update: %d %q, Retry-After %q; want 503, 911 and a number of seconds", r.status, r.body, r.header.Get("Retry-After"))
	}
}

func TestFullDisk(t *testing.T) {
	t.Parallel()
	n := newDiskNode(t)
	n.start(t)
	token, acked := n.token(t, "*.dyn.example.org"), map[string]string{}
	if r := n.setHosts(t, token, acked, 50); r != nil {
		t.Fatalf("update: %d %q", r.status, r.body)
	}

	makeRoom := n.fillDisk(t)
	r := n.setHosts(t, token, acked, 5000) // the file has some room in itself
	if r == nil {
		t.Fatalf("all of %d hosts fit on a full disk", len(acked))
	}
	r.retryLater(t)
	n.waitLog(t, `\[ERROR\] plugin/ddns: failed .*cannot write \S+/disk/ddns.db: .*no space left on device`)
	n.get(t, token, "/nic/update?hostname=h0.dyn.example.org&myip=10.2.0.1").retryLater(t)
	n.answersAll(t, acked)

	makeRoom()
	if r := n.setHosts(t, token, acked, 50); r != nil {
		t.Errorf("with room again: update: %d %q", r.status, r.body)
	}
	n.answersAll(t, acked)
	n.kill(t)
	n.start(t)
	n.answersAll(t, acked)
}

func TestStartOnFullDisk(t *testing.T) {
	t.Parallel()
	t.Run("with a database serves what it has", func(t *testing.T) {
		t.Parallel()
		n := newDiskNode(t)
		n.start(t)
		token, acked := n.token(t, "*.dyn.example.org"), map[string]string{}
		n.setHosts(t, token, acked, 50)
		n.stop(t)
		makeRoom := n.fillDisk(t)
		n.start(t)
		n.answersAll(t, acked)
		if r := n.setHosts(t, token, acked, 5000); r == nil {
			t.Errorf("all of %d hosts fit on a full disk", len(acked))
		} else {
			r.retryLater(t)
		}
		makeRoom()
		if r := n.setHosts(t, token, acked, 1); r != nil {
			t.Errorf("with room again: update: %d %q", r.status, r.body)
		}
		n.answersAll(t, acked)
	})
	t.Run("without one says so, and starts when there is room", func(t *testing.T) {
		t.Parallel()
		n := newDiskNode(t)
		makeRoom := n.fillDisk(t)
		if said := n.refuses(t); !strings.Contains(said, "disk/ddns.db: ") || !strings.Contains(said, "no space left on device") {
			t.Errorf("coredns says %q, want the file and what is wrong", said)
		}
		makeRoom()
		n.start(t)
		n.serves(t, n.token(t, "home.dyn.example.org"), "home.dyn.example.org")
	})
	t.Run("without any of its files leaves none behind", func(t *testing.T) {
		t.Parallel()
		n := newDiskNode(t)
		n.write(t, strings.ReplaceAll(onDisk, "{{dir}}/admin.token", "{{dir}}/disk/admin.token"))
		makeRoom := n.fillDisk(t)
		if said := n.refuses(t); !strings.Contains(said, "no space left on device") {
			t.Errorf("coredns says %q, want what is wrong", said)
		}
		makeRoom()
		if left := n.files(t, "disk"); len(left) > 0 {
			t.Errorf("left behind: %v", slices.Collect(maps.Keys(left)))
		}
		n.start(t)
	})
}

// files are the contents of the regular files below dir of the node, by path.
func (n *node) files(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(n.path(dir), func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(path)
		all[path] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// withFiles is busy with a certificate of files.
var withFiles = strings.Replace(busy, "tls internal", "tls {{dir}}/cert.pem {{dir}}/key.pem", 1)

// What a server must not start with. The error names what is wrong, with which
// file, and what is wanted, and all that was
// there is as it was.
func TestRefusesToStart(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		corefile string
		prepare  func(*testing.T, *node)
		says     []string
	}{
		"foreign database": {busy, func(t *testing.T, n *node) { n.put(t, "ddns.db", strings.Repeat("Dear diary, ", 1000)) },
			[]string{"ddns.db is not a database", "want a database that ddns made, or no file at all"}},
		"directory for a database": {busy, func(t *testing.T, n *node) { n.mkdir(t, "ddns.db") },
			[]string{"ddns.db is a directory", "want the name of a file"}},
		"truncated database": {busy, func(t *testing.T, n *node) {
			n.start(t)
			n.serves(t, n.token(t, "home.dyn.example.org"), "home.dyn.example.org")
			n.stop(t)
			n.put(t, "ddns.db", n.read(t, "ddns.db")[:20000])
		}, []string{"ddns.db is truncated", "restore a backup"}},
		"missing directory": {strings.Replace(busy, "ddns.db", "none/ddns.db", 1), func(*testing.T, *node) {},
			[]string{"none", "no such file or directory", "is not there, make it"}},
		"occupied update port": {busy, func(t *testing.T, n *node) {
			l, err := net.Listen("tcp", n.addr(t, "https"))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { l.Close() })
		}, []string{"update 127.0.0.1:", "address already in use", "a port that is free"}},
		"missing key": {withFiles, func(t *testing.T, n *node) {
			n.certificate(t, "cert.pem", "key.pem")
			os.Remove(n.path("key.pem"))
		}, []string{"key.pem: no such file", "wanted"}},
		"key of another certificate": {withFiles, func(t *testing.T, n *node) {
			n.certificate(t, "cert.pem", "other.pem")
			n.certificate(t, "other.pem", "key.pem")
		}, []string{"cert.pem", "key.pem", "private key does not match public key", "wanted"}},
		"no certificate at all": {strings.Replace(busy, "tls internal", "", 1), func(*testing.T, *node) {},
			[]string{"Corefile:", "tls: nothing given", "is wanted"}},
		"admin token that is none": {busy, func(t *testing.T, n *node) { n.put(t, "admin.token", "secret\n") },
			[]string{"admin.token", "remove the file to get a fresh one"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := newNode(t, c.corefile)
			c.prepare(t, n)
			before := n.files(t, ".")
			said := n.refuses(t)
			for _, want := range c.says {
				if !strings.Contains(said, want) {
					t.Errorf("coredns says %q, want %q in it", said, want)
				}
			}
			after := n.files(t, ".")
			for file, content := range before {
				if after[file] != content {
					t.Errorf("%s has changed", file)
				}
			}
		})
	}
}

func TestDatabaseInUse(t *testing.T) {
	t.Parallel()
	n := boot(t, busy)
	token := n.token(t, "home.dyn.example.org")
	second := newNode(t, strings.Replace(busy, "{{dir}}/ddns.db", n.path("ddns.db"), 1))
	said := second.refuses(t)
	if !strings.Contains(said, n.path("ddns.db")+" is in use by another process: stop that one") {
		t.Errorf("the second server says %q", said)
	}
	n.serves(t, token, "home.dyn.example.org")
}

// A server that is not root, with a database that root made.
func TestDatabaseOfSomebodyElse(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("to be somebody else takes root")
	}
	n := newNode(t, busy)
	n.start(t)
	n.serves(t, n.token(t, "home.dyn.example.org"), "home.dyn.example.org")
	n.stop(t)
	before := n.files(t, ".")
	for _, name := range []string{"admin.token", "ca-key.pem", "Corefile"} {
		if err := os.Chown(n.path(name), 65534, 65534); err != nil {
			t.Fatal(err)
		}
	}
	said := n.refusesNobody(t)
	if !regexp.MustCompile(`ddns\.db cannot be read and written by user 65534: .*(own|belong).* 0.*give it to that user`).MatchString(said) {
		t.Errorf("coredns says %q", said)
	}
	if after := n.files(t, "."); !maps.Equal(after, before) {
		t.Error("files have changed")
	}

	if err := os.Remove(n.path("ddns.db")); err != nil {
		t.Fatal(err)
	}
	if said := n.refusesNobody(t); !strings.Contains(said, "cannot make the database "+n.path("ddns.db")) || !strings.Contains(said, "permission denied") {
		t.Errorf("in a directory that is not its own coredns says %q", said)
	}
}

// refusesNobody starts the node as the user nobody, who can read everything on
// the way there, and returns what it says when it ends in failure.
func (n *node) refusesNobody(t *testing.T) string {
	t.Helper()
	coredns := program(t, "coredns")
	for _, dir := range []string{bin, n.dir, filepath.Dir(n.dir)} {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(coredns, "-conf", "Corefile")
	cmd.Dir = n.dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	stop := time.AfterFunc(patience, func() { cmd.Process.Kill() })
	defer stop.Stop()
	said, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil || cmd.ProcessState.ExitCode() != 1 {
		t.Errorf("coredns: %v, want status 1", err)
	}
	return string(said)
}

// The certificate's end is no reason to stop answering.
func TestExpiredCertificate(t *testing.T) {
	t.Parallel()
	n := newNode(t, withFiles)
	n.issue(t, "cert.pem", "key.pem", time.Now().Add(-time.Hour))
	n.start(t)
	n.waitLog(t, `\[ERROR\] plugin/ddns: tls \S+/cert.pem: the certificate has expired on .*; put a new one there`)
	if r := n.dig(t, "dyn.example.org", dns.TypeSOA); len(r.Answer) != 1 {
		t.Errorf("DNS answers %v", r)
	}
	n.issue(t, "cert.pem", "key.pem", time.Now().Add(time.Hour))
	n.put(t, "ca.pem", n.read(t, "cert.pem"))
	var status updateapi.Status
	n.await(t, "handshake with the new certificate", func() bool {
		return n.readAPI(n.url(t), "/status", n.adminToken(t), &status) == nil
	})
}
