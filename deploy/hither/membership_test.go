package main

import (
	"hither/dns/server"
	"hither/edge/node"
)

// What a role has for the member is found by its methods, so another name for one would be missed by nobody.
var (
	_ purger   = (*node.Node)(nil)
	_ reporter = (*node.Node)(nil)
	_ measurer = (*node.Node)(nil)
	_ reporter = (*server.Server)(nil)
	_ listener = (*server.Server)(nil)
	_ drainer  = (*server.Server)(nil)
)
