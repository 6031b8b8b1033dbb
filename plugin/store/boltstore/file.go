package boltstore

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"syscall"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

// format is the version of what is in the file. Raise it when an older server
// must not write the file any more.
const format = "1"

// openFile opens or makes the database, and leaves alone whatever else is at
// path. It also says which file that is.
func openFile(path string) (*bbolt.DB, fs.FileInfo, error) {
	created, err := create(path)
	if err != nil {
		return nil, nil, err
	}
	empty, err := inspect(path)
	if err != nil {
		return nil, nil, err
	}
	if !empty {
		// Read-only first: opened for writing, bbolt may write to a file that
		// then turns out to be another program's.
		db, _, err := openBolt(path, true, 0)
		if err != nil {
			return nil, nil, err
		}
		empty, err = checkFormat(path, db)
		if err := errors.Join(err, db.Close()); err != nil {
			return nil, nil, err
		}
	}
	db, file, err := openMapped(path)
	if err == nil && empty {
		// Another first start may have been faster.
		if empty, err = checkFormat(path, db); empty {
			err = initialise(path, db)
		}
		if err != nil {
			err = errors.Join(err, db.Close())
		}
	}
	if err != nil {
		if created && empty && !errors.Is(err, bolterrors.ErrTimeout) {
			os.Remove(path)
		}
		return nil, nil, err
	}
	return db, file, nil
}

// create makes an empty file unless there is one, and says whether it did. The
// file's name is on disk when create returns.
func create(path string) (bool, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return false, nil
	}
	dir := filepath.Dir(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, fmt.Errorf("database %s: the directory %s is not there, make it: %w", path, dir, err)
	}
	if err != nil {
		return false, fmt.Errorf("cannot make the database %s: %w", path, err)
	}
	if d, err := os.Open(dir); err == nil {
		d.Sync() // best effort: not every file system can
		d.Close()
	}
	return true, f.Close()
}

// What bbolt's pages start with: a header and, on the first two, a meta page.
const (
	pageHeader    = 16
	metaSize      = 64
	boltMagic     = 0xED0CDAED
	boltVersion   = 2
	largestPage   = 1 << 24
	smallestPage  = 1 << 10
	metaPageEnd   = pageHeader + metaSize
	wantedContent = "want a database that ddns made, or no file at all"
)

// inspect reads the file's two meta pages as bbolt does and refuses a file that
// bbolt would map and then fault on. A file of no octets is reported as empty:
// what a first start killed early leaves behind.
func inspect(path string) (empty bool, err error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return false, refused(path, err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return false, fmt.Errorf("database %s: %w", path, err)
	}
	if !info.Mode().IsRegular() {
		return false, fmt.Errorf("database %s is not a regular file: %s", path, wantedContent)
	}
	if info.Size() == 0 {
		return true, nil
	}
	wanted, ok := latestMeta(f)
	if !ok {
		return false, fmt.Errorf("database %s is not a database, or its beginning is damaged: %s", path, wantedContent)
	}
	if info, err = f.Stat(); err != nil || info.Size() < wanted {
		return false, fmt.Errorf("database %s is truncated: it has %d octets, want at least %d: restore a backup", path, info.Size(), wanted)
	}
	return false, nil
}

// refused is the error for a file that cannot be opened.
func refused(path string, err error) error {
	info, statErr := os.Stat(path)
	switch {
	case statErr == nil && info.IsDir():
		return fmt.Errorf("database %s is a directory: want the name of a file", path)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("database %s cannot be read and written by user %d: %sgive it to that user: %w", path, os.Geteuid(), owner(info), err)
	}
	return fmt.Errorf("database %s: %w", path, err)
}

// latestMeta finds the valid meta page with the higher transaction and returns
// how long the file must be at least.
func latestMeta(f io.ReaderAt) (octets int64, ok bool) {
	var latest uint64
	take := func(at int64) (pageSize int64) {
		page := make([]byte, metaPageEnd)
		if _, err := f.ReadAt(page, at); err != nil {
			return 0
		}
		m := page[pageHeader:]
		sum := fnv.New64a()
		sum.Write(m[:metaSize-8])
		word := binary.NativeEndian
		if word.Uint32(m) != boltMagic || word.Uint32(m[4:]) != boltVersion || word.Uint64(m[56:]) != sum.Sum64() {
			return 0
		}
		pageSize = int64(word.Uint32(m[8:]))
		if pages, txid := word.Uint64(m[40:]), word.Uint64(m[48:]); !ok || txid > latest {
			octets, latest, ok = int64(pages)*pageSize, txid, true
		}
		return pageSize
	}
	if size := take(0); size > 0 {
		take(size)
		return octets, ok
	}
	for size := int64(smallestPage); size <= largestPage && !ok; size *= 2 {
		take(size)
	}
	return octets, ok
}

