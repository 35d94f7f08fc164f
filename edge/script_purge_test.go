package edge_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"hither/deploy/ops"
	"hither/edge/node"
)

// purge tells the edge over its admin socket to forget, and expects members of the document "purge": "purge tag red soft ->
// pops.0.objects=2". "-> error=TEXT" is a refusal that says so.
func (r *run) purge(s *step) error {
	words := r.replaced(s.words)
	call := node.PurgeCall{Kind: s.arg(1), Soft: has(words, "soft")}
	if call.Kind != "all" && len(words) > 2 {
		call.Value = words[2].text
	}
	ctx, cancel := context.WithTimeout(context.Background(), r.bell.patience)
	defer cancel()
	if err := r.setup.shield.purge(ctx, call); err != nil { // first, as `hither purge` does
		return err
	}
	var text json.RawMessage
	err := ops.Dial(r.edge.state).Post(ctx, "/v1/purge", call, &text)
	if want, ok := option(s.want, "error"); ok {
		if err == nil || !strings.Contains(err.Error(), want) {
			return fmt.Errorf("got  %v\n\t\twant an error with %q", err, want)
		}
		return nil
	}
	if err != nil {
		return err
	}
	return r.members("purged", text, s.want)
}

// warm has the edge fetch over its admin socket: "warm /a https://other.test/b -> urls.0.status=200". What begins with / is of the site www.
func (r *run) warm(s *step) error {
	var call node.WarmCall
	for _, w := range r.replaced(s.words[1:]) {
		if strings.HasPrefix(w.text, "/") {
			w.text = "https://www.hither.test" + w.text
		}
		call.URLs = append(call.URLs, w.text)
	}
	ctx, cancel := context.WithTimeout(context.Background(), r.bell.patience)
	defer cancel()
	var text json.RawMessage
	if err := ops.Dial(r.edge.state).Post(ctx, "/v1/warm", call, &text); err != nil {
		return err
	}
	return r.members("warmed", text, s.want)
}

// members compares members of a document.
func (r *run) members(what string, text json.RawMessage, want []token) error {
	var doc any
	if err := json.Unmarshal(text, &doc); err != nil {
		return err
	}
	var errs []error
	for _, w := range want {
		path, value, _ := strings.Cut(w.text, "=")
		got, err := memberAt(doc, path)
		if value = r.vars.Replace(value); err != nil {
			errs = append(errs, err)
		} else if !glob(value, got) {
			errs = append(errs, mismatch(what+" "+path, got, value))
		}
	}
	return errors.Join(errs...)
}
