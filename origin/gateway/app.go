package gateway

import (
	"context"
	"embed"
	"fmt"
	"io/fs"
	"net/http"

	"hither/deploy"
	"hither/origin/upstream"
)

// builtIn is what a network without a folder or an application of its own shows.
//
//go:embed site
var builtIn embed.FS

// An app is what answers behind the gateway.
type app struct {
	backend
	use       gate // requests that it answers
	announces bool // its servers are told, in the PROXY protocol, who the client is
}

// backend is the part of an app that knows how.
type backend interface {
	http.Handler

	// problems are what keeps it from answering as it should, for the status. They may be asked for at any time.
	problems() []string

	// quiet ends what it does by itself; requests go on.
	quiet()

	// close lets go of everything, whatever is in flight.
	close() error
}

// retire ends an app that another one took the place of: first its requests, unless ctx ends, then the rest.
func (a *app) retire(ctx context.Context) error {
	a.quiet()
	a.use.close(ctx)
	return a.close()
}

// enter returns the app as it is now, which stays until leave.
func (g *Gateway) enter() *app {
	for {
		// One that is not open has been replaced since it was loaded.
		if a := g.app.Load(); a.use.enter() {
			return a
		}
	}
}

// application returns the application behind the gateway; nil when it is files.
func (g *Gateway) application() *application {
	a, _ := g.app.Load().backend.(*application)
	return a
}

// problems are the application's entries of the status document's problems. It may be called at any time after New.
func (g *Gateway) problems() []string { return g.app.Load().problems() }

// newApp makes what answers as the network file says of the origin. An application that is there already gives the
// servers that it has looked up.
func newApp(origin *deploy.Origin, o *Options, before *application) (*app, error) {
	if origin.App.Static != nil {
		s, err := newFiles(origin.App.Static, o)
		return &app{backend: s}, err
	}
	if d := origin.App.Discover; d != nil && d.DNS == "" {
		return nil, fmt.Errorf("gateway: origin %s: app.discover.fleet is not served by this version; name the servers in DNS, or list them under app.instances", origin.Name)
	}
	var start []upstream.Instance
	if before != nil {
		start = before.instances()
	}
	a, err := newApplication(origin, o, start)
	return &app{backend: a, announces: origin.App.ProxyProtocol != ""}, err
}

// files is a folder, or the built-in site.
type files struct {
	*Static
	problem func() string // what keeps it from answering; "" is nothing
}

func newFiles(s *deploy.Static, o *Options) (*files, error) {
	c := StaticConfig{CacheControl: s.CacheControl, Now: o.Now, Log: o.Log}
	if s.Folder == "" {
		var err error
		c.Files, err = fs.Sub(builtIn, "site")
		return &files{NewStatic(c), func() string { return "" }}, err
	}
	f, err := openFolder(s.Folder)
	if err != nil {
		return nil, fmt.Errorf("%w; make it, or change app.static.folder", err)
	}
	c.Files = f
	return &files{NewStatic(c), f.problem}, nil
}

func (s *files) problems() []string {
	if p := s.problem(); p != "" {
		return []string{p}
	}
	return nil
}

func (s *files) quiet()       {}
func (s *files) close() error { return nil }
