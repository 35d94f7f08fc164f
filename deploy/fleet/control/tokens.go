package control

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"hither/deploy"
	"hither/deploy/fleet/bus"
)

// tokenPrefix begins each token, so that one that lies around is recognised as what it is.
const tokenPrefix = "hither_"

// mostTokens bounds what is compared with each token that comes.
const mostTokens = 1000

// tokens are those that are in force, as the hub's secrets have them. They are read with each head, so that a second control's count too; while
// the hub is away those known stay.
type tokens struct {
	c     *Control
	names *regexp.Regexp

	mu    sync.Mutex // guards what follows
	known map[string]held
}

// A held is a token with what its change is compared with.
type held struct {
	bus.Token
	hash     []byte
	sequence uint64
}

func newTokens(c *Control) *tokens {
	return &tokens{c: c, names: regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)}
}

func tokenSubject(name string) string { return bus.SubjectSecret + bus.TableToken + "." + name }

// read takes the tokens that the hub has.
func (t *tokens) read(ctx context.Context) error {
	all, err := t.c.o.Conn.Last(ctx, bus.StreamSecrets, tokenSubject("*"))
	if err != nil {
		return err
	}
	known := make(map[string]held, len(all))
	for _, m := range all {
		name := strings.TrimPrefix(m.Subject, tokenSubject(""))
		known[name] = t.held(name, m)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for name, old := range t.known { // what was written while this was read is newer
		if k, ok := known[name]; !ok || k.sequence < old.sequence {
			if ok || old.sequence > newest(all) {
				known[name] = old
			}
		}
	}
	t.known = known
	return nil
}

// held reads a token. One that cannot be read opens nothing.
func (t *tokens) held(name string, m *bus.Message) held {
	one := held{sequence: m.Sequence}
	if len(m.Data) == 0 {
		return one
	}
	err := bus.Decode(m.Data, &one.Token)
	if err == nil {
		one.hash, err = hex.DecodeString(one.Hash)
	}
	if err != nil || len(one.hash) != sha256.Size {
		t.c.stats.garbage.Add(1)
		t.c.faint.Warn("a token of the hub's secrets cannot be read; it opens nothing", "token", name, "error", err)
		one.hash = nil
	}
	return one
}

// forget holds none for known until they have been read again.
func (t *tokens) forget() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.known = nil
}

// ready says whether they have been read.
func (t *tokens) ready() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.known != nil
}

// newest is the highest sequence of messages.
func newest(all []*bus.Message) (n uint64) {
	for _, m := range all {
		n = max(n, m.Sequence)
	}
	return n
}

// of returns the token that a text is, by its name. Each comparison takes the same time whatever the text is.
func (t *tokens) of(text string) (name string, token bus.Token, ok bool) {
	sum := sha256.Sum256([]byte(text))
	now := t.c.o.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	for n, k := range t.known {
		if len(k.hash) > 0 && subtle.ConstantTimeCompare(k.hash, sum[:]) == 1 && (k.Until.IsZero() || now.Before(k.Until)) {
			name, token, ok = n, k.Token, true
		}
	}
	return name, token, ok
}

// permits says why a token is not enough for an order; nil = it is. The order has passed checkOrder.
func permits(token bus.Token, network *deploy.Network, o bus.Order) error {
	if len(token.Kinds) > 0 && !slices.Contains(token.Kinds, o.Kind) {
		return refuse(http.StatusForbidden, "control: the token purges by %s, and not by %s", strings.Join(token.Kinds, ", "), o.Kind)
	}
	if len(token.Sites) == 0 {
		return nil
	}
	if !ofSites(o.Kind) {
		return refuse(http.StatusForbidden, "control: a purge by %s reaches every site, and the token is for %s; purge by url, prefix or host", o.Kind, strings.Join(token.Sites, ", "))
	}
	host, err := hostOf(o)
	if err != nil {
		return err
	}
	if site := siteOf(network, host); site == nil || !slices.Contains(token.Sites, site.Name) {
		return refuse(http.StatusForbidden, "control: the token is for %s, and not for the site of %.200q", strings.Join(token.Sites, ", "), host)
	}
	return nil
}

// ofSites says whether a purge of a kind stays within a site.
func ofSites(kind string) bool { return kind != "all" && kind != "tag" }

// A TokenCall is what the verb token-add is asked.
type TokenCall struct {
	Name  string    `json:"name"`
	Sites []string  `json:"sites,omitempty"`
	Kinds []string  `json:"kinds,omitempty"`
	Until time.Time `json:"until,omitzero"`
}

// A TokenDoc is the document "token". Of it the token itself is said once, when it is made.
type TokenDoc struct {
	Name    string     `json:"name"`
	Token   string     `json:"token,omitempty"`
	Sites   []string   `json:"sites"` // none = all
	Kinds   []string   `json:"kinds"` // none = all
	Until   *time.Time `json:"until,omitempty"`
	By      string     `json:"by"`
	Expired bool       `json:"expired"`
}

// TokenDocs is the document "tokens".
type TokenDocs struct {
	Tokens []TokenDoc `json:"tokens"`
}

func (t *tokens) document(name string, x bus.Token) TokenDoc {
	d := TokenDoc{Name: name, Sites: append([]string{}, x.Sites...), Kinds: append([]string{}, x.Kinds...), By: x.By}
	if !x.Until.IsZero() {
		d.Until, d.Expired = &x.Until, !t.c.o.Now().Before(x.Until)
	}
	return d
}

