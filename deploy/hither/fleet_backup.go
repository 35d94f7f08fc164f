package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"filippo.io/age"
	"github.com/spf13/cobra"

	"hither/deploy/fleet"
	"hither/deploy/fleet/control"
)

// backupTime bounds the making of a backup.
const backupTime = 10 * time.Minute

func backupCommand() *cobra.Command {
	var h hand
	var recipients []string
	var hubless bool
	c := &cobra.Command{
		Use:   "backup OUT.tar [--recipient AGE-RECIPIENT] [--without-hub]",
		Short: "Save the authority and what the hub has",
		Long: "Save DIR/authority, where it is at hand, and what the hub has: revisions, drains and other tables, tokens, and where the journal\n" +
			"stands. The file holds the authority's keys: it is readable by you alone, and sealed where --recipient is given.",
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return h.backup(c.Context(), c.OutOrStdout(), args[0], recipients, hubless)
		},
	}
	h.flags(c)
	c.Flags().StringArrayVar(&recipients, "recipient", nil, "seal it to this `AGE-RECIPIENT` (age1…); may be given more than once")
	c.Flags().BoolVar(&hubless, "without-hub", false, "the authority alone")
	return c
}

func (h *hand) backup(ctx context.Context, stdout io.Writer, out string, recipients []string, hubless bool) error {
	if _, err := os.Stat(out); err == nil {
		return usage("%s is there already; a backup overwrites none", out)
	}
	var to []age.Recipient
	for _, s := range recipients {
		r, err := age.ParseX25519Recipient(s)
		if err != nil {
			return usage("--recipient: %v", err)
		}
		to = append(to, r)
	}
	a, err := h.authority()
	if errors.Is(err, fs.ErrNotExist) {
		a = nil
	} else if err != nil {
		return err
	}
	if a == nil && hubless {
		return usage("there is no authority in %s, and so nothing to save without the hub", h.state)
	}
	ctx, cancel := context.WithTimeout(ctx, backupTime)
	defer cancel()
	var op *operator
	var network string
	if !hubless {
		if op, err = dialOperator(ctx, h.state, h.bundle); err != nil {
			return fmt.Errorf("%w; --without-hub saves the authority alone", err)
		}
		defer op.close()
		network = op.conn.Peer().Network
	}
	if a != nil {
		network = a.Network()
	}
	var m *fleet.Manifest
	err = writeNew(out, func(w io.Writer) error {
		sealed := io.WriteCloser(nil)
		if len(to) > 0 {
			if sealed, err = age.Encrypt(w, to...); err != nil {
				return err
			}
			w = sealed
		}
		b := fleet.NewArchive(w, network, time.Now())
		m = b.Manifest()
		if a != nil {
			if err := a.BackUp(b); err != nil {
				return err
			}
		}
		if op != nil {
			if err := (control.Reader{Conn: op.conn, Ask: op.ask}).BackUp(ctx, b, false); err != nil {
				return err
			}
		}
		err := b.Close()
		if sealed != nil {
			err = errors.Join(err, sealed.Close())
		}
		return err
	})
	if err != nil {
		return wrong(err)
	}
	if h.output == "json" {
		return printJSON(stdout, m)
	}
	fmt.Fprintf(stdout, "%s: network %s, %s, authority: %v, hub: %v, sealed: %v\n", out, m.Network, count(len(m.Files), "file"), a != nil, m.Hub, len(to) > 0)
	return nil
}

func restoreCommand() *cobra.Command {
	var h hand
	var key string
	var force bool
	c := &cobra.Command{
		Use:   "restore IN.tar [--state DIR] [--identity KEYFILE]",
		Short: "Bring back the authority and what the hub had, from a backup",
		Long: "Bring back DIR/authority where it is missing, and give what the hub had to the node that has it, whose control fills an empty\n" +
			"hub from it at its next start. DIR is the operator's folder, or the state folder of that node alone. Stop the node first.",
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return h.restore(c.OutOrStdout(), args[0], key, force)
		},
	}
	c.Flags().StringVar(&h.state, "state", ".hither", "folder `DIR` of the operator, or of the node that has the hub")
	c.Flags().StringVar(&key, "identity", "", "file with the age identity to which the backup was sealed")
	c.Flags().BoolVar(&force, "force", false, "put the authority of the backup in the place of another")
	return c
}

