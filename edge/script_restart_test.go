package edge_test

// restart ends the edge as a drain does, and starts another process' worth of it over the same folder, on the same ports. Its counters begin anew.
func (r *run) restart(*step) error {
	r.client.reconnect()
	if err := r.edge.end(); err != nil {
		return err
	}
	next, err := startEdgeIn(r.setup, r.auth, r.journal, r.edge.state, r.edge.ports)
	if err != nil {
		return err
	}
	*r.edge = *next
	r.client = newClient(r.proto, r.edge, r.auth, r.journal) // without tickets, whose keys were the other process's
	clear(r.counters)
	r.rejected, r.unsure = 0, true
	return nil
}
