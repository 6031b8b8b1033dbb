package ddns

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/coredns-ddns/ddns/plugin/token"
)

// adminToken reads the operator's token, or makes one in a new file.
func adminToken(file string) (token.Secret, error) {
	b, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		text, secret := token.Mint()
		if err := writeNew(file, 0o600, []byte(text+"\n")); err != nil {
			return token.Secret{}, fmt.Errorf("admin_token: %w; a file in a directory that is there and writable is wanted", err)
		}
		log.Infof("admin_token: wrote a fresh token to %s", file)
		return secret, nil
	}
	if err != nil {
		return token.Secret{}, fmt.Errorf("admin_token: %w; a readable file is wanted", err)
	}
	secret, err := token.Parse(strings.TrimSpace(string(b)))
	if err != nil {
		return token.Secret{}, fmt.Errorf("admin_token %s: %w; remove the file to get a fresh one", file, err)
	}
	if info, err := os.Stat(file); err == nil && info.Mode().Perm()&0o077 != 0 {
		log.Warningf("admin_token: %s can be read by others than its owner; chmod 600 is wanted", file)
	}
	return secret, nil
}

// writeNew writes a file that must not be there, whole or not at all.
func writeNew(file string, mode fs.FileMode, content []byte) error {
	tmp, err := os.CreateTemp(filepath.Dir(file), filepath.Base(file)+".new-*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(content)
	err = errors.Join(err, tmp.Chmod(mode), tmp.Sync(), tmp.Close())
	if err != nil {
		return err
	}
	return os.Link(tmp.Name(), file) // unlike a rename, it does not replace
}