func (h *hand) restore(out io.Writer, in, key string, force bool) error {
	f, err := os.Open(in)
	if err != nil {
		return usage("%v", err)
	}
	defer f.Close()
	var r io.ReadSeeker = f
	if key != "" {
		open, tidy, err := unseal(f, key)
		if err != nil {
			return usage("%v", err)
		}
		defer tidy()
		r = open
	}
	b, err := fleet.OpenArchive(r)
	if err != nil {
		return wrong(fmt.Errorf("%s: %w; one that was sealed needs --identity", in, err))
	}
	if b.Move {
		return wrong(fmt.Errorf("%s is the copy of a hub that was moving to another gateway, and no backup: nobody knows what was written since", in))
	}
	// All that can be found wrong is, before anything is written.
	to, node, err := h.restoresTo(in, b)
	if err != nil {
		return err
	}
	path := filepath.Join(to, "hub", control.RestoreFile)
	if b.Hub {
		if err := control.CheckBackup(b); err != nil {
			return wrong(fmt.Errorf("%s: %w", in, err))
		}
		if _, err := os.Stat(path); err == nil && to != "" {
			return wrong(fmt.Errorf("%s waits already to be restored at the next start of that node; remove it for another", path))
		}
	}
	if !node {
		has, err := fleet.RestoreAuthority(b, filepath.Join(h.state, "authority"), force)
		if err != nil {
			return wrong(err)
		}
		if has {
			fmt.Fprintf(out, "authority: %s\n", filepath.Join(h.state, "authority"))
		}
	}
	if !b.Hub {
		return nil
	}
	if to == "" {
		return wrong(fmt.Errorf("%s has no network file that says which node has the hub; give that node's state folder as --state for the hub's part", h.state))
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return usage("%v", err)
	}
	if err := writeNew(path, func(w io.Writer) error { return onlyHub(w, b) }); err != nil {
		return wrong(err)
	}
	fmt.Fprintf(out, "hub: %s; the node's control fills an empty hub from it at its next start\n", path)
	return nil
}

// restoresTo finds the state folder of the node that gets the hub's part of a backup, "" where it is not known, and says whether the
// folder is that of this node alone. What is there of another network than the backup is an error.
func (h *hand) restoresTo(in string, b *fleet.Archive) (to string, node bool, err error) {
	other := func(what, network string) error {
		return wrong(fmt.Errorf("%s is of network %s, and %s of %s", in, b.Network, what, network))
	}
	if isFolder(filepath.Join(h.state, "identity")) {
		id, err := fleet.LoadIdentity(filepath.Join(h.state, "identity"))
		if err != nil {
			return "", true, usage("%v", err)
		}
		if id.Network != b.Network {
			return "", true, other("the node in "+h.state, id.Network)
		}
		return h.state, true, nil
	}
	if a, err := fleet.FindAuthority(filepath.Join(h.state, "authority")); err == nil && a.Network() != b.Network {
		return "", false, other("the authority in "+h.state, a.Network())
	}
	if id, err := fleet.LoadIdentity(filepath.Join(h.state, fleet.OperatorFolder)); err == nil && id.Network != b.Network {
		return "", false, other("the operator in "+h.state, id.Network)
	}
	network, _, err := h.file()
	switch {
	case err != nil || network == nil:
		return "", false, err
	case network.Name != b.Network:
		return "", false, other("the network file in "+h.state, network.Name)
	}
	return filepath.Join(h.state, "nodes", fleet.RoleOrigin+"-"+network.Hub.Control), false, nil
}

// onlyHub writes a backup again without the authority: no node needs its keys.
func onlyHub(w io.Writer, b *fleet.Archive) error {
	out := fleet.NewArchive(w, b.Network, b.At)
	*out.Manifest() = b.Manifest
	out.Manifest().Files = nil
	err := b.Each(func(name string, data []byte) error {
		if dir := filepath.Dir(name); dir != "hub" {
			return nil
		}
		return out.Add(name, data)
	})
	return errors.Join(err, out.Close())
}

// unseal opens a sealed backup into a file that is gone when it is closed: a backup is read twice.
func unseal(sealed io.Reader, key string) (open io.ReadSeeker, tidy func(), err error) {
	k, err := os.Open(key)
	if err != nil {
		return nil, nil, fmt.Errorf("--identity: %w", err)
	}
	defer k.Close()
	ids, err := age.ParseIdentities(k)
	if err != nil {
		return nil, nil, fmt.Errorf("--identity %s: %w", key, err)
	}
	r, err := age.Decrypt(sealed, ids...)
	if err != nil {
		return nil, nil, fmt.Errorf("open the backup: %w", err)
	}
	f, err := os.CreateTemp("", "hither-restore-") // mode 0600
	if err != nil {
		return nil, nil, err
	}
	tidy = func() { f.Close() }
	if err := os.Remove(f.Name()); err != nil {
		tidy()
		return nil, nil, err
	}
	if _, err := io.Copy(f, r); err != nil {
		tidy()
		return nil, nil, fmt.Errorf("open the backup: %w", err)
	}
	return f, tidy, nil
}
