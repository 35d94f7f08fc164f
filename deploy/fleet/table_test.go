package fleet_test

import (
	"bytes"
	"path/filepath"
	"testing"
	"time"

	"hither/deploy/fleet"
	"hither/deploy/fleet/bus"
)

// TestTable gives an identity what package bus says lies in the tables that are about identities.
func TestTable(t *testing.T) {
	if fleet.TableRevoked != bus.TableRevoked || fleet.TableCertificate != bus.TableCertificate || fleet.TableTrust != bus.TableTrust {
		t.Fatal("the tables have other names in package bus")
	}
	a, err := fleet.OpenAuthority(filepath.Join(t.TempDir(), "authority"), "demo")
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "identity")
	if _, err := a.Issue(dir, fleet.RoleEdge, "fra", nil); err != nil {
		t.Fatal(err)
	}
	id, err := fleet.LoadIdentity(dir)
	if err != nil {
		t.Fatal(err)
	}
	give := func(table, key string, value []byte) {
		t.Helper()
		if err := id.Table(table, key, value); err != nil {
			t.Error(err)
		}
	}
	until, iad := time.Now(), fleet.Peer{Role: fleet.RoleEdge, Name: "iad"}
	give(bus.TableRevoked, "edge-iad", bus.Encode(bus.Revocation{Until: until, By: "main"}))
	if got := id.Revoked(iad); !got.Equal(until) {
		t.Errorf("revoked until %v", got)
	}
	give(bus.TableRevoked, "edge-iad", nil)
	if got := id.Revoked(iad); !got.IsZero() {
		t.Errorf("revoked until %v after that was taken back", got)
	}
	before := id.NotAfter()
	certificate, _, err := a.Renew("edge-fra", true)
	if err != nil {
		t.Fatal(err)
	}
	give(bus.TableCertificate, "edge-fra", bus.Encode(bus.Renewal{Certificate: certificate}))
	if id.NotAfter().Before(before) {
		t.Error("it has an older certificate")
	}
	if a, err = a.Rotate(); err != nil {
		t.Fatal(err)
	}
	give(bus.TableTrust, bus.TrustKey, bus.Encode(bus.Trust{Authorities: a.FleetCA(), Cross: a.Cross(), At: time.Now()}))
	if !bytes.Equal(id.Trust(), a.FleetCA()) {
		t.Error("it does not believe both")
	}
	give(bus.TableDrain, "fra", []byte("not ours"))
	give(bus.TableCertificate, "edge-iad", []byte("another's"))
	give(bus.TableCertificate, "edge-fra", nil)
	give(bus.TableTrust, bus.TrustKey, nil)
	for _, bad := range []string{"", "x", "{}", `{"v":0}`, `{"v":2}`, `{"v":1,"until":3}`, `[]`, `null`} {
		for _, table := range []string{bus.TableRevoked, bus.TableCertificate, bus.TableTrust} {
			if err := id.Table(table, "edge-fra", append([]byte{}, bad...)); err == nil {
				t.Errorf("table %s took %q", table, bad)
			}
		}
	}
	if err := id.Table(bus.TableRevoked, "edge-../x", bus.Encode(bus.Revocation{Until: until})); err == nil {
		t.Error("no name was revoked")
	}
	if !bytes.Equal(id.Trust(), a.FleetCA()) || !id.Revoked(id.Peer).IsZero() {
		t.Error("garbage had an effect")
	}
}

// TestTableLowersNoRevocation: a hub that was restored from a backup made between two revocations of a name has the earlier one, and
// what was issued between the two is refused all the same, by a node that starts again too.
func TestTableLowersNoRevocation(t *testing.T) {
	a, err := fleet.OpenAuthority(filepath.Join(t.TempDir(), "authority"), "demo")
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "identity")
	if _, err := a.Issue(dir, fleet.RoleEdge, "fra", nil); err != nil {
		t.Fatal(err)
	}
	id, err := fleet.LoadIdentity(dir)
	if err != nil {
		t.Fatal(err)
	}
	first, iad := time.Now().Add(-time.Hour), fleet.Peer{Role: fleet.RoleEdge, Name: "iad"}
	second := first.Add(time.Minute)
	for _, c := range []struct{ given, want time.Time }{{first, first}, {second, second}, {first, second}} {
		if err := id.Table(bus.TableRevoked, "edge-iad", bus.Encode(bus.Revocation{Until: c.given})); err != nil {
			t.Error(err)
		}
		again, err := fleet.LoadIdentity(dir)
		if err != nil {
			t.Fatal(err)
		}
		if got := id.Revoked(iad); !got.Equal(c.want) || !again.Revoked(iad).Equal(c.want) {
			t.Errorf("told %v it is revoked until %v, and %v for one that starts again, want %v", c.given, got, again.Revoked(iad), c.want)
		}
	}
}
