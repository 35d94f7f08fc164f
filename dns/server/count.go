package server

import (
	"errors"
	"slices"
	"strconv"
	"sync/atomic"

	"github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus"

	"hither/dns/steer"
)

// A transport is how a question came.
type transport uint8

const (
	overUDP transport = iota
	overTCP
)

func (t transport) String() string { return [...]string{"udp", "tcp"}[t] }

// What was not answered, and why.
const (
	dropOversized   = "oversized"   // a message longer than any question
	dropConnections = "connections" // one TCP connection too many
	dropCut         = "cut"         // a TCP message that did not come whole, or not in time
	dropUnread      = "unread"      // a TCP client that did not take its answer
)

// countedTypes are the values of the label qtype; every other type is "other".
var countedTypes = [...]uint16{
	dns.TypeA, dns.TypeAAAA, dns.TypeANY, dns.TypeCAA, dns.TypeCNAME, dns.TypeDNSKEY, dns.TypeDS, dns.TypeHTTPS,
	dns.TypeMX, dns.TypeNS, dns.TypePTR, dns.TypeSOA, dns.TypeSRV, dns.TypeSVCB, dns.TypeTXT,
}

// counters are a DNS server's metrics. Label values come from closed sets: transports, types, rcodes, the PoPs of
// the network file, and the words of dns/steer.
type counters struct {
	queries  *prometheus.CounterVec // transport, qtype, rcode
	answers  *prometheus.CounterVec // pop, reason
	allDown  prometheus.Counter
	faults   *prometheus.CounterVec // reason
	drops    *prometheus.CounterVec // reason
	up       *prometheus.GaugeVec   // pop
	probes   *prometheus.CounterVec // pop, result
	aliases  *prometheus.CounterVec // result
	heard    *prometheus.CounterVec // pop, kind, result
	peers    *prometheus.CounterVec // name, result
	rtts     *prometheus.CounterVec // pop, result
	moves    *prometheus.CounterVec // pop, reason
	shed     *prometheus.GaugeVec   // pop
	prefixes prometheus.Gauge
	timed    prometheus.Gauge

	served atomic.Int64

	// known are the children of queries by transport, place in countedTypes (beyond it: other) and rcode, once there was such an
	// answer: to find one by its labels costs a tenth of an answer.
	known [2][len(countedTypes) + 1][dns.RcodeBadVers + 1]atomic.Pointer[prometheus.Counter]
}

// register makes the metrics by the names of the README.
func (c *counters) register(r prometheus.Registerer) {
	vec := func(name, help string, labels ...string) *prometheus.CounterVec {
		v := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
		r.MustRegister(v)
		return v
	}
	c.queries = vec("hither_dns_queries_total", "Questions answered.", "transport", "qtype", "rcode")
	c.answers = vec("hither_dns_answers_total", "Times a PoP stood in an answer, by why it was chosen.", "pop", "reason")
	c.faults = vec("hither_dns_faults_total", "Messages that were no proper question, by what was wrong.", "reason")
	c.drops = vec("hither_dns_dropped_total", "Messages and connections that got no answer.", "reason")
	c.probes = vec("hither_dns_probes_total", "Probes of PoPs.", "pop", "result")
	c.aliases = vec("hither_dns_alias_total", "Look-ups of the targets of ALIAS records.", "result")
	c.allDown = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "hither_dns_all_down_total", Help: "Answers given as if every PoP were up, because none was.",
	})
	c.up = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "hither_pop_up", Help: "Whether this server's probes find a PoP up (1) or down (0); 1 before the first.",
	}, []string{"pop"})
	c.heard = vec("hither_dns_reports_total", "Messages of PoPs about themselves, by what became of them.", "pop", "kind", "result")
	c.peers = vec("hither_dns_peers_total", "Reports of the other DNS servers, by what became of them.", "name", "result")
	c.rtts = vec("hither_dns_rtt_total", "Round-trip times that PoPs told of prefixes, by what became of them.", "pop", "result")
	c.moves = vec("hither_dns_moves_total", "Prefixes whose first PoP became this one by round-trip times, by why.", "pop", "reason")
	c.shed = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "hither_dns_shed", Help: "The part of a loaded PoP's clients that is sent on, 0 to 1.",
	}, []string{"pop"})
	c.prefixes = prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "hither_dns_rtt_prefixes", Help: "Prefixes of clients to which round-trip times are known.",
	})
	c.timed = prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "hither_dns_rtt_changed", Help: "Those among them that get other PoPs than by the map.",
	})
	r.MustRegister(c.shed, c.prefixes, c.timed)
	r.MustRegister(c.allDown, c.up)
	for _, f := range faults {
		c.faults.WithLabelValues(string(f))
	}
	for _, d := range []string{dropOversized, dropConnections, dropCut, dropUnread} {
		c.drops.WithLabelValues(d)
	}
}

// answered counts a reply.
func (c *counters) answered(tr transport, qtype uint16, rcode int) {
	c.served.Add(1)
	at, word := len(countedTypes), "other"
	if i := slices.Index(countedTypes[:], qtype); i >= 0 {
		at, word = i, dns.TypeToString[qtype]
	}
	known := &c.known[tr][at][rcode]
	counter := known.Load()
	if counter == nil {
		found := c.queries.WithLabelValues(tr.String(), word, rcodeWord(rcode))
		counter = &found
		known.Store(counter)
	}
	(*counter).Inc()
}

// steered counts the PoPs of an answer.
func (c *counters) steered(w *world, ch *choice) {
	allDown := false
	for _, a := range ch.picked {
		allDown = allDown || a.AllDown
		for _, pop := range a.PoPs {
			c.answers.WithLabelValues(w.pops.list[pop].name, string(a.Reason)).Inc()
		}
	}
	if allDown {
		c.allDown.Inc()
	}
}

// moved counts a prefix that changed its first PoP.
func (c *counters) moved(pop string, why steer.Move) { c.moves.WithLabelValues(pop, string(why)).Inc() }

// forget drops what was counted of a PoP that the network has no more, but for what it answered.
func (c *counters) forget(pop string) {
	c.up.DeleteLabelValues(pop)
	c.shed.DeleteLabelValues(pop)
	for _, v := range []*prometheus.CounterVec{c.heard, c.rtts, c.moves} {
		v.DeletePartialMatch(prometheus.Labels{"pop": pop})
	}
}

// probed counts a probe.
func (c *counters) probed(pop string, err error) {
	result := "passed"
	switch {
	case errors.Is(err, errDraining):
		result = "draining"
	case err != nil:
		result = "failed"
	}
	c.probes.WithLabelValues(pop, result).Inc()
}

func (c *counters) dropped(reason string) { c.drops.WithLabelValues(reason).Inc() }

// rcodeWord names a code. There are as many as this server sends.
func rcodeWord(r int) string {
	if r == dns.RcodeBadVers {
		return "BADVERS" // miekg/dns names 16 by its other use, BADSIG
	}
	if word, ok := dns.RcodeToString[r]; ok {
		return word
	}
	return strconv.Itoa(r)
}
