//go:build linux

package boltstore

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/coredns-ddns/ddns/plugin/store"
	"github.com/coredns-ddns/ddns/plugin/zone"
)

// While the disk is full updates fail and change nothing, everything can still
// be read, and with space the store goes on as if nothing had been.
func TestFullDisk(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("mounting a small file system needs root")
	}
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"); err != nil {
		t.Fatalf("mount: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Errorf("unmount: %v", err)
		}
	})
	path := filepath.Join(dir, "ddns.db")
	ballast := filepath.Join(dir, "ballast")
	write := func(octets int) error { return os.WriteFile(ballast, make([]byte, octets), 0o600) }

	// Too little for even an empty database.
	if err := write(1<<20 - 8192); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(path); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("Open: %v, want ENOSPC", err)
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file was left behind (%v)", err)
	}

	if err := write(400 << 10); err != nil {
		t.Fatal(err)
	}
	s := open(t, path)
	h := hostsOf(t, s)
	follow := make(chan store.Commit[zone.Host], 100_000)
	go func() {
		defer close(follow)
		for c, err := range h.Follow(t.Context(), 0) {
			if err != nil {
				return
			}
			follow <- c
		}
	}()
	revision, n := fill(t, h, 0, 0)
	for range 20 { // again and again
		_, err := h.Update(t.Context(), put(many(n)...))
		if !errors.Is(err, store.ErrUnavailable) || !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), path) {
			t.Fatalf("%v, want ErrUnavailable and ENOSPC for %s", err, path)
		}
		if hosts, p := all(t, h); len(hosts) != n || p.Revision != revision {
			t.Fatalf("%d hosts at %v, want %d at %d", len(hosts), p, n, revision)
		}
	}
	if err := s.Backup(t.Context(), io.Discard); err != nil {
		t.Errorf("Backup: %v", err)
	}

	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	before := n
	if revision, n = fill(t, h, revision, n); n == before {
		t.Error("nothing could be written with space again")
	}
	for want := zone.Revision(1); want <= revision; want++ {
		if c := <-follow; c.Revision != want {
			t.Fatalf("followed commit %d, want %d", c.Revision, want)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, path)
	defer s.Close()
	if hosts, p := all(t, hostsOf(t, s)); len(hosts) != n || p.Revision != revision {
		t.Errorf("%d hosts at %v, want %d at %d", len(hosts), p, n, revision)
	}
}

// many is a hundred hosts from the n-th on.
func many(n int) (hosts []zone.Host) {
	for i := range 100 {
		hosts = append(hosts, host(n+i, 0))
	}
	return hosts
}

// fill makes hosts until an update fails, and returns the zone's revision and
// how many hosts it has.
func fill(t *testing.T, h store.Hosts, revision zone.Revision, n int) (zone.Revision, int) {
	t.Helper()
	for {
		r, err := h.Update(t.Context(), put(many(n)...))
		if errors.Is(err, syscall.ENOSPC) {
			return revision, n
		}
		if err != nil || r.Revision != revision+1 {
			t.Fatalf("%v, %v, want revision %d", r, err, revision+1)
		}
		revision, n = r.Revision, n+100
	}
}

func TestOpenSomeoneElsesFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "theirs.db")
	if err := open(t, path).Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0); err != nil {
		t.Fatal(err)
	}
	unprivileged(t, path, func() { refuse(t, path, "belongs to user") })
}

// unprivileged does something with path without root's rights to files.
func unprivileged(t *testing.T, path string, do func()) {
	if os.Geteuid() != 0 {
		do()
		return
	}
	for dir := filepath.Dir(path); dir != "/"; dir = filepath.Dir(dir) {
		if info, err := os.Stat(dir); err == nil && info.Mode().Perm()&0o005 != 0o005 {
			if err := os.Chmod(dir, info.Mode().Perm()|0o055); err != nil {
				t.Fatal(err)
			}
		}
	}
	// Of this thread alone, which ends with its goroutine.
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		if _, err := unix.SetfsuidRetUid(65534); err != nil {
			t.Error(err)
			return
		}
		do()
	}()
	<-done
}

// Who makes the file and then finds that another start was faster to lock it
// must not clear it away.
func TestAFirstStartLeavesItsFileToWhoLockedIt(t *testing.T) {
	for {
		path := filepath.Join(t.TempDir(), "ddns.db")
		opened := make(chan start)
		go func() {
			s, err := Open(path)
			opened <- start{s, err}
		}()
		var other *os.File
		for other == nil {
			other, _ = os.OpenFile(path, os.O_RDWR, 0)
		}
		locked := unix.Flock(int(other.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil
		info, _ := other.Stat()
		first := <-opened
		other.Close()
		if first.error == nil {
			first.Close()
		}
		if !locked || info.Size() > 0 {
			continue // it was faster
		}
		if first.error == nil || !strings.Contains(first.Error(), "in use by another process") {
			t.Errorf("%v, want an error that says that the file is in use", first.error)
		}
		if _, err := os.Stat(path); err != nil {
			t.Error(err)
		}
		return
	}
}

// The file gets a part of what address space there is; with too little the
// error names the limit.
func TestOpenWithLittleAddressSpace(t *testing.T) {
	const inChild = "BOLTSTORE_LITTLE_SPACE"
	if path := os.Getenv(inChild); path != "" {
		openWithin(t, path)
		return
	}
	cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), inChild+"="+filepath.Join(t.TempDir(), "ddns.db"))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

func openWithin(t *testing.T, path string) {
	const left = 700 << 20
	before := addressSpaceUsed(t)
	limit := unix.Rlimit{Cur: before + left, Max: unix.RLIM_INFINITY}
	if err := unix.Setrlimit(unix.RLIMIT_AS, &limit); err != nil {
		t.Fatal(err)
	}
	s := open(t, path)
	if taken := addressSpaceUsed(t) - before; taken < left/8 || taken > left/2 {
		t.Errorf("%d of %d octets of address space are taken", taken, left)
	}
	must(t, hostsOf(t, s), put(host(1, 0)))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, 2*left); err != nil { // as valid, and too long
		t.Fatal(err)
	}
	refuse(t, path, fmt.Sprintf("limited to %d octets", limit.Cur))
}

func addressSpaceUsed(t *testing.T) uint64 {
	t.Helper()
	statm, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Fatal(err)
	}
	var pages uint64
	if _, err := fmt.Sscan(string(statm), &pages); err != nil {
		t.Fatal(err)
	}
	return pages * uint64(os.Getpagesize())
}
