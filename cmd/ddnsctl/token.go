package main

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/coredns-ddns/ddns/updateapi"
)

func (c *ctl) token() *cobra.Command {
	return group("token", "Make and end the tokens that devices update with",
		c.tokenCreate(), c.tokenList(), c.tokenRevoke(), c.tokenRotate())
}

func (c *ctl) tokenCreate() *cobra.Command {
	var create updateapi.TokenCreate
	var sources []string
	var expires string
	cmd := &cobra.Command{
		Use:   "create NAME...",
		Short: "Make a token for hosts and print it, this once",
		Long: `Make a token that may update the hosts NAME, or all below NAME for *.NAME, and
print it. It is shown this once; the server keeps only a hash of it. Standard
output is the token alone:

  TOKEN=$(ddnsctl token create home.dyn.example.org)`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, names []string) (err error) {
			create.Names = names
			if create.Sources, err = parseSources(sources); err != nil {
				return err
			}
			if create.Expires, err = parseExpiry(expires, time.Now()); err != nil {
				return err
			}
			return c.with(cmd.Context(), func(ctx context.Context, api *updateapi.Client) error {
				made, err := api.CreateToken(ctx, create)
				if err != nil {
					return err
				}
				return c.printSecret(made, "for "+strings.Join(made.Names, ", "))
			})
		},
	}
	flags := cmd.Flags()
	flags.StringSliceVar(&create.Types, "type", nil, "`TYPES` it may set: A, AAAA (default both)")
	flags.IntVar(&create.Quota, "quota", 0, "how many hosts may exist under its names (default any number)")
	flags.StringSliceVar(&sources, "source", nil, "`PREFIX` or address of clients it may be used from (default any)")
	flags.StringVar(&expires, "expires", "", "`WHEN` it ends: 2027-01-31 (as that day begins here), 2027-01-31T12:00:00Z, or from now 90d, 12h")
	flags.StringVar(&create.Note, "note", "", "`TEXT` to know it by")
	return cmd
}

func parseSources(texts []string) ([]netip.Prefix, error) {
	var sources []netip.Prefix
	for _, text := range texts {
		prefix, err := netip.ParsePrefix(text)
		if addr, bad := netip.ParseAddr(text); bad == nil {
			prefix, err = addr.Prefix(addr.BitLen())
		}
		if err != nil {
			return nil, usage("--source %q: want an address or a prefix such as 192.0.2.0/24", text)
		}
		sources = append(sources, prefix)
	}
	return sources, nil
}

// parseExpiry reads a date, a time or a duration from now on.
func parseExpiry(text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	expires, err := time.ParseInLocation(time.DateOnly, text, time.Local)
	if err != nil {
		expires, err = time.Parse(time.RFC3339, text)
	}
	if days, isDays := strings.CutSuffix(text, "d"); err != nil && isDays {
		if n, bad := strconv.ParseUint(days, 10, 16); bad == nil {
			expires, err = now.AddDate(0, 0, int(n)), nil
		}
	}
	if err != nil {
		var in time.Duration
		in, err = time.ParseDuration(text)
		expires = now.Add(in)
	}
	switch {
	case err != nil:
		return time.Time{}, usage("--expires %q: want a date such as 2027-01-31, a time such as 2027-01-31T12:00:00Z, or a duration such as 90d or 12h", text)
	case !expires.After(now):
		return time.Time{}, usage("--expires %q: want a time to come", text)
	}
	return expires.UTC().Truncate(time.Second), nil
}

// printSecret prints a token's text to standard output and says on the other
// what it is.
func (c *ctl) printSecret(made updateapi.TokenSecret, what string) error {
	if done, err := c.asJSON(made); done {
		return err
	}
	c.note("Token %s %s; it is shown this once:", made.ID, what)
	_, err := fmt.Fprintln(c.out, made.Secret)
	return err
}

func (c *ctl) tokenList() *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List the tokens, without their secrets",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.with(cmd.Context(), c.listTokens)
		},
	}
}

func (c *ctl) listTokens(ctx context.Context, api *updateapi.Client) error {
	var t *table
	for tok, err := range api.AllTokens(ctx) {
		if err != nil {
			return err
		}
		if done, err := c.asJSON(tok); err != nil {
			return err
		} else if done {
			continue
		}
		if t == nil {
			t = newTable(c.out, "ID", "NAMES", "TYPES", "QUOTA", "SOURCES", "CREATED", "EXPIRES", "NOTE")
		}
		if err := t.row(tokenRow(tok)...); err != nil {
			return err
		}
	}
	if t == nil {
		return nil
	}
	return t.Flush()
}

func tokenRow(tok updateapi.Token) []string {
	quota := ""
	if tok.Quota > 0 {
		quota = strconv.Itoa(tok.Quota)
	}
	return []string{
		tok.ID, strings.Join(tok.Names, ","), cmp.Or(strings.Join(tok.Types, ","), "A,AAAA"), cmp.Or(quota, "-"),
		cmp.Or(joinPrefixes(tok.Sources), "any"), when(tok.Created), cmp.Or(when(tok.Expires), "never"), cmp.Or(tok.Note, "-"),
	}
}

func joinPrefixes(prefixes []netip.Prefix) string {
	var texts []string
	for _, p := range prefixes {
		texts = append(texts, p.String())
	}
	return strings.Join(texts, ",")
}

func (c *ctl) tokenRevoke() *cobra.Command {
	return &cobra.Command{
		Use:   "revoke ID",
		Short: "End a token at once",
		Long: `End a token at once. ID is what token list shows; it is also the six characters
after ddns_ of a token that was found where it should not be.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.with(cmd.Context(), func(ctx context.Context, api *updateapi.Client) error {
				if err := api.RevokeToken(ctx, args[0]); err != nil {
					return err
				}
				c.note("Revoked.")
				return nil
			})
		},
	}
}

func (c *ctl) tokenRotate() *cobra.Command {
	var overlap time.Duration
	cmd := &cobra.Command{
		Use:   "rotate ID",
		Short: "Give a token a new secret and print it, this once",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if overlap < 0 {
				return usage("--overlap %s: want none or a duration such as 24h", overlap)
			}
			return c.with(cmd.Context(), func(ctx context.Context, api *updateapi.Client) error {
				made, err := api.RotateToken(ctx, args[0], overlap)
				if err != nil {
					return err
				}
				what := "rotated, the old secret has ended"
				if !made.PreviousUntil.IsZero() {
					what = "rotated, the old secret works until " + when(made.PreviousUntil)
				}
				return c.printSecret(made, what)
			})
		},
	}
	cmd.Flags().DurationVar(&overlap, "overlap", 0, "`DURATION` for which the old secret goes on working")
	return cmd
}