// tokenAdd is the verb token-add.
func (c *Control) tokenAdd(ctx context.Context, by string, body json.RawMessage) (any, error) {
	var call TokenCall
	if err := readCall(body, &call); err != nil {
		return nil, err
	}
	if !c.tokens.names.MatchString(call.Name) {
		return nil, refuse(http.StatusBadRequest, "control: %.80q is no name of a token: small letters, digits and inner -, 63 at most", call.Name)
	}
	if len(call.Sites) > 1000 {
		return nil, refuse(http.StatusBadRequest, "control: a token for %d sites; at most 1000, or all", len(call.Sites))
	}
	for _, s := range call.Sites {
		if c.o.Network().Site(s) == nil {
			return nil, refuse(http.StatusBadRequest, "control: the network file has no site %.80q", s)
		}
	}
	if len(call.Kinds) > len(kinds()) {
		return nil, refuse(http.StatusBadRequest, "control: a token for %d kinds; there are %d", len(call.Kinds), len(kinds()))
	}
	for _, k := range call.Kinds {
		if !slices.Contains(kinds(), k) {
			return nil, refuse(http.StatusBadRequest, "control: %.40q is no kind of purge: %s", k, strings.Join(kinds(), ", "))
		}
	}
	if len(call.Sites) > 0 && len(call.Kinds) > 0 && !slices.ContainsFunc(call.Kinds, ofSites) {
		return nil, refuse(http.StatusBadRequest, "control: the token could purge nothing: a purge by %s reaches every site, and it would be for %s; "+
			"leave out the sites, or let it purge by url, prefix or host", strings.Join(call.Kinds, " or "), start(strings.Join(call.Sites, ", ")))
	}
	if !call.Until.IsZero() && !c.o.Now().Before(call.Until) {
		return nil, refuse(http.StatusBadRequest, "control: the token would have ended at %s", call.Until.UTC().Format(time.RFC3339))
	}
	if err := c.tokens.read(ctx); err != nil {
		return nil, unavailable(err)
	}
	t := c.tokens
	t.mu.Lock()
	old, live := t.known[call.Name], 0
	for _, k := range t.known {
		if k.Hash != "" {
			live++
		}
	}
	t.mu.Unlock()
	switch {
	case old.Hash != "":
		return nil, refuse(http.StatusConflict, "control: there is a token %q; remove it first", call.Name)
	case live >= mostTokens:
		return nil, refuse(http.StatusConflict, "control: there are %d tokens, and more are not taken; remove some", live)
	}
	text := tokenPrefix + strings.ToLower(rand.Text())
	sum := sha256.Sum256([]byte(text))
	token := bus.Token{Hash: hex.EncodeToString(sum[:]), Sites: call.Sites, Kinds: call.Kinds, Until: call.Until, By: by}
	if err := t.put(ctx, call.Name, bus.Encode(token), held{token, sum[:], old.sequence}); err != nil {
		return nil, err
	}
	c.o.Log.Info("a token for purges was made", "token", call.Name, "sites", call.Sites, "kinds", call.Kinds, "until", call.Until, "operator", by)
	d := t.document(call.Name, token)
	d.Token = text
	return document("token", d)
}

// put writes a token, or "" that it is gone, in the place of what was read.
func (t *tokens) put(ctx context.Context, name string, data []byte, x held) error {
	sequence, err := t.c.append(ctx, tokenSubject(name), data, bus.ExpectKey(x.sequence))
	if errors.Is(err, bus.ErrChanged) {
		return refuse(http.StatusConflict, "control: the token %q was changed by somebody else meanwhile; look at it again", name)
	} else if err != nil {
		return unavailable(err)
	}
	x.sequence = sequence
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.known == nil {
		t.known = make(map[string]held)
	}
	t.known[name] = x
	return nil
}

// unavailable is what is answered where the hub could not do something.
func unavailable(err error) error { return &Refusal{http.StatusServiceUnavailable, err} }

// tokenList is the verb token-list.
func (c *Control) tokenList(ctx context.Context, _ string, _ json.RawMessage) (any, error) {
	if err := c.tokens.read(ctx); err != nil {
		return nil, unavailable(err)
	}
	c.tokens.mu.Lock()
	defer c.tokens.mu.Unlock()
	out := TokenDocs{Tokens: []TokenDoc{}}
	for _, name := range slices.Sorted(maps.Keys(c.tokens.known)) {
		if k := c.tokens.known[name]; k.Hash != "" {
			out.Tokens = append(out.Tokens, c.tokens.document(name, k.Token))
		}
	}
	return document("tokens", out)
}

// tokenRemove is the verb token-remove: {"name": NAME}. From its answer on the token opens nothing at this control.
func (c *Control) tokenRemove(ctx context.Context, by string, body json.RawMessage) (any, error) {
	var call TokenCall
	if err := readCall(body, &call); err != nil {
		return nil, err
	}
	if err := c.tokens.read(ctx); err != nil {
		return nil, unavailable(err)
	}
	c.tokens.mu.Lock()
	old := c.tokens.known[call.Name]
	c.tokens.mu.Unlock()
	if old.Hash == "" {
		return nil, refuse(http.StatusNotFound, "control: there is no token %.80q", call.Name)
	}
	if err := c.tokens.put(ctx, call.Name, nil, held{sequence: old.sequence}); err != nil {
		return nil, err
	}
	c.o.Log.Info("a token for purges was removed", "token", call.Name, "operator", by)
	return document("token", c.tokens.document(call.Name, old.Token))
}
