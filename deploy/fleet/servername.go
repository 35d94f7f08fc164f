package fleet

// ServerName is the DNS name in the node's certificate. It is the user by whose name a NATS server elsewhere knows the node.
func (p Peer) ServerName() string { return p.serverName() }
