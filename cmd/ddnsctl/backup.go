package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/coredns-ddns/ddns/updateapi"
)

func (c *ctl) backup() *cobra.Command {
	var force bool
	var origin string
	cmd := &cobra.Command{
		Use:   "backup FILE",
		Short: "Copy the server's database while it runs",
		Long: `Copy the server's database while it runs. FILE appears when the copy is whole and
on disk, and is readable for its owner only; - is standard output. To restore it,
put it in the place of the database of a server that is stopped.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			file := args[0]
			if file == "" {
				return usage(`FILE "": want a file, or - for standard output`)
			}
			if _, err := os.Lstat(file); err == nil && file != "-" && !force {
				return fmt.Errorf("%s exists: want another name, or --force to replace it", file)
			}
			return c.with(cmd.Context(), func(ctx context.Context, api *updateapi.Client) error {
				if file == "-" {
					_, err := api.Backup(ctx, origin, c.out)
					return err
				}
				n, err := backupTo(ctx, api, origin, file)
				if err == nil {
					c.note("Backed up %s to %s.", humanize.IBytes(uint64(n)), file)
				}
				return err
			})
		},
	}
	cmd.Flags().StringVar(&origin, "zone", "", "`ORIGIN` of a zone of the database, where the server has several databases")
	cmd.Flags().BoolVar(&force, "force", false, "replace FILE when it exists")
	return cmd
}

// backupTo makes file hold a whole backup, or leaves it as it was.
func backupTo(ctx context.Context, api *updateapi.Client, origin, file string) (n int64, err error) {
	tmp := file + ".tmp"
	if err := os.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) { // of a run that was killed
		return 0, err
	}
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return 0, err
	}
	n, err = api.Backup(ctx, origin, f)
	if err == nil {
		err = f.Sync()
	}
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err != nil {
		os.Remove(tmp)
		return n, err
	}
	if err := os.Rename(tmp, file); err != nil {
		return n, err
	}
	return n, syncDir(filepath.Dir(file))
}

// syncDir makes a rename in dir outlast a power failure.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
