package server

import (
	"strconv"
	"sync"
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
var countedTypes = []uint16{
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
	revision prometheus.Gauge

	served atomic.Int64
	ready  sync.Map // children of queries and answers, by queryKey and pickKey: a look-up by labels costs as much as an answer
}

type queryKey struct {
	tr    transport
	qtype uint16
	rcode int
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
	c.revision = prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "hither_fleet_revision", Help: "The revision of the network file in use.",
	})
	r.MustRegister(c.allDown, c.up, c.revision)
	c.revision.Set(1)
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
	key := queryKey{tr, qtype, rcode}
	if known, ok := c.ready.Load(key); ok {
		known.(prometheus.Counter).Inc()
		return
	}
	counter := c.queries.WithLabelValues(tr.String(), typeWord(qtype), rcodeWord(rcode))
	if typeWord(qtype) != "other" { // else the table would hold whatever clients ask
		c.ready.Store(key, counter)
	}
	counter.Inc()
}

// A pickKey is a PoP that stood in an answer, and why.
type pickKey struct {
	pop    string
	reason steer.Reason
}

// steered counts the PoPs of an answer.
func (c *counters) steered(w *world, ch *choice) {
	allDown := false
	for _, a := range ch.picked {
		allDown = allDown || a.AllDown
		for _, pop := range a.PoPs {
			key := pickKey{w.pops.list[pop].name, a.Reason}
			counter, ok := c.ready.Load(key)
			if !ok {
				counter = c.answers.WithLabelValues(key.pop, string(key.reason))
				c.ready.Store(key, counter)
			}
			counter.(prometheus.Counter).Inc()
		}
	}
	if allDown {
		c.allDown.Inc()
	}
}

// probed counts a probe.
func (c *counters) probed(pop string, err error) {
	result := "passed"
	if err != nil {
		result = "failed"
	}
	c.probes.WithLabelValues(pop, result).Inc()
}

func (c *counters) dropped(reason string) { c.drops.WithLabelValues(reason).Inc() }

func typeWord(t uint16) string {
	for _, known := range countedTypes {
		if t == known {
			return dns.TypeToString[t]
		}
	}
	return "other"
}

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
