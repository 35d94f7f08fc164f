package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"hither/deploy"
	"hither/deploy/ops"
	"hither/edge/node"
	"hither/edge/proxy"
)

func explainRequestCommand() *cobra.Command {
	var state, pop, output, sni string
	var q node.Question
	c := &cobra.Command{
		Use:   "request URL [--method M] [--header 'Name: value']... [--pop NAME]",
		Short: "Show what an edge would do with a request now, and why",
		Long: "Show what an edge would do with a request now, and why: site, rule, key, what is stored, the sum of its freshness, and\n" +
			"the verdict. The running edge says it, by the code that answers clients, and does not do it: no origin is asked.",
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if err := readURL(&q, args[0]); err != nil {
				return err
			}
			if c.Flags().Changed("sni") {
				q.ServerName = &sni
			}
			var x node.Explanation
			err := askRole(c.Context(), state, edges, strings.TrimPrefix(pop, "edge-"), func(ctx context.Context, edge *ops.Client) error {
				return edge.Post(ctx, "/v1/explain/request", q, &x)
			})
			if err != nil {
				return err
			}
			if x.Site == nil && (x.Reason == "unknown-name" || x.Reason == "unknown-host") {
				return wrong(fmt.Errorf("%s serves no site with the host %s (%s): see `sites` and `trust` of its network file", x.Node, x.Asked.Host, x.Why))
			}
			if output == "json" {
				return printDocument(c.OutOrStdout(), "explain-request", x)
			}
			printRequest(c.OutOrStdout(), x)
			return nil
		},
	}
	stateFlag(c, &state)
	outputFlag(c, &output)
	f := c.Flags()
	f.StringVar(&pop, "pop", "", "which PoP's edge to ask (default: the first that answers)")
	f.StringVar(&q.Method, "method", http.MethodGet, "method")
	f.StringArrayVar(&q.Fields, "header", nil, "a field of the request, 'Name: value'; may be repeated")
	f.BoolVar(&q.Content, "content", false, "the request has content")
	f.BoolVar(&q.Early, "early", false, "the request comes as 0-RTT data")
	f.StringVar(&sni, "sni", "", "TLS server name `NAME` (default: the URL's host)")
	return c
}

// mostURL bounds the URL and the fields of a question: more than any edge's limits are made to take, and less than a socket's call may have.
const mostURL = 64 << 10

// readURL cuts a URL as clients do, and leaves its path byte for byte as it is.
func readURL(q *node.Question, url string) error {
	size := len(url)
	for _, line := range q.Fields {
		size += len(line)
	}
	if size > mostURL {
		return usage("the request has %d bytes; %d are taken at most", size, mostURL)
	}
	scheme, rest, ok := strings.Cut(url, "://")
	if q.Scheme = strings.ToLower(scheme); !ok || q.Scheme != "https" && q.Scheme != "http" {
		return usage("%.200q is no URL of a request; write https://HOST/PATH", url)
	}
	rest, _, _ = strings.Cut(rest, "#") // which no client sends
	q.Host, q.Target = rest, "/"
	if i := strings.IndexAny(rest, "/?"); i >= 0 {
		if q.Host, q.Target = rest[:i], rest[i:]; q.Target[0] == '?' {
			q.Target = "/" + q.Target
		}
	}
	switch {
	case q.Host == "":
		return usage("%.200q has no host; write https://HOST/PATH", url)
	case strings.Contains(q.Host, "@"):
		return usage("%.200q has a user; clients send none: use --header 'Authorization: …'", url)
	case strings.ContainsAny(url, " \t\r\n"):
		return usage("%.200q has blanks; write them as %%20", url)
	}
	return nil
}

