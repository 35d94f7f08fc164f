package lab

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"slices"
	"time"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
)

// An Echo is how long the way to a place and back takes when nothing is done there.
type Echo struct {
	Samples  int
	Distance time.Duration // what it should be
	P50, P95 time.Duration // what it was
}

// Error is by how much the lab is slower than the distance it stands for, in the median.
func (e Echo) Error() time.Duration { return e.P50 - e.Distance }

// Echo measures the way from one place to another and back, one echo after the other. The kernel answers them at the
// other end, so this is the lab's own error with that of one program which waits for a packet.
func (l *Lab) Echo(ctx context.Context, from, to Place, samples int) (Echo, error) {
	s, samples := Between(from, to), max(samples, 1)
	e := Echo{Samples: samples, Distance: l.forward.conditions(from, to).Distance}
	fail := func(err error) (Echo, error) { return e, fmt.Errorf("lab: echo over %v: %w", s, err) }
	var c *icmp.PacketConn
	var err error
	if e := l.At(from).Do(func() { c, err = icmp.ListenPacket("ip4:icmp", from.Addr().String()) }); e != nil {
		return fail(e)
	}
	if err != nil {
		return fail(err)
	}
	defer c.Close()
	defer context.AfterFunc(ctx, func() { c.SetReadDeadline(time.Unix(1, 0)) })()
	took := make([]time.Duration, 0, samples)
	for i := range samples {
		d, err := echo(c, to, uint64(i))
		if ctx.Err() != nil {
			return fail(context.Cause(ctx))
		}
		if err != nil {
			return fail(err)
		}
		took = append(took, d)
	}
	slices.Sort(took)
	e.P50, e.P95 = took[samples/2], took[samples*95/100]
	return e, nil
}

// echo sends one echo request and waits for its reply (RFC 792).
func echo(c *icmp.PacketConn, to Place, number uint64) (time.Duration, error) {
	data := binary.BigEndian.AppendUint64(nil, number)
	request, err := (&icmp.Message{Type: ipv4.ICMPTypeEcho, Body: &icmp.Echo{Seq: int(number & 0xffff), Data: data}}).Marshal(nil)
	if err != nil {
		return 0, err
	}
	begin := time.Now()
	if _, err := c.WriteTo(request, &net.IPAddr{IP: to.Addr().AsSlice()}); err != nil {
		return 0, err
	}
	var b [128]byte
	for {
		n, _, err := c.ReadFrom(b[:])
		if err != nil {
			return 0, err
		}
		took := time.Since(begin)
		m, err := icmp.ParseMessage(1, b[:n])
		if err != nil || m.Type != ipv4.ICMPTypeEchoReply {
			continue
		}
		if body, ok := m.Body.(*icmp.Echo); ok && string(body.Data) == string(data) {
			return took, nil
		}
	}
}
