// Package test drives the built programs from outside: real processes, real
// sockets, real clients. It holds nothing that ships.
package test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"sync"
	"testing"
)

const module = "github.com/coredns-ddns/ddns"

// bin is where the programs of this run are built.
var bin string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		var err error
		if bin, err = os.MkdirTemp("", "ddns-test"); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(bin)
		return m.Run()
	}())
}

// program is the path of a program of cmd/, built once a run, with the race
// detector when the tests have it.
func program(t testing.TB, name string) string {
	t.Helper()
	if err := build(); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(bin, name)
}

var build = sync.OnceValue(func() error {
	args := []string{"build", "-o", bin + string(filepath.Separator)}
	if raceDetector() {
		args = append(args, "-race")
	}
	out, err := exec.Command("go", append(args, module+"/cmd/...")...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("build the programs: %w\n%s", err, out)
	}
	return nil
})

func raceDetector() bool {
	info, ok := debug.ReadBuildInfo()
	return ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"})
}

// peer is the path of somebody else's program. A test that wants it fails
// without it: a skipped test shows nothing.
func peer(t testing.TB, name string) string {
	t.Helper()
	for _, dir := range append(filepath.SplitList(os.Getenv("PATH")), "/usr/sbin", "/sbin") {
		if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return path
		}
	}
	t.Fatalf("%s is not installed: run test/peers.sh", name)
	return ""
}
