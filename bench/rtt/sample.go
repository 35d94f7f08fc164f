package rtt

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"

	"hither/bench/lab"
	"hither/bench/visit"
	"hither/deploy"
)

const (
	// attempts is how often a sample is taken anew when it turned out not to be one of its case.
	attempts = 8

	// visitTime bounds a visit: far more than the largest object takes over the longest distance.
	visitTime = 2 * time.Minute

	// silence is how long nobody may send before a visit, more than the longest way: what is under way then has no answer
	// that could still come.
	silence = 30 * time.Millisecond
)

// errAgain marks a sample that is not one of its case.
var errAgain = errors.New("not a sample of this case")

func noise(size deploy.Size) []byte {
	content := make([]byte, size)
	rand.NewChaCha8([32]byte([]byte(fmt.Sprintf("%-32d", int64(size))))).Read(content)
	return content
}

// fill brings the objects into the edge's cache, and into the kernel's at the origin.
func (m *measurer) fill(ctx context.Context) error {
	for _, size := range m.o.Sizes {
		for _, c := range []*visit.Client{m.direct, m.edge} {
			if _, err := c.Visit(ctx, visit.TLS13, path(size)); err != nil {
				return err
			}
		}
	}
	return nil
}

// round takes a sample of each case, of those on a cold pool or of the others.
func (m *measurer) round(ctx context.Context, rows []Row, cold bool) error {
	for i := range rows {
		if (rows[i].Cache == MissCold) != cold {
			continue
		}
		s, err := m.sample(ctx, rows[i].Case)
		if errors.Is(err, errAgain) && m.o.Loss > 0 {
			continue // of lost packets it cannot be told whether the pool was cold
		}
		if err != nil {
			return fmt.Errorf("rtt: %v: %w", rows[i].Case, err)
		}
		rows[i].Samples = append(rows[i].Samples, s)
	}
	return nil
}

// sample measures a case once.
func (m *measurer) sample(ctx context.Context, c Case) (Sample, error) {
	var why error
	for range attempts {
		s, err := m.try(ctx, c)
		switch {
		case err == nil:
			return s, nil
		case ctx.Err() != nil:
			return Sample{}, context.Cause(ctx)
		case !errors.Is(err, errAgain) && m.o.Loss == 0:
			return Sample{}, err
		}
		why = err
	}
	return Sample{}, fmt.Errorf("%d times in a row: %w", attempts, why)
}

// try visits, and looks whether that was what the case is about.
func (m *measurer) try(ctx context.Context, c Case) (s Sample, err error) {
	ctx, cancel := context.WithTimeout(ctx, visitTime)
	defer cancel()
	client, target := m.direct, path(c.Size)
	var asked time.Duration
	if c.Way == Edge {
		client = m.edge
		if asked, err = m.ask(ctx); err != nil {
			return s, err
		}
	}
	if c.Cache == MissWarm || c.Cache == MissCold {
		m.asked++
		target += "?" + strconv.Itoa(m.asked)
	}
	if err := m.prepare(ctx, client, c); err != nil {
		return s, err
	}
	m.lab.Record()
	v, err := client.Visit(ctx, c.Protocol, target)
	recording := m.lab.Stop()
	if err != nil {
		return s, err
	}
	if err := c.check(v); err != nil {
		return s, err
	}
	s = newSample(v)
	s.DNS = asked
	s.Rounds = rounds(recording, v)
	// An edge that dialled by itself was first, and had a part of the way behind it already.
	if c.Cache == MissCold && (s.Rounds == nil || s.Rounds.ClientEdge < c.Protocol.RoundTrips()) {
		return s, fmt.Errorf("%w: the edge connected before it was asked", errAgain)
	}
	return s, nil
}

// prepare brings about what a visit of a case finds.
func (m *measurer) prepare(ctx context.Context, client *visit.Client, c Case) error {
	if c.Cache == MissCold {
		if err := m.net.Cool(ctx); err != nil {
			return err
		}
		// The edge's ticket keys are new as well. No time for silence: the edge dials by itself soon.
		return client.Prime(ctx, c.Protocol)
	}
	if !client.Primed(c.Protocol) {
		if err := client.Prime(ctx, c.Protocol); err != nil {
			return err
		}
	}
	longest := max(m.o.ClientEdge, m.o.EdgeOrigin, m.o.ClientOrigin) / 2
	return m.lab.Settle(ctx, longest+silence)
}

// ask asks the lab's DNS server for the site's address, as the client does before it connects.
func (m *measurer) ask(ctx context.Context) (time.Duration, error) {
	start := time.Now()
	found, err := m.lab.At(lab.Client).Lookup(ctx, lab.Host)
	took := time.Since(start)
	if err != nil {
		return 0, err
	}
	if !slices.Contains(found, lab.Edge.Addr()) {
		return 0, fmt.Errorf("the lab's DNS server leads to %v, and the edge is %v", found, lab.Edge.Addr())
	}
	return took, nil
}

// check finds what a visit was not, of all that its case says.
func (c Case) check(v visit.Visit) error {
	switch {
	case v.Status != 200:
		return fmt.Errorf("status %d", v.Status)
	case v.Bytes != int64(c.Size):
		return fmt.Errorf("%d bytes came", v.Bytes)
	case c.Cache == Hit && !strings.Contains(v.Verdict, "; hit"),
		c.Cache == MissWarm && !strings.Contains(v.Verdict, "; fwd=uri-miss"),
		c.Cache == MissCold && !strings.Contains(v.Verdict, "; fwd=uri-miss"):
		return fmt.Errorf("the edge says %q", v.Verdict)
	case v.Resumed != c.Protocol.Resumes():
		return fmt.Errorf("%w: the server did not take the ticket", errAgain)
	case v.Early != (c.Protocol == visit.H3Early):
		return fmt.Errorf("%w: the server did not take 0-RTT data", errAgain)
	}
	return nil
}

// rounds counts what the client waited for until the first byte.
func rounds(r *lab.Recording, v visit.Visit) *Rounds {
	p, err := r.Path(lab.Question{Start: v.Start, At: v.First, Port: v.Port})
	if err != nil {
		return nil
	}
	return &Rounds{
		ClientEdge:   p.RoundTrips(lab.Between(lab.Client, lab.Edge)),
		EdgeOrigin:   p.RoundTrips(lab.Between(lab.Edge, lab.Origin)),
		ClientOrigin: p.RoundTrips(lab.Between(lab.Client, lab.Origin)),
	}
}
