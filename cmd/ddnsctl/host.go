package main

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/coredns-ddns/ddns/plugin/zone"
	"github.com/coredns-ddns/ddns/updateapi"
)

func (c *ctl) host() *cobra.Command {
	return group("host", "Look at hosts and change them",
		c.hostList(), c.hostShow(), c.hostSet(), c.hostDelete(), c.hostHistory())
}

func (c *ctl) hostList() *cobra.Command {
	var origin string
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the hosts; as JSON lines what import reads",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if origin != "" {
				name, err := zone.ParseName(origin)
				if err != nil {
					return err
				}
				origin = string(name)
			}
			return c.with(cmd.Context(), func(ctx context.Context, api *updateapi.Client) error {
				return c.listHosts(ctx, api, origin, time.Now())
			})
		},
	}
	cmd.Flags().StringVar(&origin, "zone", "", "only the hosts of the zone `ORIGIN`")
	return cmd
}

func (c *ctl) listHosts(ctx context.Context, api *updateapi.Client, origin string, now time.Time) error {
	t := newTable(c.out)
	for h, err := range api.AllHosts(ctx, origin) {
		if err != nil {
			t.Flush()
			return err
		}
		if done, err := c.asJSON(h); err != nil {
			return err
		} else if done {
			continue
		}
		if t.rows == 0 {
			t.row("NAME", "A", "AAAA", "TTL", "FLAGS", "SEEN")
		}
		if err := t.row(h.Name, cmp.Or(h.A, "-"), cmp.Or(h.AAAA, "-"), cmp.Or(seconds(h.TTL), "-"),
			cmp.Or(flagWords(h.Offline, h.Wildcard), "-"), cmp.Or(age(h.Seen, now), "-")); err != nil {
			return err
		}
	}
	return t.Flush()
}

// seconds is a TTL, "" for the zone's.
func seconds(ttl uint32) string {
	if ttl == 0 {
		return ""
	}
	return strconv.FormatUint(uint64(ttl), 10)
}

func (c *ctl) hostShow() *cobra.Command {
	return &cobra.Command{
		Use:   "show NAME",
		Short: "Show a host",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.with(cmd.Context(), func(ctx context.Context, api *updateapi.Client) error {
				h, err := api.Host(ctx, args[0])
				if err != nil {
					return err
				}
				return c.printHost(h, time.Now())
			})
		},
	}
}

func (c *ctl) printHost(h updateapi.Host, now time.Time) error {
	if done, err := c.asJSON(h); done {
		return err
	}
	t := newTable(c.out)
	t.field("Name", h.Name)
	t.field("Zone", h.Zone)
	t.field("A", cmp.Or(h.A, "-"))
	t.field("AAAA", cmp.Or(h.AAAA, "-"))
	t.field("TTL", cmp.Or(seconds(h.TTL), "the zone's"))
	t.field("Flags", flagWords(h.Offline, h.Wildcard))
	t.field("Note", h.Note)
	t.field("Seen", whenAndAge(h.Seen, now))
	t.field("Revision", strconv.FormatUint(h.Revision, 10))
	return t.Flush()
}

// edit is what host set changes, nil where it leaves a value alone.
type edit struct {
	a, aaaa, note     *string
	ttl               *uint32
	offline, wildcard *bool
}

// apply is the whole of the host that is to be put in h's place.
func (e edit) apply(h updateapi.Host) updateapi.HostPut {
	return updateapi.HostPut{
		A: changed(e.a, h.A), AAAA: changed(e.aaaa, h.AAAA), TTL: changed(e.ttl, h.TTL),
		Offline: changed(e.offline, h.Offline), Wildcard: changed(e.wildcard, h.Wildcard),
		Note: changed(e.note, h.Note),
	}
}

func changed[T any](to *T, from T) T {
	if to == nil {
		return from
	}
	return *to
}

// hostFlags are the flags of host set as they were parsed.
type hostFlags struct {
	a, aaaa, note     string
	noA, noAAAA       bool
	ttl               uint32
	offline, wildcard bool
}