// openMapped opens the database for writing. The file is given so much address
// space that it hardly ever has to be mapped anew: for that a writer waits for
// every reader, and a backup may go to a slow client. It takes no memory. Where
// address space is limited (ulimit -v) at least half of it is left.
func openMapped(path string) (*bbolt.DB, fs.FileInfo, error) {
	octets := 0 // on Windows the file is as long as its mapping
	switch gigabyte := 1 << 30; {
	case runtime.GOOS == "windows":
	case strconv.IntSize < 64:
		octets = gigabyte / 2
	default:
		octets = 64 * gigabyte
	}
	for octets > 0 && !mappable(2*octets) {
		octets /= 2
	}
	db, file, err := openBolt(path, false, octets)
	if err == nil {
		readAhead(db, max(octets, int(file.Size())))
	}
	return db, file, err
}

// openBolt opens the database, takes its lock and maps at least so many octets.
func openBolt(path string, readOnly bool, octets int) (db *bbolt.DB, info fs.FileInfo, err error) {
	var file *os.File
	options := &bbolt.Options{
		Timeout: time.Second,
		OpenFile: func(name string, flag int, mode os.FileMode) (f *os.File, err error) {
			file, err = os.OpenFile(name, flag, mode)
			return file, err
		},
		ReadOnly:        readOnly,
		FreelistType:    bbolt.FreelistMapType,
		NoStatistics:    true,
		InitialMmapSize: octets,
	}
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			file.Close() // and with it the lock
			db, err = nil, fmt.Errorf("database %s is damaged, restore a backup: %v", path, p)
		}
	}()
	db, err = bbolt.Open(path, 0o600, options)
	if err == nil {
		if info, err = file.Stat(); err != nil {
			err = errors.Join(err, db.Close())
		}
	}
	switch limit, limited := addressSpace(); {
	case err == nil:
		return db, info, nil
	case errors.Is(err, bolterrors.ErrTimeout):
		err = fmt.Errorf("database %s is in use by another process: stop that one, or name another file: %w", path, err)
	case errors.Is(err, syscall.ENOMEM) && limited:
		err = fmt.Errorf("database %s does not fit into the address space of this process, limited to %d octets: lift that limit (ulimit -v, LimitAS): %w", path, limit, err)
	default:
		err = fmt.Errorf("database %s: %w", path, err)
	}
	return nil, nil, err
}

// checkFormat says whether the database is ours (nil error) or has nothing in
// it, as a first start killed early leaves it.
func checkFormat(path string, db *bbolt.DB) (empty bool, err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("database %s is damaged, restore a backup: %v", path, p)
		}
	}()
	err = db.View(func(tx *bbolt.Tx) error {
		b := tx.Bucket(keyFile)
		if b == nil {
			if k, _ := tx.Cursor().First(); k == nil {
				empty = true
				return nil
			}
			return fmt.Errorf("database %s is another program's: %s", path, wantedContent)
		}
		if f := b.Get(keyFormat); string(f) != format {
			return fmt.Errorf("database %s has format %q, this version reads %q: use the version of ddns that wrote it", path, f, format)
		}
		return nil
	})
	return empty, err
}

// initialise makes what every database has.
func initialise(path string, db *bbolt.DB) error {
	err := db.Update(func(tx *bbolt.Tx) error {
		b, err := tx.CreateBucket(keyFile)
		if err != nil {
			return err
		}
		if err := b.Put(keyFormat, []byte(format)); err != nil {
			return err
		}
		if err := b.Put(keyIncarnation, []byte(rand.Text())); err != nil {
			return err
		}
		t, err := tx.CreateBucket(keyTokens)
		if err != nil {
			return err
		}
		if _, err := t.CreateBucket(keyTokens); err != nil {
			return err
		}
		return t.Put(keyMeta, meta{}.append(nil))
	})
	if err != nil {
		return fmt.Errorf("cannot make the database %s: %w", path, err)
	}
	return nil
}
