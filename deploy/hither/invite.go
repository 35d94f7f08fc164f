package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"hither/deploy"
	"hither/deploy/fleet"
)

// invite prints how to try a network that runs on this machine.
func invite(w io.Writer, dir string, n *deploy.Network) {
	fmt.Fprintf(w, "hither: network %s in %s\n\n", n.Name, dir)
	for _, node := range nodesOf(dir, n) {
		city := ""
		switch node.Role {
		case fleet.RoleEdge:
			city = n.PoP(node.Name).Place.City
		case fleet.RoleOrigin:
			if place := n.OriginNode(node.Name).Place; place != nil {
				city = place.City
			}
		}
		fmt.Fprintf(w, "  %-6s %-8s %-20s %s\n", node.Role, node.Name, city, strings.Join(node.Addresses, " "))
	}
	if len(n.PoPs) == 0 || len(n.Sites) == 0 {
		return
	}
	pop, host := &n.PoPs[0], strings.Replace(n.Sites[0].Hosts[0], "*", "www", 1)
	port := n.EdgeOf(pop.Name).Listen.HTTPS
	fmt.Fprintf(w, "\nTry:\n")
	fmt.Fprintf(w, "  curl --cacert %s --resolve %s:%d:%s -i https://%s:%d/\n", filepath.Join(dir, "ca.pem"), host, port, pop.Addresses[0], host, port)
	steered(w, dir, n)
	fmt.Fprintf(w, "  %s status --state %s\n", os.Args[0], dir)
	fmt.Fprintf(w, "  tail -f %s\n", filepath.Join(dir, "nodes", "edge-"+pop.Name, "access.log"))
	fmt.Fprintf(w, "In a browser: let it trust %s, put `%s %s` into /etc/hosts, open https://%s:%d/\n",
		filepath.Join(dir, "ca.pem"), pop.Addresses[0], host, host, port)
	file := filepath.Join(dir, "network.yaml")
	fmt.Fprintf(w, "Change it: edit %s, then %s check %s && kill -HUP %d\n\n", file, os.Args[0], file, os.Getpid())
}

// clients are networks on three continents: of RIPE NCC in Amsterdam, of ARIN in Virginia, of a provider in Singapore.
var clients = []string{"193.0.6.0/24", "199.43.0.0/24", "165.21.83.0/24"}

// steered prints how to see that clients on three continents get different PoPs.
func steered(w io.Writer, dir string, n *deploy.Network) {
	for _, z := range n.Zones {
		if len(z.Steered) == 0 || len(n.DNS.Servers) == 0 {
			continue
		}
		name, err := deploy.Absolute(z.Steered[0].Name, z.Name)
		if err != nil {
			return
		}
		name = strings.Replace(name, "*", "www", 1)
		s := n.DNS.Servers[0]
		for _, client := range clients {
			fmt.Fprintf(w, "  dig @%s -p %d +short %s +subnet=%s\n", s.Addresses[0], s.Port, name, client)
		}
		fmt.Fprintf(w, "  %s explain dns %s --client %s --state %s\n", os.Args[0], name, clients[2], dir)
		fmt.Fprintf(w, "  %s explain map --state %s -o svg > map.svg\n", os.Args[0], dir)
		return
	}
}
