package hub

import (
	"context"
	"crypto/sha256"
	"encoding/base32"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"time"

	"hither/deploy/fleet/bus"
)

// Keys of the stream's own metadata: the journal's id, and the one that was taken away before.
const (
	journalKey = "hither-journal"
	beforeKey  = "hither-journal-before"
)

// Journal returns the id by which nodes know the journal: see [bus.Batch]. It lies in the metadata of the stream, and so with its entries:
// a stream that was made anew has none, and gets one here; then fresh is true. An id stands for one history: as long as it is the same, an
// entry that has a sequence keeps it. A hub that finds its journal shorter than it was, or restored from a backup ([Restored]), takes the
// id away at its start, and for a cluster elsewhere [Forget] does. c is the control's, and [Ensure] has been called.
//
// Those who name it at the same time give it the same id: were it the last one's, what another wrote before that would be of a journal that
// is no more. So it is made of when the stream was made, and of the id before.
func Journal(ctx context.Context, c *bus.Conn) (id string, fresh bool, err error) {
	config, made, err := api{c}.info(ctx, bus.StreamJournal)
	if err != nil {
		return "", false, err
	}
	if config == nil {
		return "", false, errors.New("hub: there is no journal")
	}
	metadata, _ := config["metadata"].(map[string]any)
	if id, _ := metadata[journalKey].(string); id != "" {
		return id, false, nil
	}
	before, _ := metadata[beforeKey].(string)
	sum := sha256.Sum256([]byte(made + " " + before))
	id = strings.ToLower(base32.StdEncoding.EncodeToString(sum[:16])[:26])
	if err := setJournal(ctx, c, config, id); err != nil {
		return "", false, err
	}
	return id, true, nil
}

// Forget takes the journal's id away: what is appended from now on has another, and nodes hold for stale what they have. It is for
// whoever sees that the journal went back, such as by a node that is further than its end. A control that runs calls Journal again.
func Forget(ctx context.Context, c *bus.Conn) error {
	config, _, err := api{c}.info(ctx, bus.StreamJournal)
	if err != nil || config == nil {
		return err
	}
	return setJournal(ctx, c, config, "")
}

func setJournal(ctx context.Context, c *bus.Conn, config map[string]any, id string) error {
	metadata, _ := config["metadata"].(map[string]any)
	if metadata == nil {
		metadata = make(map[string]any)
	}
	if was, _ := metadata[journalKey].(string); id == "" && was != "" {
		metadata[beforeKey] = was
	}
	metadata[journalKey] = id
	config["metadata"] = metadata
	return api{c}.do(ctx, "STREAM.UPDATE."+bus.StreamJournal, config, nil)
}

// api asks JetStream's API, as the control may.
type api struct{ c *bus.Conn }

// An apiError is an error that JetStream answers.
type apiError struct {
	Code        int    `json:"err_code"`
	Description string `json:"description"`
}

func (e *apiError) Error() string { return e.Description }

// Codes of JetStream's errors.
const (
	notFound   = 10059 // JSStreamNotFoundErr
	notReady   = 10008 // JSClusterNotAvailErr: there is no leader yet
	noPeers    = 10005 // JSClusterNoPeersErrF: servers of the cluster are not there yet
	notEnabled = 10076 // JSNotEnabledErr: it is being started again
)

// How long a cluster may take to find itself, and between two questions.
const (
	patience = 60 * time.Second
	askTime  = 5 * time.Second
	askAgain = 200 * time.Millisecond
)

// do sends a request and reads its answer into out; it asks again while a cluster has no leader.
func (a api) do(ctx context.Context, what string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		err := a.once(ctx, what, body, out)
		said := (*apiError)(nil)
		switch {
		case err == nil:
			return nil
		case errors.Is(err, bus.ErrDenied), errors.As(err, &said) && said.Code != notReady && said.Code != noPeers && said.Code != notEnabled:
			return fmt.Errorf("hub: %s: %w", what, err)
		}
		select {
		case <-time.After(askAgain):
		case <-ctx.Done():
			return fmt.Errorf("hub: %s: %w", what, err)
		}
	}
}

// once sends a request once. What changes a stream is waited for although ctx ends: a hub in this process that is ended while it makes one
// would leave that running, with its files.
func (a api) once(ctx context.Context, what string, body []byte, out any) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if !strings.HasPrefix(what, "STREAM.INFO.") {
		ctx = context.WithoutCancel(ctx)
	}
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	m, err := a.c.Request(ctx, "$JS.API."+what, body)
	if err != nil {
		return err
	}
	var answer struct {
		Error *apiError `json:"error"`
	}
	if err := json.Unmarshal(m.Data, &answer); err != nil {
		return err
	}
	if answer.Error != nil {
		return answer.Error
	}
	if out != nil {
		return json.Unmarshal(m.Data, out)
	}
	return nil
}

// info returns a stream's settings, and when it was made; nil = there is no such stream.
func (a api) info(ctx context.Context, name string) (config map[string]any, made string, err error) {
	var answer struct {
		Config map[string]any `json:"config"`
		Made   string         `json:"created"`
	}
	err = a.do(ctx, "STREAM.INFO."+name, struct{}{}, &answer)
	if said := (*apiError)(nil); errors.As(err, &said) && said.Code == notFound {
		return nil, "", nil
	}
	return answer.Config, answer.Made, err
}

// Ensure makes the streams that the hub does not have, and gives those that it has the settings of this version. c is the control's;
// replicas is 1 with a hub in an origin and 3 in a cluster. From then on c answers what nodes read.
func Ensure(ctx context.Context, c *bus.Conn, replicas int) error {
	for _, s := range streams(replicas) {
		want, err := asMap(s)
		if err != nil {
			return err
		}
		have, _, err := api{c}.info(ctx, s.Name)
		if err != nil {
			return err
		}
		if have == nil {
			if err := (api{c}).do(ctx, "STREAM.CREATE."+s.Name, want, nil); err != nil {
				return err
			}
			continue
		}
		differs := false
		for key, value := range want {
			if !reflect.DeepEqual(have[key], value) {
				differs, have[key] = true, value
			}
		}
		if differs {
			if err := (api{c}).do(ctx, "STREAM.UPDATE."+s.Name, have, nil); err != nil {
				return err
			}
		}
	}
	return c.ServeReads()
}

// asMap makes a value what its JSON reads as.
func asMap(v any) (m map[string]any, err error) {
	body, err := json.Marshal(v)
	if err == nil {
		err = json.Unmarshal(body, &m)
	}
	return m, err
}
