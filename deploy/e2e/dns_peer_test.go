//go:build e2e

package e2e_test

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// dnsPort is where a local network's DNS server answers.
const dnsPort = 5300

// nameServer is the address of the network's DNS server.
func (n *network) nameServer() string { return n.net + ".0.1" }

// An asker is a DNS client that is not ours.
type asker struct {
	path string
	args []string // before each question
}

// askers are dig and kdig, asking the network's DNS server itself.
func (n *network) askers(t *testing.T) []asker {
	t.Helper()
	return askersOf(t, n.nameServer(), dnsPort)
}

func askersOf(t *testing.T, server string, port int) []asker {
	t.Helper()
	at := []string{"@" + server, "-p", strconv.Itoa(port)}
	return []asker{
		{peer(t, "dig", "bind9-dnsutils"), append([]string{"-r", "+tries=1", "+time=10"}, at...)},
		{peer(t, "kdig", "knot-dnsutils"), append([]string{"+retry=0", "+timeout=10"}, at...)},
	}
}

// ask asks one question, in the words that dig and kdig share.
func (a asker) ask(t *testing.T, question ...string) heard {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), a.path, append(slices.Clone(a.args), question...)...)
	text, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s", cmd, err, text)
	}
	return hear(string(text))
}

// heard is an answer as dig or kdig shows it.
type heard struct {
	status  string   // NOERROR, NXDOMAIN, ...
	flags   []string // of the header
	name    string   // of the question, as the server spelled it
	scope   int      // of the client subnet; -1 = there is none
	records []string // of the answer section, in zone syntax without quotes
}

// What the two programs write alike, but for some punctuation.
var (
	statusWord   = regexp.MustCompile(`status: (\w+)[,;]`)
	flagWords    = regexp.MustCompile(`(?m)^;; [Ff]lags:([a-z ]*);`)
	subnetWord   = regexp.MustCompile(`(?m)^;+ CLIENT-SUBNET: \S+/\d+/(\d+)$`)
	questionLine = regexp.MustCompile(`(?m)^;; QUESTION SECTION:\n;+ ?(\S+)`)
	ttlWord      = regexp.MustCompile(`^(\S+) \d+ IN `)
)

func hear(text string) heard {
	h := heard{scope: -1}
	if m := statusWord.FindStringSubmatch(text); m != nil {
		h.status = m[1]
	}
	if m := flagWords.FindStringSubmatch(text); m != nil {
		h.flags = strings.Fields(m[1])
	}
	if m := subnetWord.FindStringSubmatch(text); m != nil {
		h.scope, _ = strconv.Atoi(m[1])
	}
	if m := questionLine.FindStringSubmatch(text); m != nil {
		h.name = m[1]
	}
	_, answers, _ := strings.Cut(text, ";; ANSWER SECTION:\n")
	answers, _, _ = strings.Cut(answers, "\n\n")
	for line := range strings.Lines(answers) {
		if fields := strings.Fields(line); len(fields) > 0 {
			h.records = append(h.records, strings.ReplaceAll(strings.Join(fields, " "), `"`, ""))
		}
	}
	slices.Sort(h.records)
	return h
}

// expected is what an answer has to be.
type expected struct {
	status  string   // "" = NOERROR
	flags   string   // those that must be there; a bare "tc" too: others may not be truncated
	name    string   // as it was asked for
	scope   int      // -1 = no client subnet
	records []string // as in heard; nil = none
}

// differs says how an answer differs from what it has to be; nil if it does not.
func (h heard) differs(e expected) error {
	if e.status == "" {
		e.status = "NOERROR"
	}
	want := strings.Fields(e.flags)
	for _, f := range want {
		if !slices.Contains(h.flags, f) {
			return fmt.Errorf("%s: no flag %s among %v", e.name, f, h.flags)
		}
	}
	slices.Sort(e.records)
	switch {
	case h.status != e.status:
		return fmt.Errorf("%s: status %s, not %s", e.name, h.status, e.status)
	case slices.Contains(h.flags, "tc") && !slices.Contains(want, "tc"):
		return fmt.Errorf("%s: truncated", e.name)
	case h.name != e.name:
		return fmt.Errorf("%s: the question came back as %s", e.name, h.name)
	case !slices.Equal(h.records, e.records):
		return fmt.Errorf("%s: %q, not %q", e.name, h.records, e.records)
	case h.scope != e.scope:
		return fmt.Errorf("%s: scope /%d, not /%d", e.name, h.scope, e.scope)
	}
	return nil
}

// An explanation is what these tests use of the document explain-dns.
type explanation struct {
	Place struct {
		Source string `json:"source"`
	} `json:"place"`
	Scope      int `json:"scope"`
	Candidates []struct {
		PoP    string  `json:"pop"`
		Up     bool    `json:"up"`
		Rank   int     `json:"rank"`
		Struck *string `json:"struck"`
	} `json:"candidates"`
	Answer struct {
		PoPs    []string `json:"pops"`
		Records []string `json:"records"`
		AllDown bool     `json:"all_down"`
	} `json:"answer"`
}

// explain asks the operator's command what a client gets.
func (n *network) explain(t *testing.T, client, qtype string) (x explanation) {
	t.Helper()
	stdout, stderr, status := call(t, "explain", "dns", host, "--client", client, "--type", qtype, "--state", n.dir, "-o", "json")
	if status != 0 {
		t.Fatalf("explain dns %s: status %d: %s", client, status, stderr)
	}
	if err := json.Unmarshal([]byte(stdout), &x); err != nil {
		t.Fatalf("explain dns %s: %v", client, err)
	}
	for i, rr := range x.Answer.Records {
		x.Answer.Records[i] = strings.ReplaceAll(rr, `"`, "")
	}
	return x
}

// struck is why a PoP is in no answer; "" if it may be.
func (x explanation) struck(pop string) string {
	for _, c := range x.Candidates {
		if c.PoP == pop && c.Struck != nil {
			return *c.Struck
		}
	}
	return ""
}

// unbound starts the resolver of deploy/compose in front of the network, and returns
// where it listens, on port 53.
func (n *network) unbound(t *testing.T) string {
	t.Helper()
	path := peer(t, "unbound", "unbound")
	text, err := os.ReadFile(filepath.Join(root, "deploy", "compose", "unbound.conf"))
	if err != nil {
		t.Fatal(err)
	}
	// The file is for the network that `up` runs by itself; this one has other addresses.
	at := n.net + ".0.2"
	conf := filepath.Join(t.TempDir(), "unbound.conf")
	mine := edited(t, string(text), "interface: 127.0.0.2 ", "interface: "+at+" ", "stub-addr: 127.0.0.1@5300", "stub-addr: "+n.nameServer()+"@5300")
	if err := os.WriteFile(conf, []byte(mine), 0o600); err != nil {
		t.Fatal(err)
	}
	p := start(t, path, "-d", "-c", conf)
	if !p.stderr.wait(readyTime, "start of service", 1) {
		t.Fatalf("%s is not ready:\n%s", p.cmd, p.stderr)
	}
	return at
}

// bounds are the last address of a prefix and the one after it.
func bounds(p netip.Prefix) (last, next netip.Addr) {
	bytes := p.Masked().Addr().AsSlice()
	for i := p.Bits(); i < len(bytes)*8; i++ {
		bytes[i/8] |= 1 << (7 - i%8)
	}
	last, _ = netip.AddrFromSlice(bytes)
	return last, last.Next()
}

// single is an address as a client subnet of its whole length.
func single(a netip.Addr) string { return netip.PrefixFrom(a, a.BitLen()).String() }
