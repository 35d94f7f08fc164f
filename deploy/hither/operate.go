package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"hither/deploy/ops"
)

// askTime bounds a call to a node's socket.
const askTime = 5 * time.Second

// folders returns the state folders of the nodes that dir stands for: those of a
// running `hither up`, or dir itself for a node alone.
func folders(dir string) ([]string, error) {
	s, err := readUp(dir)
	switch {
	case err == nil:
		var out []string
		for _, n := range s.Nodes {
			out = append(out, filepath.Dir(n.Socket))
		}
		return out, nil
	case !errors.Is(err, os.ErrNotExist):
		return nil, usage("--state %s: %v", dir, err)
	}
	if _, err := os.Stat(filepath.Join(dir, ops.SocketName)); err == nil {
		return []string{dir}, nil
	}
	if _, err := os.Stat(dir); err != nil {
		return nil, usage("--state: %v", err)
	}
	return nil, wrong(fmt.Errorf("no network runs in %s (it has neither up.json nor %s); start it with `hither up --state %s`", dir, ops.SocketName, dir))
}

// collect joins what the nodes of dir say of themselves. A node that does not answer
// stands there as down.
func collect(ctx context.Context, dir string) (ops.Status, error) {
	all := ops.Status{Nodes: []ops.NodeStatus{}}
	list, err := folders(dir)
	if err != nil {
		return all, err
	}
	for _, folder := range list {
		var one ops.Status
		ctx, cancel := context.WithTimeout(ctx, askTime)
		err := ops.Dial(folder).Get(ctx, "/v1/status", &one)
		cancel()
		if err != nil {
			node := filepath.Base(folder)
			role, name, _ := strings.Cut(node, "-")
			down := ops.NodeStatus{Node: node, Role: role, State: ops.Down, Problems: []string{err.Error()}}
			if role == "edge" {
				down.PoP = name
			}
			all.Nodes = append(all.Nodes, down)
			continue
		}
		all.Network, all.Hub = one.Network, one.Hub
		all.Revision = max(all.Revision, one.Revision)
		all.Nodes = append(all.Nodes, one.Nodes...)
	}
	return all, nil
}

func stateFlag(c *cobra.Command, state *string) {
	c.Flags().StringVar(state, "state", ".hither", "state folder `DIR` of hither up, or of one node")
}

func readyCommand() *cobra.Command {
	var state string
	c := &cobra.Command{
		Use:   "ready",
		Short: "Exit with 0 when every node is ready, else with 1",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			s, err := collect(c.Context(), state)
			if exit := (*exitError)(nil); errors.As(err, &exit) && exit.status == exitUsage {
				return err
			} else if err != nil {
				return wrong(err)
			}
			var not []string
			for _, n := range s.Nodes {
				if n.State != ops.Ready {
					not = append(not, fmt.Sprintf("%s is %s", n.Node, n.State))
				}
			}
			if len(not) > 0 {
				return wrong(errors.New(strings.Join(not, ", ")))
			}
			return nil
		},
	}
	stateFlag(c, &state)
	return c
}

// printStatus writes the status for people: one line a node, then what is wrong.
func printStatus(w io.Writer, s ops.Status) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "NODE\tSTATE\tPID\tREVISION\tLOAD\tREQUESTS\tHITS\tSENT\tCONNECTIONS\tFIRST BYTE p50/p99\tORIGINS")
	for _, n := range s.Nodes {
		if n.State == ops.Down || n.State == ops.Unknown {
			fmt.Fprintf(t, "%s\t%s\t-\t-\t-\t-\t-\t-\t-\t-\t-\n", n.Node, n.State)
			continue
		}
		hits, load := "-", "-"
		if n.Role == "edge" {
			hits, load = strconv.FormatInt(n.HitsTotal, 10), fmt.Sprintf("%.0f %%", 100*n.Load)
		}
		first := "-"
		if q := n.FirstByte; q != nil {
			first = fmt.Sprintf("%.2f / %.2f ms", q.P50, q.P99)
		}
		fmt.Fprintf(t, "%s\t%s\t%d\t%d\t%s\t%d\t%s\t%s\t%s\t%s\t%s\n", n.Node, n.State, n.PID, n.Revision, load, n.RequestsTotal, hits,
			size(n.BytesTotal), connectionWords(n.Connections), first, originWords(n.Origins))
	}
	t.Flush()
	for _, n := range s.Nodes {
		for _, p := range n.Problems {
			fmt.Fprintf(w, "%s: %s\n", n.Node, p)
		}
	}
}

func connectionWords(c map[string]int64) string {
	var words []string
	for proto, n := range c {
		if n > 0 {
			words = append(words, fmt.Sprintf("%s %d", proto, n))
		}
	}
	if len(words) == 0 {
		return "none"
	}
	slices.Sort(words)
	return strings.Join(words, ", ")
}

func originWords(origins []ops.OriginStatus) string {
	var words []string
	for _, o := range origins {
		state := "down"
		if o.Up {
			state = fmt.Sprintf("up (%d)", o.Connections)
		}
		words = append(words, o.Origin+" "+state)
	}
	if len(words) == 0 {
		return "-"
	}
	return strings.Join(words, ", ")
}

// size writes bytes with a binary unit.
func size(n int64) string {
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	v, i := float64(n), -1
	for v >= 1024 && i < 4 {
		v /= 1024
		i++
	}
	return fmt.Sprintf("%.1f %ciB", v, "KMGTP"[i])
}

func drainCommand() *cobra.Command {
	var state, output string
	c := &cobra.Command{
		Use:   "drain [NODE]",
		Short: "Let a node finish its requests and end",
		Long: "Let a node finish its requests and end, as SIGTERM does. NODE is a name such as edge-fra of the network in --state;\n" +
			"without it --state is the node's own folder.",
		Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			list, err := folders(state)
			if err != nil {
				return err
			}
			if len(args) == 1 {
				i := slices.IndexFunc(list, func(f string) bool { return filepath.Base(f) == args[0] })
				if i < 0 {
					return usage("no node %s in %s; it has %s", args[0], state, strings.Join(bases(list), ", "))
				}
				list = list[i : i+1]
			}
			if len(list) != 1 {
				return usage("which node? one of %s", strings.Join(bases(list), ", "))
			}
			ctx, cancel := context.WithTimeout(c.Context(), askTime)
			defer cancel()
			var s ops.Status
			if err := ops.Dial(list[0]).Post(ctx, "/v1/drain", nil, &s); err != nil {
				return wrong(err)
			}
			if output == "json" {
				return printDocument(c.OutOrStdout(), "status", s)
			}
			fmt.Fprintf(c.OutOrStdout(), "%s drains; its process ends when its requests have\n", filepath.Base(list[0]))
			return nil
		},
	}
	c.AddCommand(drainPopCommand())
	stateFlag(c, &state)
	outputFlag(c, &output)
	return c
}

func bases(paths []string) []string {
	var out []string
	for _, p := range paths {
		out = append(out, filepath.Base(p))
	}
	return out
}

// printDocument writes a document with its schema, indented.
func printDocument(w io.Writer, name string, v any) error {
	data, err := ops.MarshalDocument(name, v)
	if err != nil {
		return err
	}
	return printJSON(w, json.RawMessage(data))
}
