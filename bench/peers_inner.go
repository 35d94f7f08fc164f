package main

import (
	"fmt"
	"net"

	"github.com/spf13/cobra"

	"hither/bench/peers"
	"hither/bench/upstream"
)

// holdCommand is the parent of a server that is measured: see [peers.Hold].
func holdCommand() *cobra.Command {
	return &cobra.Command{
		Use: peers.HoldCommand, Hidden: true, DisableFlagParsing: true,
		RunE: func(_ *cobra.Command, args []string) error {
			status, err := peers.Hold(args)
			if err != nil {
				return err
			}
			return exitError(status)
		},
	}
}

// upstreamCommand is the origin of servers that are measured, at an address.
func upstreamCommand() *cobra.Command {
	return &cobra.Command{
		Use: peers.UpstreamCommand + " ADDRESS", Hidden: true, Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			l, err := net.Listen("tcp", args[0])
			if err != nil {
				return fmt.Errorf("upstream: %w", err)
			}
			return upstream.Serve(c.Context(), l, upstream.NewHandler(upstream.NewObjects()))
		},
	}
}
