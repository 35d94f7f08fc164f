package edge_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"hither/deploy/ops"
	"hither/edge/node"
	"hither/edge/proxy"
)

// Before each request of a script that comes alone, the edge is asked over its admin socket
// what it would do, and held to it afterwards. Requests of `start`, `parallel` and
// `eventually` are not: what others do meanwhile is part of their answer.

// An explanation is what the edge said, as it came and as a struct.
type explanation struct {
	node.Explanation
	text json.RawMessage
}

// question is what words describe, as the admin socket takes it.
func (r *run) question(words []token) (q node.Question, err error) {
	req, err := r.client.request(context.Background(), &call{id: "explained"}, words)
	if err != nil {
		return q, err
	}
	q = node.Question{
		Method: strings.TrimSuffix(req.Method, "_0RTT"), Scheme: req.URL.Scheme, Host: req.Host, Target: req.URL.Opaque,
		Early: has(words, "early"), Content: req.ContentLength != 0 && req.Body != nil,
	}
	if q.Target == "" {
		q.Target = req.URL.RequestURI()
	}
	for name, values := range req.Header {
		for _, v := range values {
			q.Fields = append(q.Fields, name+": "+v)
		}
	}
	name, ok := option(words, "sni")
	if !ok { // the library sends that of the URL, whatever the Host field
		name, _, _ = strings.Cut(req.URL.Host, ":")
	}
	q.ServerName = &name
	return q, nil
}

func (r *run) foretell(words []token) (*explanation, error) {
	q, err := r.question(words)
	if err != nil {
		return nil, err
	}
	x := new(explanation)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := ops.Dial(r.edge.state).Post(ctx, "/v1/explain/request", q, &x.text); err != nil {
		return nil, err
	}
	return x, json.Unmarshal(x.text, &x.Explanation)
}

// hold compares what was said with the answer and its log record; nil where there is none.
func (x *explanation) hold(a *answer, rec record) error {
	var errs []error
	wrong := func(what, got, said string) {
		errs = append(errs, fmt.Errorf("%s:\n\t\tgot  %s\n\t\tsaid %s", what, got, said))
	}
	if logged := rec != nil; logged != (x.Stage == "proxy") {
		wrong("explained stage", fmt.Sprintf("a log record: %v", logged), x.Stage)
	}
	if rec != nil && !x.allows(rec["verdict"], rec["reason"]) {
		wrong("explained verdict", rec["verdict"]+"/"+rec["reason"], x.words())
	}
	if status := strconv.Itoa(x.Status); x.Status != 0 && status != strconv.Itoa(a.status) {
		wrong("explained status", strconv.Itoa(a.status), status)
	}
	if said, got := x.CacheStatus, lastMember(a.header); a.header != nil && x.Stage == "proxy" {
		if got != said && !(x.CacheStatusOpen && strings.HasPrefix(got+";", said+";")) {
			wrong("explained Cache-Status", got, said)
		}
	}
	if x.Why == "" || len(x.Log) == 0 && x.Stage == "proxy" {
		wrong("explained reasons", "none", x.words())
	}
	if len(errs) == 0 {
		return nil
	}
	return errors.Join(append(errs, fmt.Errorf("the explanation was %s", x.text))...)
}

// lastMember is the member of Cache-Status that the edge appended.
func lastMember(h http.Header) string {
	lines := strings.Split(strings.Join(h.Values("Cache-Status"), ","), ",")
	return strings.TrimSpace(lines[len(lines)-1])
}

func (x *explanation) allows(verdict, reason string) bool {
	for _, o := range x.Log {
		if o.Verdict == verdict && (o.Reason == nil || *o.Reason == reason) {
			return true
		}
	}
	return false
}

// words are the verdicts that the log may have.
func (x *explanation) words() string {
	var out []string
	for _, o := range x.Log {
		reason := "*"
		if o.Reason != nil {
			reason = *o.Reason
		}
		out = append(out, o.Verdict+"/"+reason)
	}
	return x.Verdict + " (" + strings.Join(out, ", ") + ")"
}

