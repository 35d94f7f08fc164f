package lab

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Where `ip netns` looks for namespaces by name, and for files that stand in for those of /etc inside one (ip-netns(8)).
const (
	netnsDir    = "/run/netns"
	netnsEtcDir = "/etc/netns"
)

// Name gives the namespaces names for `ip netns exec`: PREFIX-client, and so on. Programs at the client ask the lab's DNS
// server by themselves then. It needs the root of the machine.
//
// A name is a symbolic link to the namespace as this process holds it open, not the mount that `ip netns add` makes: a
// mount would keep the namespace when the process is killed, the link leads nowhere then. Links that lead nowhere are
// removed by the next Name with the prefix, or by [Unname].
func (l *Lab) Name(prefix string) error {
	if err := Unname(prefix); err != nil {
		return err
	}
	if err := l.name(prefix); err != nil {
		return fmt.Errorf("lab: name the namespaces: %w", errors.Join(err, l.unname()))
	}
	return nil
}

func (l *Lab) name(prefix string) error {
	if err := os.MkdirAll(netnsDir, 0o755); err != nil {
		return err
	}
	for p := range Place(places) {
		if !l.has(p) {
			continue
		}
		link := filepath.Join(netnsDir, prefix+"-"+p.String())
		if err := os.Symlink(l.nodes[p].Namespace(), link); err != nil {
			return err
		}
		l.names = append(l.names, link)
	}
	etc := filepath.Join(netnsEtcDir, prefix+"-"+Client.String())
	l.names = append(l.names, etc)
	if err := os.MkdirAll(etc, 0o755); err != nil {
		return err
	}
	text := fmt.Sprintf("# of the lab that process %d runs\nnameserver %v\noptions timeout:2\n", os.Getpid(), DNS.Addr())
	return os.WriteFile(filepath.Join(etc, "resolv.conf"), []byte(text), 0o644)
}

// unname removes what name made.
func (l *Lab) unname() error {
	var all []error
	for _, name := range l.names {
		all = append(all, os.RemoveAll(name))
	}
	if l.names != nil {
		removeEmpty()
	}
	l.names = nil
	return errors.Join(all...)
}

// removeEmpty removes the folders of names, which are there only while there are any.
func removeEmpty() {
	os.Remove(netnsEtcDir) // fails where somebody else has names
	os.Remove(netnsDir)
}

// Unname removes the names that a lab which was killed has left. It is an error if it still runs.
func Unname(prefix string) error {
	found := false
	for p := range Place(places) {
		link := filepath.Join(netnsDir, prefix+"-"+p.String())
		target, err := os.Readlink(link)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil || !strings.HasPrefix(target, "/proc/") {
			return fmt.Errorf("lab: %s was not made by a lab; remove it (ip netns delete %s), or take another name", link, filepath.Base(link))
		}
		// The link's text is a process and one of its files. Another process with that number has another file there.
		if to, err := os.Readlink(target); err == nil && strings.HasPrefix(to, "net:[") {
			return fmt.Errorf("lab: %s is a lab that runs already, held by process %s; end that first (kill %[2]s), or take another name", filepath.Base(link), strings.Split(target, "/")[2])
		}
		if err := os.Remove(link); err != nil {
			return fmt.Errorf("lab: remove what a lab has left: %w", err)
		}
		found = true
	}
	etc := filepath.Join(netnsEtcDir, prefix+"-"+Client.String())
	if _, err := os.Stat(etc); err == nil {
		found = true
	}
	if !found {
		return nil
	}
	if err := os.RemoveAll(etc); err != nil {
		return fmt.Errorf("lab: remove what a lab has left: %w", err)
	}
	removeEmpty()
	return nil
}

// Namespace is the path of the place's namespace, for setns(2), `nsenter --net=` and the like. It is good while the lab
// runs.
func (n *Node) Namespace() string { return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), n.n.fd) }
