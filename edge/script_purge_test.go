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
	var doc any
	if err := json.Unmarshal(text, &doc); err != nil {
		return err
	}
	var errs []error
	for _, w := range s.want {
		path, value, _ := strings.Cut(w.text, "=")
		got, err := memberAt(doc, path)
		if value = r.vars.Replace(value); err != nil {
			errs = append(errs, err)
		} else if !glob(value, got) {
			errs = append(errs, mismatch("purged "+path, got, value))
		}
	}
	return errors.Join(errs...)
}
