package control_test

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"hither/deploy/fleet"
	"hither/deploy/fleet/bus"
	"hither/deploy/fleet/control"
)

// TestIdentityVerbs has an operator revoke, renew and lead to another authority, and an edge hear of it.
func TestIdentityVerbs(t *testing.T) {
	s := newSite(t, "demo")
	s.start()
	fra := s.identity(fleet.RoleEdge, "fra")
	follow := func(table, key string) {
		t.Helper()
		all, err := s.asks.Last(s.ctx(), bus.StreamTables, bus.TableSubject(table, key))
		if err != nil || len(all) != 1 {
			t.Fatalf("%v, %v", all, err)
		}
		if err := fra.Table(table, key, all[0].Data); err != nil {
			t.Error(err)
		}
	}
	ahead := time.Now().Add(10 * time.Minute)
	var revoked control.Revoked
	if err := s.ask(s.ctx(), "revoke", control.Revoke{Node: "edge-iad", Why: "stolen", Until: ahead}, &revoked); err != nil || !revoked.Until.Equal(ahead) || revoked.Tables == 0 {
		t.Fatalf("%+v, %v", revoked, err)
	}
	// Once more without a time does not take back a part of it.
	if err := s.ask(s.ctx(), "revoke", control.Revoke{Node: "edge-iad"}, &revoked); err != nil || !revoked.Until.Equal(ahead) {
		t.Errorf("%+v, %v", revoked, err)
	}
	follow(bus.TableRevoked, "edge-iad")
	if got := fra.Revoked(fleet.Peer{Role: fleet.RoleEdge, Name: "iad"}); !got.Equal(ahead) {
		t.Errorf("the edge knows of %v", got)
	}

	certificate, _, err := s.authority.Renew("edge-fra", true)
	if err != nil {
		t.Fatal(err)
	}
	var told control.Told
	if err := s.ask(s.ctx(), "renew", control.Renew{Certificates: map[string][]byte{"edge-fra": certificate}}, &told); err != nil || told.Tables == 0 {
		t.Fatal(err)
	}
	follow(bus.TableCertificate, "edge-fra")
	first := s.authority.FleetCA()
	next, err := s.authority.Rotate()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.ask(s.ctx(), "trust", bus.Trust{Authorities: next.FleetCA(), Cross: next.Cross()}, &told); err != nil {
		t.Fatal(err)
	}
	follow(bus.TableTrust, bus.TrustKey)
	if string(fra.Trust()) != string(next.FleetCA()) {
		t.Error("the edge does not believe both")
	}
	if err := s.ask(s.ctx(), "trust", bus.Trust{Authorities: first}, &told); err != nil {
		t.Error(err)
	}

	stranger := newSite(t, "demo")
	foreign, _, err := stranger.authority.Renew("operator-main", true)
	if err != nil {
		t.Fatal(err)
	}
	planted, err := stranger.authority.Rotate()
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		verb string
		in   any
		want string
	}{
		"no name":            {"revoke", control.Revoke{Node: "edge-../fra"}, "400: control: revoke: "},
		"far ahead":          {"revoke", control.Revoke{Node: "edge-fra", Until: time.Now().Add(72 * time.Hour)}, "400: "},
		"the control's own":  {"revoke", control.Revoke{Node: "origin-us"}, "409: control: revoke origin-us: it is the node in which the control runs"},
		"who asks":           {"revoke", control.Revoke{Node: "operator-main"}, "409: control: revoke operator-main: that is who asks"},
		"no JSON":            {"revoke", "x", "400: "},
		"no certificates":    {"renew", control.Renew{}, "400: control: renew: a request without certificates"},
		"another's":          {"renew", control.Renew{Certificates: map[string][]byte{"edge-iad": certificate}}, "400: control: renew: fleet: a renewal for \"edge-iad\" has the certificate of edge-fra"},
		"a stranger's":       {"renew", control.Renew{Certificates: map[string][]byte{"operator-main": foreign}}, "unknown authority"},
		"junk":               {"renew", control.Renew{Certificates: map[string][]byte{"edge-fra": []byte("junk")}}, "400: "},
		"foreign authority":  {"trust", bus.Trust{Authorities: stranger.authority.FleetCA()}, "none of them is one that this node believes"},
		"one planted beside": {"trust", bus.Trust{Authorities: append(bytes.Clone(first), stranger.authority.FleetCA()...)}, "none that this node believes stands for it"},
		"by itself":          {"trust", bus.Trust{Authorities: append(bytes.Clone(first), stranger.authority.FleetCA()...), Cross: planted.Cross()}, "none that this node believes stands for it"},
		"no authority":       {"trust", bus.Trust{}, "it holds no certificate"},
		"an open stream":     {"export", control.Export{Stream: bus.StreamJournal}, "only SECRETS is exported"},
		"a stream of no one": {"export", control.Export{Stream: "*"}, "only SECRETS is exported"},
	} {
		var out any
		if err := s.ask(s.ctx(), c.verb, c.in, &out); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v\nwant %s", name, err, c.want)
		}
	}
	if all, err := s.asks.Last(s.ctx(), bus.StreamTables, bus.TableSubject(bus.TableRevoked, "*"), bus.TableSubject(bus.TableCertificate, "*")); err != nil || len(all) != 2 {
		t.Errorf("what was refused had an effect: %d values, %v", len(all), err)
	}
	if err := s.ask(s.ctx(), "revoke", control.Revoke{Node: "origin-us", Force: true}, &revoked); err != nil {
		t.Error(err)
	}
}
