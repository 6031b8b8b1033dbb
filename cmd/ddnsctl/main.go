// Command ddnsctl is what an operator of the dynamic-DNS server works with. It
// speaks to a running server's HTTP API and to nothing else.
//
// What a script wants goes to standard output and everything else to standard
// error; an exit code tells why it failed; a token is never taken as an argument
// and never printed, but once by the command that mints it.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
)

const about = `ddnsctl works with a running ddns server through its HTTPS API.

The server, and who you are:

  --url, DDNS_URL            of the update listener; default https://localhost:8443
  --token-file, DDNS_TOKEN_FILE
                             default data/admin.token, when that exists
  DDNS_TOKEN                 the token itself; goes before DDNS_TOKEN_FILE. There
                             is no such flag: anyone on the machine could read it
                             in the list of processes
  --ca, DDNS_CA              PEM file of the only authorities to trust. Default: the
                             system's, and data/ca.pem when that exists

A flag goes before the environment, and that before the default.

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 not found, 4 not allowed (no
token, a wrong one, or one that may not do this), 5 the server is not reachable
or not ready: worth trying again.`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], &ctl{in: os.Stdin, out: os.Stdout, err: os.Stderr, getenv: os.Getenv})
	stop()
	os.Exit(code)
}

// ctl is what the commands share: where they read and write, and the flags that
// all of them have.
type ctl struct {
	in       io.Reader
	out, err io.Writer
	getenv   func(string) string

	url, tokenFile, ca string
	output             string // -o
}

// run does one command line and answers the exit code.
func run(ctx context.Context, args []string, c *ctl) int {
	root, started := c.root()
	root.SetArgs(args)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return exitDone
	}
	code := exitCode(err)
	if !*started { // cobra did not get past arguments and flags
		code = exitUsage
	}
	if ctx.Err() != nil {
		err = errors.New("interrupted")
	}
	fmt.Fprintf(c.err, "ddnsctl: %v\n", err)
	if h, ok := errors.AsType[hinted](err); ok {
		fmt.Fprintln(c.err, h.hint)
	}
	if code == exitUsage {
		fmt.Fprintf(c.err, "Usage: %s\nSee:   %s --help\n", cmd.UseLine(), cmd.CommandPath())
	}
	return code
}

// root is the whole tree of commands. The bool becomes true when a command line
// was understood and its command runs.
func (c *ctl) root() (*cobra.Command, *bool) {
	started := new(bool)
	root := &cobra.Command{
		Use:           "ddnsctl",
		Short:         "Work with a running dynamic-DNS server",
		Long:          about,
		Version:       version(),
		SilenceUsage:  true,
		SilenceErrors: true,
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			if err := cmd.ValidateFlagGroups(); err != nil {
				return err
			}
			*started = true
			if c.output != "" && c.output != "json" {
				return usage("-o %q: want json", c.output)
			}
			return nil
		},
	}
	flags := root.PersistentFlags()
	flags.StringVar(&c.url, "url", "", "`URL` of the server's update listener (DDNS_URL)")
	flags.StringVar(&c.tokenFile, "token-file", "", "`FILE` with the token (DDNS_TOKEN_FILE)")
	flags.StringVar(&c.ca, "ca", "", "PEM `FILE` of the authorities to trust (DDNS_CA)")
	flags.StringVarP(&c.output, "output", "o", "", "`FORMAT` of standard output: json; lists are one object a line")
	root.SetIn(c.in)
	root.SetOut(c.out)
	root.SetErr(c.err)
	root.AddCommand(c.token(), c.host(), c.imports(), c.backup(), c.whoami(), c.status(), c.store())
	return root, started
}

// group is a command that only has commands below it.
func group(use, short string, below ...*cobra.Command) *cobra.Command {
	g := &cobra.Command{
		Use:   use + " COMMAND",
		Short: short,
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			var names []string
			for _, b := range below {
				names = append(names, b.Name())
			}
			return usage("%s wants one of: %s", use, strings.Join(names, ", "))
		},
	}
	g.AddCommand(below...)
	return g
}

func version() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		return info.Main.Version
	}
	return "unknown"
}