// explain expects members of the document "explain-request": "explain get /a Field: value ->
// verdict=hit freshness.source=max-age stored.variants.0.status=200"; null is null.
func (r *run) explain(s *step) error {
	words := r.replaced(s.words[1:])
	if len(words) > 1 && words[0].text == "request" { // as the step of that name
		words = words[1:]
	}
	x, err := r.foretell(words)
	if err != nil {
		return err
	}
	var doc any
	if err := json.Unmarshal(x.text, &doc); err != nil {
		return err
	}
	var errs []error
	for _, w := range s.want {
		path, value, ok := strings.Cut(w.text, "=")
		if !ok {
			errs = append(errs, fmt.Errorf("explain: %q is not member=value", w.text))
			continue
		}
		got, err := memberAt(doc, path)
		if value = r.vars.Replace(value); err != nil {
			errs = append(errs, err)
		} else if !glob(value, got) {
			errs = append(errs, mismatch("explained "+path, got, value))
		}
	}
	if len(errs) > 0 {
		errs = append(errs, fmt.Errorf("the explanation was %s", x.text))
	}
	return errors.Join(errs...)
}

// memberAt is a member of a JSON document as text.
func memberAt(doc any, path string) (string, error) {
	for name := range strings.SplitSeq(path, ".") {
		switch at := doc.(type) {
		case map[string]any:
			v, ok := at[name]
			if !ok {
				return "(absent)", nil
			}
			doc = v
		case []any:
			i, err := strconv.Atoi(name)
			if err != nil {
				return "", fmt.Errorf("explained %s: %q is no place in a list", path, name)
			}
			if i >= len(at) {
				return "(absent)", nil
			}
			doc = at[i]
		default:
			return "(absent)", nil
		}
	}
	switch v := doc.(type) {
	case nil:
		return "null", nil
	case string:
		return v, nil
	case []any:
		return fmt.Sprint(len(v), " members"), nil
	}
	return fmt.Sprint(doc), nil
}

// TestPlantedExplanations shows the comparison failing: whatever in an explanation does not come true is told.
func TestPlantedExplanations(t *testing.T) {
	collapsed := "collapsed"
	x := explanation{text: json.RawMessage("{}")}
	x.Stage, x.Verdict, x.Why, x.Status, x.CacheStatus = "proxy", "hit", "it is fresh", 200, "fra; hit; ttl=5"
	x.Log = []proxy.ExplainedOutcome{{Verdict: "hit", Reason: &collapsed}, {Verdict: "miss"}}
	answered := &answer{status: 200, header: http.Header{"Cache-Status": {"other; hit, fra; hit; ttl=5"}}}
	logged := record{"verdict": "hit", "reason": "collapsed"}
	if err := x.hold(answered, logged); err != nil {
		t.Fatal(err)
	}
	if err := x.hold(answered, record{"verdict": "miss", "reason": "private"}); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		says  string
		plant func(x *explanation, a *answer, rec record) record
	}{
		{"got  stale/collapsed", func(_ *explanation, _ *answer, rec record) record { rec["verdict"] = "stale"; return rec }},
		{"got  hit/range", func(_ *explanation, _ *answer, rec record) record { rec["reason"] = "range"; return rec }},
		{"explained stage", func(*explanation, *answer, record) record { return nil }},
		{"explained stage", func(x *explanation, _ *answer, rec record) record { x.Stage = "front"; return rec }},
		{"got  304", func(_ *explanation, a *answer, rec record) record { a.status = 304; return rec }},
		{"got  fra; hit; ttl=6", func(_ *explanation, a *answer, rec record) record {
			a.header.Set("Cache-Status", "fra; hit; ttl=6")
			return rec
		}},
		{"got  fra; hit; ttl=5", func(x *explanation, _ *answer, rec record) record {
			x.CacheStatus, x.CacheStatusOpen = "fra; hi", true
			return rec
		}},
		{"explained Cache-Status", func(_ *explanation, a *answer, rec record) record { a.header.Del("Cache-Status"); return rec }},
		{"explained reasons", func(x *explanation, _ *answer, rec record) record { x.Why = ""; return rec }},
	} {
		wrong, a, rec := x, *answered, maps.Clone(logged)
		a.header = a.header.Clone()
		if err := wrong.hold(&a, c.plant(&wrong, &a, rec)); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("planted %q: %v", c.says, err)
		}
	}
}
