package server

import (
	"cmp"
	"time"
)

// limits are what a server's sockets keep to.
type limits struct {
	message    time.Duration // tcpMessage
	write      time.Duration // tcpWrite
	all        int           // tcpAll
	perAddress int           // tcpPerAddress
	last       time.Duration // lastMessages
}

// whole has the usual ones where there are none.
func (l limits) whole() limits {
	return limits{
		message: cmp.Or(l.message, tcpMessage), write: cmp.Or(l.write, tcpWrite), all: cmp.Or(l.all, tcpAll),
		perAddress: cmp.Or(l.perAddress, tcpPerAddress), last: cmp.Or(l.last, lastMessages),
	}
}

// lastMessages is how long a server that stops still answers: what is in the kernel's buffers, and what was
// sent before it was seen to stop.
const lastMessages = 200 * time.Millisecond