// printRequest writes an explanation for people: first what happens, then why.
func printRequest(w io.Writer, x node.Explanation) {
	fmt.Fprintf(w, "%s %s://%s%s at %s, revision %d, %s\n\n", x.Asked.Method, x.Asked.Scheme, x.Asked.Host, cutTarget(x.Asked.Target), x.Node, x.Revision, x.At.Format(time.RFC3339))
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	line := func(name, format string, args ...any) { fmt.Fprintf(t, "%s\t%s\n", name, fmt.Sprintf(format, args...)) }
	line("verdict", "%s", verdictWords(x))
	line("why", "%s", x.Why)
	if x.Status != 0 {
		line("status", "%d %s", x.Status, http.StatusText(x.Status))
	}
	if x.Location != "" {
		line("location", "%s", x.Location)
	}
	if p := x.Part; p != nil && x.Status == p.Status {
		line("content", "%s", partWords(p))
	}
	if e := x.Encoding; e != nil {
		line("coding", "%s", codingWords(e))
	}
	if x.Origin != "" {
		line("origin", "%s", strings.Join(append([]string{x.Origin}, x.Conditions...), ", "))
	}
	printLog(line, x)
	if s := x.Site; s != nil {
		line("site", "%s, by its host %s", s.Name, s.Matched)
		line("rule", "%s", ruleWords(x.Rule))
	}
	if k := x.Key; k != nil {
		printKey(line, k)
	}
	if s := x.Stored; s != nil {
		printStored(line, s)
	}
	t.Flush()
	if x.Freshness != nil {
		printFreshness(w, x.Freshness)
	}
}

func verdictWords(x node.Explanation) string {
	if x.Reason != "" {
		return x.Verdict + "/" + x.Reason
	}
	return x.Verdict
}

func partWords(p *proxy.ExplainedPart) string {
	if len(p.Parts) > 0 {
		return fmt.Sprintf("%s, of %s: %s", count(int(p.Bytes), "byte"), strings.Join(p.Parts, ", "), p.Why)
	}
	if p.Range != "" {
		return fmt.Sprintf("%s, Content-Range: %s: %s", count(int(p.Bytes), "byte"), p.Range, p.Why)
	}
	return count(int(p.Bytes), "byte") + ": " + p.Why
}

func codingWords(e *proxy.ExplainedEncoding) string {
	switch {
	case e.Reason == "":
		return e.Coding + ": " + e.Why
	case e.Wanted != e.Coding:
		return "as it came, not " + e.Wanted + ": " + e.Why
	}
	return "as it came: " + e.Why
}

type liner func(name, format string, args ...any)

// printLog tells what the access log and the client's header say.
func printLog(line liner, x node.Explanation) {
	name := "log"
	for _, o := range x.Log {
		words := "verdict=" + o.Verdict
		if o.Reason != nil && *o.Reason != "" {
			words += " reason=" + *o.Reason
		}
		if len(x.Log) > 1 {
			words += "  when " + o.When
		}
		line(name, "%s", words)
		name = ""
	}
	if len(x.Log) == 0 {
		line("log", "nothing")
		if x.Stage != "proxy" {
			line("", "counted in hither_edge_rejected_total{reason=%q}", x.Reason)
		}
	}
	if x.CacheStatus != "" {
		more := ""
		if x.CacheStatusOpen {
			more = " …"
		}
		line("header", "Cache-Status: %s%s", x.CacheStatus, more)
	}
}

func ruleWords(r *proxy.ExplainedRule) string {
	if r == nil {
		return "none of the site's matches"
	}
	words := []string{fmt.Sprintf("%d, path %s", r.Number, r.Path)}
	if r.TTL != nil {
		words = append(words, "ttl "+seconds(*r.TTL))
	}
	if len(r.Drop) > 0 {
		words = append(words, "drops "+strings.Join(r.Drop, " "))
	}
	if len(r.Keep) > 0 {
		words = append(words, "keeps "+strings.Join(r.Keep, " "))
	}
	if r.Sort {
		words = append(words, "sorts")
	}
	if len(r.Choose) > 0 {
		words = append(words, "chooses by "+strings.Join(r.Choose, " "))
	}
	if r.Bypass {
		words = append(words, "bypass")
	}
	return strings.Join(append(words, reuseWords(r)...), ", ")
}

