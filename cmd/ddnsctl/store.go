package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/coredns-ddns/ddns/updateapi"
)

// errFindings ends a check that found something.
var errFindings = errors.New("the store is not as it should be")

func (c *ctl) store() *cobra.Command {
	return group("store", "Look after a store that nodes share",
		c.storeInit(), c.storeForget(), c.storeCheck())
}

func (c *ctl) storeInit() *cobra.Command {
	return &cobra.Command{
		Use:   "init [ZONE...]",
		Short: "Make zones, and the tokens, in Redis where they are not there",
		Long: `Make zones, and the tokens, in Redis where they are not there: all zones of the
server unless some are named. Nodes that know a zone full do not take an empty one
in its place; see "ddnsctl store forget".`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.with(cmd.Context(), func(ctx context.Context, api *updateapi.Client) error {
				made, err := api.InitStore(ctx, args...)
				if err != nil {
					return err
				}
				if len(made) == 0 {
					c.note("All of it is there already.")
					return nil
				}
				c.note("Made %s.", strings.Join(made, ", "))
				return nil
			})
		},
	}
}

func (c *ctl) storeForget() *cobra.Command {
	return &cobra.Command{
		Use:   "forget ZONE|tokens",
		Short: "Accept that what Redis has lost is lost",
		Long: `Accept that what Redis has lost of a zone, or of the tokens, is lost. What Redis has
now, if anything, is from then on all there is, and every node takes it: hosts that
are only in the nodes' memory are answered no more.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.with(cmd.Context(), func(ctx context.Context, api *updateapi.Client) error {
				forgotten, err := api.ForgetStore(ctx, args[0])
				if err == nil && !forgotten {
					c.note("Nothing of %s is lost.", args[0])
				}
				return err
			})
		},
	}
}

func (c *ctl) storeCheck() *cobra.Command {
	return &cobra.Command{
		Use:   "check ZONE|tokens",
		Short: "Say what in Redis is not as it should be; exit code 1 when something is not",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.with(cmd.Context(), func(ctx context.Context, api *updateapi.Client) error {
				found, err := api.CheckStore(ctx, args[0])
				if err != nil {
					return err
				}
				for _, f := range found {
					fmt.Fprintln(c.out, f)
				}
				if len(found) > 0 {
					return errFindings
				}
				return nil
			})
		},
	}
}
