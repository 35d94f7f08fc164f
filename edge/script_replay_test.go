package edge_test

import (
	"errors"
	"net"
	"time"
)

// replay is what an attacker does who has captured a request in 0-RTT data: the connection that it
// belonged to ends, and the very datagrams of its first flight come again from another socket.
func (r *run) replay(*step) error {
	rl := r.client.relay
	if rl == nil {
		return errors.New("no request went as early data: there is nothing to replay")
	}
	r.client.reconnect()
	return replayFlight(rl.flown, net.UDPAddrFromAddrPort(r.client.https))
}

// replayFlight sends a flight until the edge answers it as it answers a new client. An edge remembers
// for some round trips the connection IDs of a connection that has ended, and is silent so long.
func replayFlight(flight [][]byte, edge *net.UDPAddr) error {
	sock, err := net.DialUDP("udp", nil, edge)
	if err != nil {
		return err
	}
	defer sock.Close()
	buf := make([]byte, 64<<10)
	for end := time.Now().Add(patience); time.Now().Before(end); {
		for _, datagram := range flight {
			if _, err := sock.Write(datagram); err != nil {
				return err
			}
		}
		sock.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
		for {
			n, err := sock.Read(buf)
			if err != nil {
				break
			}
			// A server's first datagram begins with an Initial packet and is padded (RFC 9000 section 14.1).
			if n >= 1200 && buf[0]&0xf0 == 0xc0 {
				return nil
			}
		}
	}
	return errors.New("the edge did not answer the replayed flight")
}