// reuseWords are what a rule says in the place of its site.
func reuseWords(r *proxy.ExplainedRule) (words []string) {
	for _, w := range []struct {
		name string
		ms   *float64
	}{{"negative", r.Negative}, {"stale_while_revalidate", r.WhileRevalidate}, {"stale_if_error", r.IfError}} {
		if w.ms != nil {
			words = append(words, w.name+" "+seconds(*w.ms))
		}
	}
	if r.SetCookie != nil {
		words = append(words, "set_cookie "+map[bool]string{true: "store", false: "bypass"}[*r.SetCookie])
	}
	if r.MaxObject != nil {
		words = append(words, fmt.Sprintf("max_object %v", deploy.Size(*r.MaxObject)))
	}
	if r.Slice != nil {
		words = append(words, fmt.Sprintf("slice %v", deploy.Size(*r.Slice)))
	}
	return words
}

func printKey(line liner, k *proxy.ExplainedKey) {
	scheme := k.Scheme
	if scheme == "" {
		scheme = "http+https"
	}
	line("key", "%s %s %s %s", k.Site, k.Class, scheme, k.Path)
	if k.Normalised {
		line("", "the target is normalised (RFC 3986 section 6.2.2)")
	}
	if len(k.Dropped) > 0 {
		line("", "without %s", strings.Join(k.Dropped, " "))
	}
	if k.Origin != k.Path {
		line("", "the origin is asked for %s", k.Origin)
	}
	for _, c := range k.Vary {
		line("vary", "%s", choiceWords(c))
	}
}

func choiceWords(c proxy.ExplainedChoice) string {
	if !c.Sent {
		return "no " + c.Field
	}
	return c.Field + ": " + c.CountAs
}

func printStored(line liner, s *proxy.ExplainedStored) {
	words := s.Kind
	switch {
	case s.Kind == "pass":
		words = "no response, but that the last one could not be shared; that holds for another " + seconds(*s.PassLeft)
	case s.Kind == "response" && s.Language != "":
		words = "a variant in " + s.Language + ", the language most wanted"
	}
	if s.Total != nil && len(s.Variants) > 0 {
		words += fmt.Sprintf("; %d under the key", *s.Total)
	}
	if s.Filling {
		words += "; a request to the origin is under way"
	}
	line("stored", "%s", words)
	if s.Slices != nil {
		line("slices", "%s", sliceWords(s.Slices))
	}
	for _, v := range s.Variants {
		mark := "  other"
		if v.Chosen {
			mark = "  this"
		}
		var of []string
		for _, word := range []string{v.Type, v.Encoding, v.Language, v.ETag} {
			if word != "" {
				of = append(of, word)
			}
		}
		for _, c := range v.Vary {
			of = append(of, choiceWords(c))
		}
		state := "fresh for " + seconds(v.TTL)
		if v.TTL <= 0 {
			state = "stale for " + seconds(-v.TTL)
		}
		if v.SoftPurged != nil {
			state += ", by a soft purge"
		}
		line(mark, "%d, %s, %s, came %s", v.Status, count(int(v.Bytes), "byte"), state, v.Received.Format(time.RFC3339))
		if len(of) > 0 {
			line("", "%s", strings.Join(of, ", "))
		}
		if len(v.Tags) > 0 {
			line("", "tags %s", tagWords(v.Tags))
		}
	}
}

func sliceWords(s *proxy.ExplainedSlices) string {
	words := fmt.Sprintf("%d of %v", s.Total, deploy.Size(s.Bytes))
	if s.Needed == 0 {
		return words + ", of which this request needs none"
	}
	words += fmt.Sprintf("; needed %d, from %d to %d; stored %d", s.Needed, s.First, s.Last, s.Stored)
	if len(s.Missing) > 0 {
		words += fmt.Sprintf("; missing %s", strings.Trim(fmt.Sprint(s.Missing), "[]"))
		if s.Needed-s.Stored > int64(len(s.Missing)) {
			words += " …"
		}
	}
	return words
}