func (c *ctl) hostSet() *cobra.Command {
	var f hostFlags
	cmd := &cobra.Command{
		Use:   "set NAME",
		Short: "Make a host, or change what is given of it",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			e, err := f.edit(cmd.Flags().Changed)
			if err != nil {
				return err
			}
			return c.with(cmd.Context(), func(ctx context.Context, api *updateapi.Client) error {
				return c.setHost(ctx, api, args[0], e)
			})
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.a, "a", "", "IPv4 `ADDRESS`")
	flags.StringVar(&f.aaaa, "aaaa", "", "IPv6 `ADDRESS`")
	flags.BoolVar(&f.noA, "no-a", false, "remove the IPv4 address")
	flags.BoolVar(&f.noAAAA, "no-aaaa", false, "remove the IPv6 address")
	flags.Uint32Var(&f.ttl, "ttl", 0, "TTL in `SECONDS`; 0: the zone's")
	flags.BoolVar(&f.offline, "offline", false, "answer no address; --offline=false answers them again")
	flags.BoolVar(&f.wildcard, "wildcard", false, "answer for all names below as well; --wildcard=false does not")
	flags.StringVar(&f.note, "note", "", "`TEXT` to know it by")
	cmd.MarkFlagsMutuallyExclusive("a", "no-a")
	cmd.MarkFlagsMutuallyExclusive("aaaa", "no-aaaa")
	return cmd
}

// edit is what the flags that were given ask for.
func (f *hostFlags) edit(given func(flag string) bool) (edit, error) {
	if given("a") && !isIPv4(f.a) {
		return edit{}, usage("--a %q: want an IPv4 address; --no-a removes it", f.a)
	}
	if given("aaaa") && !isIPv6(f.aaaa) {
		return edit{}, usage("--aaaa %q: want an IPv6 address; --no-aaaa removes it", f.aaaa)
	}
	e := edit{
		a: ifSet(given("a") || f.noA, &f.a), aaaa: ifSet(given("aaaa") || f.noAAAA, &f.aaaa),
		ttl: ifSet(given("ttl"), &f.ttl), note: ifSet(given("note"), &f.note),
		offline: ifSet(given("offline"), &f.offline), wildcard: ifSet(given("wildcard"), &f.wildcard),
	}
	if e == (edit{}) {
		return e, usage("nothing to set: want --a, --aaaa, --no-a, --no-aaaa, --ttl, --offline, --wildcard or --note")
	}
	return e, nil
}

// ifSet is value if it was given.
func ifSet[T any](given bool, value *T) *T {
	if !given {
		return nil
	}
	return value
}

// setTries is how often host set starts anew when the host changes meanwhile.
const setTries = 5

func (c *ctl) setHost(ctx context.Context, api *updateapi.Client, name string, e edit) error {
	for try := 1; ; try++ {
		was, err := api.Host(ctx, name)
		if err != nil && !isProblem(err, http.StatusNotFound) {
			return err
		}
		is, created, err := api.PutHost(ctx, name, e.apply(was), was.Revision)
		if isProblem(err, http.StatusPreconditionFailed) && try < setTries {
			continue
		}
		if err != nil {
			return err
		}
		if created {
			c.note("Made %s", is.Name)
		}
		return c.printHost(is, time.Now())
	}
}

func isProblem(err error, status int) bool {
	problem, said := errors.AsType[*updateapi.Problem](err)
	return said && problem.Status == status
}

func (c *ctl) hostDelete() *cobra.Command {
	return &cobra.Command{
		Use:   "delete NAME",
		Short: "Delete a host and its history",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.with(cmd.Context(), func(ctx context.Context, api *updateapi.Client) error {
				if err := api.DeleteHost(ctx, args[0], updateapi.AnyRevision); err != nil {
					return err
				}
				c.note("Deleted.")
				return nil
			})
		},
	}
}

func (c *ctl) hostHistory() *cobra.Command {
	return &cobra.Command{
		Use:   "history NAME",
		Short: "Show the last states of a host: when, by which token, from where",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.with(cmd.Context(), func(ctx context.Context, api *updateapi.Client) error {
				history, err := api.HostHistory(ctx, args[0])
				if err != nil {
					return err
				}
				return c.printHistory(history)
			})
		},
	}
}

func (c *ctl) printHistory(history updateapi.History) error {
	if done, err := c.asJSON(history); done {
		return err
	}
	t := newTable(c.out, "SINCE", "A", "AAAA", "TTL", "FLAGS", "TOKEN", "CLIENT")
	for _, p := range history.States {
		t.row(when(p.Time), cmp.Or(p.A, "-"), cmp.Or(p.AAAA, "-"), cmp.Or(seconds(p.TTL), "-"),
			cmp.Or(flagWords(p.Offline, p.Wildcard), "-"), p.Token, cmp.Or(p.Client, "-"))
	}
	return t.Flush()
}
