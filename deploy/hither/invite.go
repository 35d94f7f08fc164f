package main

import (
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"hither/deploy"
)

// invite prints how to try a network that runs on this machine.
func invite(w io.Writer, dir string, n *deploy.Network) {
	fmt.Fprintf(w, "hither: network %s in %s\n\n", n.Name, dir)
	for i := range n.PoPs {
		p := &n.PoPs[i]
		fmt.Fprintf(w, "  edge   %-8s %-20s %s\n", p.Name, p.Place.City, strings.Join(nodesOf(dir, n)[len(n.Origins)+i].Addresses, " "))
	}
	for i := range n.Origins {
		o := &n.Origins[i]
		city := ""
		if o.Place != nil {
			city = o.Place.City
		}
		fmt.Fprintf(w, "  origin %-8s %-20s %s\n", o.Name, city, nodesOf(dir, n)[i].Addresses[0])
	}
	if len(n.PoPs) == 0 || len(n.Sites) == 0 {
		return
	}
	pop, host := &n.PoPs[0], strings.Replace(n.Sites[0].Hosts[0], "*", "www", 1)
	port := n.EdgeOf(pop.Name).Listen.HTTPS
	fmt.Fprintf(w, "\nTry:\n")
	fmt.Fprintf(w, "  curl --cacert %s --resolve %s:%d:%s -i https://%s:%d/\n", filepath.Join(dir, "ca.pem"), host, port, pop.Addresses[0], host, port)
	fmt.Fprintf(w, "  hither status --state %s\n", dir)
	fmt.Fprintf(w, "  hither check %s          (edit it, check it, then send SIGHUP to this process)\n", filepath.Join(dir, "network.yaml"))
	fmt.Fprintf(w, "  tail -f %s\n\n", filepath.Join(dir, "nodes", "edge-"+pop.Name, "access.log"))
}