// printFreshness writes the sum of RFC 9111 section 4.2.
func printFreshness(w io.Writer, f *proxy.ExplainedFreshness) {
	fmt.Fprintln(w, "\nfreshness (RFC 9111 section 4.2)")
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	term := func(name, value, how string) { fmt.Fprintf(t, "  %s\t%s\t%s\n", name, value, how) }
	most := ""
	if f.AgeMost {
		most = "at most "
	}
	term("date_value", f.Date.Format(time.RFC3339), "Date (RFC 9110 section 6.6.1)")
	term("apparent_age", seconds(f.Apparent), "received − date_value, at least 0 (4.2.3)")
	term("age_value", most+seconds(f.AgeValue), "Age (5.1)")
	term("response_delay", seconds(f.Delay), "received − sent (4.2.3)")
	term("corrected_initial_age", seconds(f.Initial), "the larger of apparent_age, and age_value + response_delay (4.2.3)")
	term("resident_time", seconds(f.Resident), "now − received, "+f.Received.Format(time.RFC3339)+" (4.2.3)")
	term("current_age", seconds(f.Current), "corrected_initial_age + resident_time (4.2.3)")
	term("freshness_lifetime", seconds(f.Lifetime), sourceWords(f))
	state := "freshness_lifetime − current_age: stale"
	switch {
	case f.Fresh:
		state = "freshness_lifetime − current_age: fresh"
	case f.NoCache:
		state = "but no-cache: validated before each use (5.2.2.4)"
	}
	term("TTL", seconds(f.TTL), state)
	term("stale-while-revalidate", seconds(f.WhileRevalidate.Length), windowWords(f.WhileRevalidate, "RFC 5861 section 3"))
	term("stale-if-error", seconds(f.IfError.Length), windowWords(f.IfError, "RFC 5861 section 4"))
	t.Flush()
}

func sourceWords(f *proxy.ExplainedFreshness) string {
	switch f.Source {
	case "s-maxage", "max-age":
		return fmt.Sprintf("%s in %s: %s (4.2.1)", f.Source, f.Field, f.Line)
	case "expires":
		return "Expires: " + f.Line + " − date_value (5.3)"
	case "heuristic":
		return "a guess: a tenth of date_value − Last-Modified: " + f.Line + ", at most a day (4.2.2)"
	case "rule":
		return "corrected_initial_age + the ttl of the site's rule"
	case "negative":
		return "corrected_initial_age + negative of the site or its rule: an error that names none"
	case "earlier-rules":
		return "by rules of the site that have changed since it came"
	}
	return "nothing gives it one (4.2.1)"
}

func windowWords(v proxy.ExplainedWindow, rfc string) string {
	words := map[string]string{
		"response": "the response says so", "site": "the setting of the site or its rule", "earlier-rules": "a setting of the site that has changed since",
		"never-fresh": "the site's setting is not for what was never fresh", "negative": "the site's setting is not for errors that are kept by negative",
	}[v.By]
	if words == "" {
		words = "closed by " + v.By + " (4.2.4)"
	}
	if v.Open {
		words += "; open now"
	}
	return words + " (" + rfc + ")"
}

// seconds writes milliseconds as people say them.
func seconds(ms float64) string {
	d := time.Duration(ms * float64(time.Millisecond))
	switch {
	case d%time.Second == 0 || d.Abs() >= time.Minute:
		return d.Round(time.Second).String()
	}
	return d.Round(time.Millisecond).String()
}

// cutTarget is a text of which a screen has room for so much.
func cutTarget(s string) string {
	const most = 200
	if len(s) <= most {
		return s
	}
	return fmt.Sprintf("%s… (%d bytes)", s[:most], len(s))
}
