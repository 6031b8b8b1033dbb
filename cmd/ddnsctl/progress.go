package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// progressSuffix names the file beside an import's in which its progress is kept.
const progressSuffix = ".ddnsctl-progress"

// progress is how far an import came: the first Done hosts of the file with that
// hash are on that server.
type progress struct {
	path   string // "": kept nowhere
	SHA256 string `json:"sha256"`
	Server string `json:"server"`
	Done   int    `json:"done"`
}

// load takes over what an earlier import of the same file to the same server
// left, if it left anything.
func (p *progress) load() error {
	text, err := os.ReadFile(p.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var was progress
	err = json.Unmarshal(text, &was)
	switch {
	case err != nil || was.Done < 0:
		return fmt.Errorf("%s is not a progress file; remove it or import without --resume", p.path)
	case was.SHA256 != p.SHA256:
		return fmt.Errorf("%s is of another content of the file; import without --resume", p.path)
	case was.Server != p.Server:
		return fmt.Errorf("%s is of an import to %s; import without --resume", p.path, was.Server)
	}
	p.Done = was.Done
	return nil
}

// save replaces the file whole, so that an interruption leaves the old or the
// new. It need not outlast a power failure: to import again is harmless.
func (p *progress) save() error {
	if p.path == "" {
		return nil
	}
	text, err := json.Marshal(p)
	if err != nil {
		return err
	}
	if err := os.WriteFile(p.path+".tmp", append(text, '\n'), 0o600); err != nil {
		return err
	}
	return os.Rename(p.path+".tmp", p.path)
}

func (p *progress) remove() error {
	if p.path == "" {
		return nil
	}
	if err := os.Remove(p.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
