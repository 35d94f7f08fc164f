package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"hither/deploy/fleet"
	"hither/deploy/fleet/bus"
)

// Times of an operator's calls: until the hub has let it in, and until what it asked is answered where nobody says otherwise.
const (
	dialTime   = 5 * time.Second
	refuseTime = time.Second // for which it must have refused it, before that is said
	answerTime = time.Minute
)

// errNoHub is what errors wrap where the operator's bundle names no hub: the network has none.
var errNoHub = errors.New("the network has no hub")

// An operator is a connection to the fleet's hub by which it is led.
type operator struct {
	conn *bus.Conn
	name string
	tidy func()
}

// dialOperator connects with the identity in bundle, a folder or a file that `hither fleet add` wrote, or with that in the folder operator/
// of state. A hub that does not answer within a few seconds is an error that wraps bus.ErrAway, and one that does, but not to this
// operator, one that wraps bus.ErrRefused or bus.ErrStranger.
func dialOperator(ctx context.Context, state, bundle string) (*operator, error) {
	id, tidy, err := operatorIdentity(state, bundle)
	if err != nil {
		return nil, usage("%v", err)
	}
	op := &operator{name: id.Name, tidy: tidy}
	if len(id.Hub) == 0 {
		op.close()
		return nil, wrong(fmt.Errorf("%w: `hub.urls` of its network file is empty", errNoHub))
	}
	here := make(chan struct{}, 1)
	op.conn, err = bus.Dial(bus.Options{URLs: id.Hub, Identity: id, Embedded: id.HubIn, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		op.close()
		return nil, wrong(err)
	}
	op.conn.OnConnect(func() {
		select {
		case here <- struct{}{}:
		default:
		}
	})
	late := time.NewTimer(dialTime)
	defer late.Stop()
	look := time.NewTicker(refuseTime / 10)
	defer look.Stop()
	for refused := time.Duration(0); ; {
		var why error
		select {
		case <-here:
			return op, nil
		case <-look.C:
			if why = refusal(op.conn, id); why == nil {
				refused = 0
				continue
			}
			if refused += refuseTime / 10; refused < refuseTime {
				continue
			}
		case <-late.C:
			if why = refusal(op.conn, id); why == nil {
				why = bus.ErrAway
			}
		case <-ctx.Done():
			op.close()
			return nil, wrong(ctx.Err())
		}
		op.close()
		return nil, wrong(fmt.Errorf("%s: %w", strings.Join(id.Hub, ", "), why))
	}
}

// refusal says of a hub that is there why it and this operator do not take each other, and what to do; nil = that is not why it is away.
func refusal(conn *bus.Conn, id *fleet.Identity) error {
	err := conn.Refusal()
	switch {
	case errors.Is(err, bus.ErrStranger):
		return fmt.Errorf("%w: the hub is of an authority that this operator's bundle does not have. If the fleet's authority was rotated since the bundle was "+
			"made, take DIR/authority/fleet-ca.pem and DIR/authority/issued/%v.pem of whoever has it for fleet-ca.pem and node.pem of the bundle", err, id.Peer)
	case err == nil:
		return nil
	}
	why := "the certificate of %v was revoked"
	switch {
	case time.Now().After(id.NotAfter()):
		why = "the certificate of %v ended on " + id.NotAfter().Format(time.DateOnly)
	case id.HubIn == "":
		why = "%v was revoked, or is in no list of the servers: print their configuration again (`hither fleet nats-config`) and reload them"
	case strings.Count(string(id.Trust()), "BEGIN CERTIFICATE") > 1: // else the hub's authority is the same, as its own certificate was taken
		why += ", or is of the authority that the fleet's took the place of"
	}
	return fmt.Errorf("%w: "+why+". Whoever has the authority makes another: `hither fleet add operator %s --again --out FILE`, or a new name without --again",
		err, id.Peer, id.Name)
}

// operatorIdentity reads who the operator is. tidy removes what a bundle file was unpacked to.
func operatorIdentity(state, bundle string) (id *fleet.Identity, tidy func(), err error) {
	tidy = func() {}
	dir := filepath.Join(state, fleet.OperatorFolder)
	if bundle != "" {
		dir = bundle
		info, err := os.Stat(bundle)
		if err != nil {
			return nil, nil, fmt.Errorf("--bundle: %w", err)
		}
		if !info.IsDir() {
			f, err := os.Open(bundle)
			if err != nil {
				return nil, nil, fmt.Errorf("--bundle: %w", err)
			}
			defer f.Close()
			folder, err := os.MkdirTemp("", "hither-operator-")
			if err != nil {
				return nil, nil, err
			}
			tidy = func() { os.RemoveAll(folder) }
			dir = filepath.Join(folder, "bundle")
			if err := fleet.Unpack(f, dir); err != nil {
				tidy()
				return nil, nil, fmt.Errorf("--bundle %s: %w", bundle, err)
			}
		}
	}
	if inner := filepath.Join(dir, "identity"); isFolder(inner) {
		dir = inner
	}
	if id, err = fleet.LoadIdentity(dir); err == nil && id.Role != fleet.RoleOperator {
		err = fmt.Errorf("the identity in %s is %s's, and no operator's", dir, id.Peer)
	}
	if err != nil {
		tidy()
		return nil, nil, err
	}
	return id, tidy, nil
}

func isFolder(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// ask has the control do something. out, if not nil, becomes the document that it answers with.
func (o *operator) ask(ctx context.Context, verb string, in, out any) error {
	body := []byte("{}")
	if in != nil {
		var err error
		if body, err = json.Marshal(in); err != nil {
			return wrong(err)
		}
	}
	return o.request(ctx, bus.ControlSubject(o.name, verb), body, out)
}

// requestSoon sends a request. The control is there a moment after its hub is, so where it is asked and nobody is there it is asked again for as long as
// a hub is waited for: nobody has heard of it yet.
func (o *operator) requestSoon(ctx context.Context, subject string, body []byte) (*bus.Message, error) {
	for late := time.Now().Add(dialTime); ; {
		m, err := o.conn.Request(ctx, subject, body)
		if !errors.Is(err, bus.ErrNobody) || !strings.HasPrefix(subject, bus.SubjectControl) || time.Now().After(late) {
			return m, err
		}
		select {
		case <-time.After(dialTime / 20):
		case <-ctx.Done():
			return m, err
		}
	}
}

// request sends a request and reads the answer. What was wrong with the call ends the program with status 2, all else with 1.
func (o *operator) request(ctx context.Context, subject string, body []byte, out any) error {
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, answerTime)
		defer cancel()
	}
	m, err := o.requestSoon(ctx, subject, body)
	if errors.Is(err, bus.ErrNobody) && strings.HasPrefix(subject, bus.SubjectControl) {
		return wrong(errors.New("the hub answers, and no control does; nothing was done: tell it again in some seconds. If the hub has moved, hub.yaml in the operator's bundle is to say where to"))
	}
	if look := looksAt(subject); look != "" && errors.Is(err, bus.ErrUnanswered) {
		return wrong(fmt.Errorf("%w; it may have been taken: %s tells, before it is told again", err, look))
	}
	if err != nil {
		return wrong(err)
	}
	var a bus.Answer
	switch err := bus.Decode(m.Data, &a); {
	case err != nil:
		return wrong(err)
	case a.Status == http.StatusBadRequest:
		return usage("%s", a.Error)
	case a.Status == http.StatusNotFound:
		return wrong(notThere(a.Error))
	case a.Status/100 != 2:
		return wrong(errors.New(a.Error))
	case out == nil:
		return nil
	}
	if err := json.Unmarshal(a.Doc, out); err != nil {
		return wrong(fmt.Errorf("read the answer of %s: %w", subject, err))
	}
	return nil
}

// looksAt is the command by which to see whether what was asked of the control at a subject was done; "" = it changes nothing.
func looksAt(subject string) string {
	_, verb, _ := strings.Cut(strings.TrimPrefix(subject, bus.SubjectControl), ".") // no name of an operator has a dot
	switch verb {
	case "purge":
		return "`hither fleet purges`"
	case "apply", "rollback", "promote", "abort":
		return "`hither fleet history`"
	case "drain":
		return "`hither status`"
	case "revoke", "renew", "trust", "move-hub", "end-hub":
		return "`hither fleet nodes`"
	case "token-add", "token-remove":
		return "`hither fleet token list`"
	}
	return ""
}

// close ends the connection.
func (o *operator) close() {
	if o.conn != nil {
		o.conn.Close()
	}
	o.tidy()
}

// notThere is the answer that what was asked for is not there. It is errNotThere.
type notThere string

const errNotThere = notThere("it is not there")

func (n notThere) Error() string        { return string(n) }
func (n notThere) Is(target error) bool { return target == errNotThere }
