package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/coredns-ddns/ddns/updateapi"
)

// statusEvery is how often status --wait asks.
const statusEvery = 200 * time.Millisecond

func (c *ctl) status() *cobra.Command {
	var wait time.Duration
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Say how the server is; exit code 5 while it is not ready",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if wait < 0 {
				return usage("--wait %s: want a duration such as 30s", wait)
			}
			status, err := c.awaitReady(cmd.Context(), time.Now().Add(wait))
			if err != nil && !errors.Is(err, errNotReady) {
				return err
			}
			return errors.Join(c.printStatus(status, time.Now()), err)
		},
	}
	cmd.Flags().DurationVar(&wait, "wait", 0, "`DURATION` to wait for the server to answer and be ready")
	return cmd
}

// awaitReady asks until the server is ready, says something final, or it is
// past until. It asks at least once.
func (c *ctl) awaitReady(ctx context.Context, until time.Time) (status updateapi.Status, err error) {
	for {
		err = c.with(ctx, func(ctx context.Context, api *updateapi.Client) (err error) {
			if status, err = api.Status(ctx); err == nil && !status.Ready {
				err = errNotReady
			}
			return err
		})
		if err == nil || final(err) || !time.Now().Add(statusEvery).Before(until) {
			return status, err
		}
		select {
		case <-ctx.Done():
			return status, ctx.Err()
		case <-time.After(statusEvery):
		}
	}
}

// final says whether asking again is in vain. A file that is missing or a
// certificate that is not trusted yet may be a server's that is just starting.
func final(err error) bool {
	problem, said := errors.AsType[*updateapi.Problem](err)
	return said && problem.Status < http.StatusInternalServerError ||
		errors.Is(err, updateapi.ErrClient) || errors.Is(err, context.Canceled)
}

func (c *ctl) printStatus(s updateapi.Status, now time.Time) error {
	if done, err := c.asJSON(s); done {
		return err
	}
	t := newTable(c.out)
	t.field("Version", s.Version)
	t.field("Started", whenAndAge(s.Started, now))
	t.field("Ready", yes(s.Ready))
	t.field("Tokens", humanize.Comma(int64(s.Tokens)))
	t.Flush()
	if len(s.Zones) == 0 {
		return nil
	}
	fmt.Fprintln(c.out)
	t = newTable(c.out, "ZONE", "READY", "HOSTS", "SERIAL", "REVISION", "LAG", "STORE", "ERROR")
	for _, z := range s.Zones {
		t.row(z.Zone, yes(z.Ready), humanize.Comma(int64(z.Hosts)), strconv.FormatUint(uint64(z.Serial), 10),
			strconv.FormatUint(z.Revision, 10), fmt.Sprintf("%.1fs", z.LagSeconds), z.Store, cmp.Or(z.Error, "-"))
	}
	return t.Flush()
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

func (c *ctl) whoami() *cobra.Command {
	return &cobra.Command{
		Use:   "whoami",
		Short: "Say what the server makes of this token and this client",
		Long: `Say which client address the server sees, what the token may do, and for its
hosts what is stored and what DNS answers. With a device's token (DDNS_TOKEN) on
the device's network: the place to look when a device will not update.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.with(cmd.Context(), func(ctx context.Context, api *updateapi.Client) error {
				w, err := api.Whoami(ctx)
				if err != nil {
					return err
				}
				return c.printWhoami(w, time.Now())
			})
		},
	}
}

func (c *ctl) printWhoami(w updateapi.Whoami, now time.Time) error {
	if done, err := c.asJSON(w); done {
		return err
	}
	t := newTable(c.out)
	t.field("Client", w.Client)
	if w.Remote != w.Client {
		t.field("Through", w.Remote)
	}
	if w.Admin {
		t.field("Token", "this node's admin token")
	}
	if tok := w.Token; tok != nil {
		t.field("Token", tok.ID)
		t.field("Note", tok.Note)
		t.field("Names", strings.Join(tok.Names, ", "))
		t.field("Types", cmp.Or(strings.Join(tok.Types, ", "), "A, AAAA"))
		if tok.Quota > 0 {
			t.field("Quota", humanize.Comma(int64(tok.Quota)))
		}
		t.field("Sources", cmp.Or(joinPrefixes(tok.Sources), "any"))
		t.field("Expires", cmp.Or(whenAndAge(tok.Expires, now), "never"))
	}
	t.Flush()
	if len(w.Hosts) == 0 {
		return nil
	}
	fmt.Fprintln(c.out)
	t = newTable(c.out, "HOST", "STORED", "DNS ANSWERS", "SEEN")
	for _, h := range w.Hosts {
		stored, seen := "never updated", "-"
		if s := h.Stored; s != nil {
			stored = cmp.Or(strings.Join(nonEmpty(s.A, s.AAAA, flagWords(s.Offline, false)), " "), "no address")
			seen = cmp.Or(age(s.Seen, now), "-")
		}
		t.row(h.Name, stored, cmp.Or(strings.Join(h.DNS, " "), "no address"), seen)
	}
	return t.Flush()
}

func nonEmpty(texts ...string) []string {
	var some []string
	for _, t := range texts {
		if t != "" {
			some = append(some, t)
		}
	}
	return some
}

// flagWords names what is uncommon about a host.
func flagWords(offline, wildcard bool) string {
	var words []string
	if offline {
		words = append(words, "offline")
	}
	if wildcard {
		words = append(words, "wildcard")
	}
	return strings.Join(words, ",")
}
