package main

import (
	"context"
	"crypto/x509"
	"fmt"
	"io"
	"net/netip"
	"net/url"
	"os"
	"strings"

	"github.com/spf13/pflag"

	"hither/bench/rtt"
)

// Flags that only one of the two forms of the command has.
var (
	labFlags = []string{"hither", "client-edge", "edge-origin", "client-origin", "loss", "cold-samples", "size"}
	urlFlags = []string{"direct", "resolver", "ca", "published"}
)

// target reads the command's argument, and what belongs to it.
func (o *rttOptions) target(f *pflag.FlagSet, args []string) (err error) {
	wrong, why := urlFlags, "goes with a URL only"
	if len(args) == 1 {
		wrong, why = labFlags, "goes with a lab only; a URL has the distance that it has"
		if o.url, err = parseURL(args[0]); err != nil {
			return err
		}
	}
	for _, name := range wrong {
		if f.Changed(name) {
			return fmt.Errorf("--%s %s", name, why)
		}
	}
	if o.directText != "" {
		if o.direct, err = parseURL(o.directText); err != nil {
			return fmt.Errorf("--direct: %w", err)
		}
	}
	return nil
}

func parseURL(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil {
		return nil, err
	}
	if u.Scheme != "https" || u.Hostname() == "" || u.User != nil || u.Fragment != "" {
		return nil, fmt.Errorf("%s is not what can be visited; write https://HOST[:PORT]/PATH", text)
	}
	return u, nil
}

// parsePublished reads pairs `ADDR=ADDR`.
func parsePublished(pairs []string) (map[netip.Addr]netip.Addr, error) {
	all := map[netip.Addr]netip.Addr{}
	for _, pair := range pairs {
		said, at, ok := strings.Cut(pair, "=")
		if !ok {
			return nil, fmt.Errorf("%q: want ADDR=ADDR, what DNS says and where that is from here", pair)
		}
		from, err := netip.ParseAddr(said)
		if err != nil {
			return nil, err
		}
		if all[from], err = netip.ParseAddr(at); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// benchURL measures visits to a URL, and prints what it found.
func benchURL(ctx context.Context, o rttOptions, stdout, stderr io.Writer) error {
	if o.samples < 1 || o.samples > maxSamples {
		return fmt.Errorf("--samples %d: want 1 to %d", o.samples, maxSamples)
	}
	if err := checkPicture(o.svg); err != nil {
		return err
	}
	plan := rtt.RemoteOptions{URL: o.url, Direct: o.direct, Samples: o.samples}
	var err error
	if plan.Roots, err = readRoots(o.ca); err != nil {
		return err
	}
	if plan.Resolver, err = resolverAddress(o.resolver); err != nil {
		return err
	}
	if plan.Published, err = parsePublished(o.published); err != nil {
		return fmt.Errorf("--published: %w", err)
	}
	p := &progress{to: stderr, of: plan.Steps()}
	plan.Step = func(what string) { p.step("%s", what) }
	plan.Note = func(what string) { fmt.Fprintln(stderr, "bench:", what) }
	result, err := rtt.Remote(ctx, plan)
	switch {
	case err != nil && p.n > 0:
		return fmt.Errorf("%w: %w", errMeasure, err)
	case err != nil:
		return err
	}
	return newRTTDocument(o, result).print(o, stdout)
}

// readRoots reads whom to trust from the file of --ca; nil = whom the machine trusts.
func readRoots(file string) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("--ca: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("--ca %s: no certificate in it", file)
	}
	return roots, nil
}

// resolverAddress reads --resolver as HOST:PORT; "" = the machine's.
func resolverAddress(text string) (string, error) {
	if text == "" {
		return "", nil
	}
	at, err := netip.ParseAddrPort(text)
	if addr, bare := netip.ParseAddr(text); bare == nil {
		at, err = netip.AddrPortFrom(addr, 53), nil
	}
	if err != nil {
		return "", fmt.Errorf("--resolver: %w", err)
	}
	return at.String(), nil
}
