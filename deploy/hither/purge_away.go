package main

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"hither/deploy"
	"hither/deploy/fleet"
	"hither/deploy/fleet/bus"
	"hither/deploy/fleet/control"
	"hither/edge/node"
)

// networkIn is the network whose nodes' sockets are below dir: by the file of `hither up` or, where that cannot be read, by the first that a
// node has in use. The error is that none can be read.
func networkIn(dir string) (*deploy.Network, error) {
	network, err := deploy.Load(filepath.Join(dir, "network.yaml"))
	if err == nil {
		return network, nil
	}
	list, err := folders(dir)
	if err != nil {
		return nil, err
	}
	for _, folder := range list {
		var rev *fleet.Revision
		if rev, err = fleet.RevisionsIn(folder).Current(); err == nil {
			return rev.Network, nil
		}
	}
	return nil, err
}

// withElsewhere adds to what became of a purge at the nodes in dir the PoPs whose nodes are not there: nobody told them. A PoP has nothing of
// a site that it does not serve. Where the network is not known, nil, nobody can say that all have done it.
func withElsewhere(done node.Purge, network *deploy.Network, dir string) node.Purge {
	if network == nil {
		done.Complete = false
		return done
	}
	order := bus.Order{Kind: done.Kind, Value: done.Value, Soft: done.Soft}
	pops := done.PoPs
	for i := range network.PoPs {
		name := network.PoPs[i].Name
		if !slices.ContainsFunc(done.PoPs, func(p node.PoPPurge) bool { return p.PoP == name }) && control.Serves(network, name, order) {
			pops = append(pops, node.PoPPurge{PoP: name, State: control.Away, Error: fmt.Sprintf("its node runs elsewhere: it has no socket in %s, and was not told", dir)})
		}
	}
	slices.SortFunc(pops, func(a, b node.PoPPurge) int { return strings.Compare(a.PoP, b.PoP) })
	return node.Join(done.PurgeCall, pops)
}
