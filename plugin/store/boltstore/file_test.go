package boltstore

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.etcd.io/bbolt"

	"github.com/coredns-ddns/ddns/plugin/store"
	"github.com/coredns-ddns/ddns/plugin/zone"
)

// database makes a file with some hosts and returns its octets.
func database(t *testing.T) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "ddns.db")
	s := open(t, path)
	h := hostsOf(t, s)
	var u store.Update
	for i := range 1000 {
		u.Writes = append(u.Writes, store.Write{Host: host(i, 0)})
	}
	if _, err := h.Update(t.Context(), u); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// bolt is a bbolt database that change was done to.
func bolt(t *testing.T, options *bbolt.Options, change func(tx *bbolt.Tx) error) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "some.db")
	db, err := bbolt.Open(path, 0o600, options)
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Update(change); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

func TestOpenRefusesAndLeavesAlone(t *testing.T) {
	whole := database(t)
	foreign := func(tx *bbolt.Tx) error { _, err := tx.CreateBucket([]byte("users")); return err }
	headless := bytes.Clone(whole)
	clear(headless[:2*os.Getpagesize()])
	for intent, c := range map[string]struct {
		content []byte
		want    string
	}{
		"a text file":                      {[]byte(strings.Repeat("dyn.example.org. A 192.0.2.1\n", 1000)), "is not a database"},
		"a few octets":                     {[]byte("x"), "is not a database"},
		"zeros":                            {make([]byte, 1<<20), "is not a database"},
		"no meta pages":                    {headless, "is not a database"},
		"half of it":                       {whole[:len(whole)/64], "is truncated"},
		"three pages":                      {whole[:3*os.Getpagesize()], "is truncated"},
		"one page":                         {whole[:os.Getpagesize()], "is truncated"},
		"a part of a page":                 {whole[:100], "is truncated"},
		"another program's":                {bolt(t, nil, foreign), "is another program's"},
		"another program's, freelist lost": {bolt(t, &bbolt.Options{NoFreelistSync: true}, foreign), "is another program's"},
		"a newer format": {bolt(t, nil, func(tx *bbolt.Tx) error {
			b, err := tx.CreateBucket(keyFile)
			if err != nil {
				return err
			}
			return b.Put(keyFormat, []byte("2"))
		}), `has format "2", this version reads "1"`},
	} {
		t.Run(intent, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "ddns.db")
			if err := os.WriteFile(path, c.content, 0o640); err != nil {
				t.Fatal(err)
			}
			refuse(t, path, c.want)
			after, err := os.ReadFile(path)
			if err != nil || !bytes.Equal(after, c.content) {
				t.Errorf("the file was changed (%v)", err)
			}
		})
	}
}

// refuse checks that path cannot be opened, with an error that names it.
func refuse(t *testing.T, path, want string) {
	t.Helper()
	s, err := Open(path)
	if err == nil {
		s.Close()
		t.Fatal("Open succeeded")
	}
	t.Log(err)
	if !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), want) {
		t.Errorf("error %q, want one that says %q and %q", err, path, want)
	}
}

func TestOpenTruncatedAnywhere(t *testing.T) {
	whole := database(t)
	page := os.Getpagesize()
	wanted, ok := latestMeta(bytes.NewReader(whole))
	if !ok {
		t.Fatal("no meta page")
	}
	path := filepath.Join(t.TempDir(), "ddns.db")
	for size := int64(1); size < wanted; size += int64(page) - 7 {
		if err := os.WriteFile(path, whole[:size], 0o600); err != nil {
			t.Fatal(err)
		}
		if s, err := Open(path); err == nil {
			s.Close()
			t.Fatalf("opened with %d of %d octets", size, wanted)
		}
	}
	if err := os.WriteFile(path, whole[:wanted], 0o600); err != nil {
		t.Fatal(err)
	}
	if err := open(t, path).Close(); err != nil {
		t.Error(err)
	}
}

func TestOpenWhatIsNoFileOfOurs(t *testing.T) {
	dir := t.TempDir()
	t.Run("a directory", func(t *testing.T) { refuse(t, dir, "is a directory") })
	t.Run("no directory to be in", func(t *testing.T) {
		refuse(t, filepath.Join(dir, "missing", "ddns.db"), "the directory "+filepath.Join(dir, "missing")+" is not there")
	})
	t.Run("in use", func(t *testing.T) {
		path := filepath.Join(dir, "used.db")
		s := open(t, path)
		defer s.Close()
		refuse(t, path, "is in use by another process")
	})
}

func TestOpenMakesAFileForItsUserAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ddns.db")
	if err := open(t, path).Close(); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode() != 0o600 {
		t.Errorf("mode %v, %v, want 0600", info.Mode(), err)
	}
}

// A first start that is killed leaves an empty file, or a database with nothing
// in it. Nothing is lost by going on from there.
func TestOpenAfterAFirstStartKilledEarly(t *testing.T) {
	for intent, content := range map[string][]byte{
		"before the database": {},
		"before its format":   bolt(t, nil, func(*bbolt.Tx) error { return nil }),
	} {
		t.Run(intent, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "ddns.db")
			if err := os.WriteFile(path, content, 0o600); err != nil {
				t.Fatal(err)
			}
			s := open(t, path)
			hostsOf(t, s)
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// Octets that rot where nobody looked end in errors, not in the end of the
// process, and are not made worse.
func TestDamageWithinTheFile(t *testing.T) {
	whole := database(t)
	page := os.Getpagesize()
	wanted, _ := latestMeta(bytes.NewReader(whole))
	for _, fill := range []byte{0, 0xff} {
		for at := 2 * page; at < int(wanted); at += 9 * page {
			t.Run(fmt.Sprintf("%#x at page %d", fill, at/page), func(t *testing.T) {
				content := bytes.Clone(whole)
				for i := at; i < min(at+3*page, len(content)); i++ {
					content[i] = fill
				}
				path := filepath.Join(t.TempDir(), "ddns.db")
				if err := os.WriteFile(path, content, 0o600); err != nil {
					t.Fatal(err)
				}
				before := sha256.Sum256(content)
				s, err := Open(path)
				if err != nil {
					if after, _ := os.ReadFile(path); sha256.Sum256(after) != before {
						t.Error("the file was changed")
					}
					return
				}
				if h, err := s.Hosts(t.Context(), origin); err == nil {
					_, err := h.Snapshot(t.Context(), func(zone.Host) error { return nil })
					_, _ = h.Update(t.Context(), store.Update{Writes: []store.Write{{Host: zone.Host{Name: "new." + origin}}}})
					_, _, listErr := h.List(t.Context(), "", 5000)
					_, pastErr := h.History(t.Context(), "h0000500."+origin)
					t.Log(err, listErr, pastErr)
				}
				if err := s.Close(); err != nil {
					t.Error(err)
				}
			})
		}
	}
}
