package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"
	"golang.org/x/term"

	"github.com/coredns-ddns/ddns/plugin/zone"
	"github.com/coredns-ddns/ddns/updateapi"
)

const (
	// importInFlight is how many batches are under way at once: enough for the
	// server to share an fsync between them.
	importInFlight = 4
	// importPatience is how long a batch is repeated while the server asks to
	// come again later.
	importPatience = 2 * time.Minute
)

func (c *ctl) imports() *cobra.Command {
	var format, origin string
	var resume bool
	cmd := &cobra.Command{
		Use:   "import FILE",
		Short: "Set hosts from JSON lines or from a zone file",
		Long: `Set hosts from FILE, - being standard input:

  jsonl  one object a line, as host list -o json prints them:
         {"name":"home.dyn.example.org","a":"192.0.2.7","aaaa":"2001:db8::7","ttl":60}
         Also "offline", "wildcard" (true or false) and "note". A host becomes just
         what its line says.
  zone   a zone file (RFC 1035). Its A and AAAA become hosts, with their TTL (5 to
         86400 seconds); what is left out is listed.

All of FILE is read before anything is sent, and a mistake in it stops there.
Hosts that are not in FILE stay as they are. To import again is harmless. How far
an import came is kept in FILE.ddnsctl-progress until it is done; --resume goes on
from there, or begins when there is nothing to go on from.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if format != "" && format != formatJSONL && format != formatZone {
				return usage("--format %q: want %s or %s", format, formatJSONL, formatZone)
			}
			if _, err := zone.ParseName(origin); origin != "" && err != nil {
				return usage("--zone %v", err)
			}
			file, err := c.openHosts(args[0], format, origin)
			if err != nil {
				return err
			}
			for _, what := range file.leftOut {
				c.note("left out: %s", what)
			}
			p, err := c.importProgress(args[0], file, resume)
			if err != nil {
				return err
			}
			return c.importHosts(cmd.Context(), file, p)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&format, "format", "", "`FORMAT` of FILE: jsonl or zone (default: jsonl when it begins with a brace)")
	flags.StringVar(&origin, "zone", "", "`ORIGIN` of a zone file's relative names")
	flags.BoolVar(&resume, "resume", false, "go on where an import of the same file to the same server broke off")
	return cmd
}

func (c *ctl) openHosts(name, format, origin string) (*hostsFile, error) {
	if name == "-" {
		return readHosts(c.in, "standard input", format, origin)
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readHosts(f, name, format, origin)
}

// importProgress is where the import of a file stands: at its beginning, unless
// resume is wanted and there is something to go on from.
func (c *ctl) importProgress(name string, file *hostsFile, resume bool) (*progress, error) {
	server := cmp.Or(c.url, c.getenv("DDNS_URL"), defaultURL)
	p := &progress{SHA256: file.sum, Server: server}
	if name == "-" {
		if resume {
			return nil, usage("--resume wants a file; standard input cannot be gone back to")
		}
		return p, nil
	}
	p.path = name + progressSuffix
	if !resume {
		return p, nil
	}
	return p, p.load()
}

// importHosts sends the hosts that p does not know done and says how it went.
func (c *ctl) importHosts(ctx context.Context, file *hostsFile, p *progress) error {
	if p.Done > 0 {
		c.note("Going on after the first %s of %s hosts.", comma(p.Done), comma(len(file.hosts)))
	}
	began := time.Now()
	run := &importRun{hosts: file.hosts, from: p.Done, at: p, bar: c.bar(len(file.hosts), p.Done), finished: map[int]int{}}
	err := c.with(ctx, func(ctx context.Context, api *updateapi.Client) error {
		return run.do(ctx, api.Patient(importPatience))
	})
	run.bar.Clear()
	if run.unsaved != nil {
		c.note("How far this came could not be kept, so that --resume cannot help: %v", run.unsaved)
	}
	if err != nil {
		c.note("The first %s of %s hosts are imported; those after them perhaps.", comma(p.Done), comma(len(file.hosts)))
		if p.Done > 0 && p.path != "" && run.unsaved == nil {
			c.note("The same command with --resume goes on after them.")
		}
		return err
	}
	if err := p.remove(); err != nil {
		return err
	}
	if done, err := c.asJSON(importResult{len(file.hosts) - run.from, run.total, len(file.leftOut)}); done {
		return err
	}
	c.note("Imported %s hosts in %.1f s: %s changed, %s unchanged; %s records left out.", comma(len(file.hosts)-run.from),
		time.Since(began).Seconds(), comma(run.total.Changed), comma(run.total.Unchanged), comma(len(file.leftOut)))
	return nil
}

// importResult is what import -o json prints.
type importResult struct {
	Hosts int `json:"hosts"` // sent by this run
	updateapi.Imported
	LeftOut int `json:"left_out"`
}

// bar shows how far an import is, on a terminal only.
func (c *ctl) bar(total, done int) *progressbar.ProgressBar {
	out := io.Discard
	if f, ok := c.err.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		out = f
	}
	bar := progressbar.NewOptions(total, progressbar.OptionSetWriter(out), progressbar.OptionSetDescription("hosts"),
		progressbar.OptionShowCount(), progressbar.OptionShowIts(), progressbar.OptionSetItsString("hosts"),
		progressbar.OptionThrottle(100*time.Millisecond), progressbar.OptionClearOnFinish())
	bar.Add(done)
	return bar
}

// importRun sends hosts in batches, several at once.
type importRun struct {
	hosts []updateapi.ImportHost
	from  int // how many were done before
	bar   *progressbar.ProgressBar

	mu       sync.Mutex
	at       *progress
	finished map[int]int // batches that are done after one that is not: first host → how many
	total    updateapi.Imported
	unsaved  error // why at could not be kept
}

// do sends until all is done or a batch fails.
func (r *importRun) do(ctx context.Context, api *updateapi.Client) error {
	g, sending := errgroup.WithContext(ctx)
	g.SetLimit(importInFlight)
	for first := r.from; first < len(r.hosts) && sending.Err() == nil; first += updateapi.MaxImport {
		batch := r.hosts[first:min(first+updateapi.MaxImport, len(r.hosts))]
		g.Go(func() error {
			imported, err := api.Import(sending, batch)
			if err != nil {
				return fmt.Errorf("hosts %s to %s of the file: %w", comma(first+1), comma(first+len(batch)), err)
			}
			r.finish(first, len(batch), imported)
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	return ctx.Err()
}

// finish counts a batch. Progress is only what is done without a gap.
func (r *importRun) finish(first, n int, imported updateapi.Imported) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.total.Changed += imported.Changed
	r.total.Unchanged += imported.Unchanged
	r.bar.Add(n)
	r.finished[first] = n
	for next := r.finished[r.at.Done]; next > 0; next = r.finished[r.at.Done] {
		delete(r.finished, r.at.Done)
		r.at.Done += next
	}
	if err := r.at.save(); err != nil && r.unsaved == nil {
		r.unsaved = err
	}
}

func comma(n int) string { return humanize.Comma(int64(n)) }
