package fleet

import (
	"bytes"
	"crypto/x509"
	"errors"
	"path/filepath"
	"strings"
	"testing"
)

// everybody has all of them meet all others, as server and as client, with configurations made before.
type everybody struct {
	t   *testing.T
	ids []*Identity
}

func (e everybody) meets(step string) {
	e.t.Helper()
	for _, server := range e.ids {
		for _, client := range e.ids {
			if why := meet(e.t, server, client); server != client && why != "" {
				e.t.Errorf("%s: %v does not reach %v: %s", step, client, server, why)
			}
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestRotate takes a fleet from one authority to another, one node after the other, while all go on meeting.
func TestRotate(t *testing.T) {
	a := authority(t, "demo", start)
	e := everybody{t, []*Identity{
		identity(t, a, RoleOrigin, "us", start, start.Add(day)), identity(t, a, RoleEdge, "fra", start, start.Add(day)), identity(t, a, RoleDNS, "ns1", start, start.Add(day)),
	}}
	away := identity(t, a, RoleEdge, "away", start, start.Add(day))
	common := e.ids[0].Common("x")
	first := a.FleetCA()
	a.now = at(start.Add(day))
	for _, want := range []Stage{StageTrust, StageIssue} {
		var err error
		a, err = a.Rotate()
		must(t, err)
		if a.Stage() != want || !bytes.HasPrefix(a.FleetCA(), first) || bytes.Equal(a.FleetCA(), first) {
			t.Fatalf("stage %q, believing\n%s", a.Stage(), a.FleetCA())
		}
		// A node that is new now meets all, at whatever stage the others are.
		e.ids = append(e.ids, identity(t, a, RoleEdge, "new-"+string(want), start.Add(day), start.Add(day)))
		for _, id := range e.ids {
			if want == StageTrust {
				must(t, id.SetTrust(a.FleetCA(), a.Cross()))
			} else {
				certificate, renewed, err := a.Renew(id.String(), false)
				if err != nil || renewed == strings.HasPrefix(id.Name, "new-issue") {
					t.Fatalf("%v: renewed %v, %v", id, renewed, err)
				}
				must(t, id.Renew(certificate))
			}
			if want == StageIssue {
				e.meets("after " + id.String() + ", stage " + string(want))
			}
		}
		e.meets("stage " + string(want))
	}
	middle := a
	a, err := a.Rotate()
	must(t, err)
	if a.Stage() != StageNone || bytes.Contains(a.FleetCA(), first) {
		t.Fatalf("stage %q", a.Stage())
	}
	for _, id := range e.ids {
		must(t, id.SetTrust(a.FleetCA(), a.Cross()))
		e.meets("after " + id.String() + ", the end")
		// As a hub says which was restored from a backup that was made in the middle.
		if err := id.SetTrust(middle.FleetCA(), middle.Cross()); err == nil {
			t.Errorf("%v believes the authority again whose key was destroyed", id)
		}
	}
	e.ids = append(e.ids, identity(t, a, RoleEdge, "last", start.Add(day), start.Add(day)))
	for _, id := range e.ids {
		loaded, err := loadIdentity(id.dir, at(start.Add(day)))
		must(t, err)
		if !bytes.Equal(loaded.Common("x"), common) || !bytes.Equal(id.Common("x"), common) || !bytes.Equal(loaded.Trust(), a.FleetCA()) {
			t.Errorf("%v has something else in common, or believes another", id)
		}
	}
	if why := meet(t, e.ids[0], away); !strings.Contains(why, "unknown authority") {
		t.Errorf("who was left behind: %q", why)
	}
	if err := away.SetTrust(a.FleetCA(), a.Cross()); err == nil {
		t.Error("a node believes an authority that nobody whom it believed stands for")
	}
}

// TestRotateInterrupted: a crash at any of the steps of the end is mended at the next start.
func TestRotateInterrupted(t *testing.T) {
	for name, harm := range map[string]func(dir string){
		"before the key":          func(string) {},
		"between key and its pem": func(dir string) { must(t, renameIn(dir, "next/fleet-ca.key", "fleet-ca.key")) },
		"after both": func(dir string) {
			must(t, renameIn(dir, "next/fleet-ca.key", "fleet-ca.key"))
			must(t, renameIn(dir, "next/fleet-ca.pem", "fleet-ca.pem"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			a := authority(t, "demo", start)
			for range 2 {
				var err error
				a, err = a.Rotate()
				must(t, err)
			}
			next := a.fleet.pem
			must(t, writeStage(a.dir, stagePromote))
			harm(a.dir)
			a, err := openAuthority(a.dir, "demo", at(start))
			must(t, err)
			if a.Stage() != StageNone || !bytes.Equal(a.FleetCA(), next) {
				t.Errorf("stage %q", a.Stage())
			}
		})
	}
	a := authority(t, "demo", start)
	first := a.FleetCA()
	a, err := a.Rotate()
	must(t, err)
	if a, err = a.Abandon(); err != nil || !bytes.Equal(a.FleetCA(), first) || a.Stage() != StageNone {
		t.Errorf("given up: %v", err)
	}
	if _, err := a.Abandon(); err == nil {
		t.Error("a rotation that is none was given up")
	}
	mustWrite(t, filepath.Join(a.dir, rotationFile), `{"stage": "later"}`)
	if _, err := openAuthority(a.dir, "demo", at(start)); err == nil {
		t.Error("a stage of a newer program was taken")
	}
}

func TestSetTrustRefuses(t *testing.T) {
	a, stranger := authority(t, "demo", start), authority(t, "demo", start)
	fra := identity(t, a, RoleEdge, "fra", start, start)
	leaf := mustRead(t, filepath.Join(fra.dir, "node.pem"))
	other := authority(t, "other", start)
	planted := string(a.fleet.pem) + string(stranger.fleet.pem)
	byItself, err := stranger.fleet.stand(stranger.fleet.cert)
	must(t, err)
	forItself, err := a.fleet.stand(a.fleet.cert)
	must(t, err)
	const stands = "none that this node believes stands for it"
	for name, c := range map[string]struct {
		pem, want string
		cross     []byte
	}{
		"nothing":                      {"", "it holds no certificate", nil},
		"junk":                         {"junk", "it holds no certificate", nil},
		"strangers":                    {string(stranger.fleet.pem), "none of them is one that this node believes", nil},
		"a leaf":                       {leaf, "none of an authority", nil},
		"three":                        {strings.Repeat(string(a.fleet.pem), 3), "more than 2", nil},
		"a key":                        {mustRead(t, filepath.Join(a.dir, "fleet-ca.key")), `it holds a "PRIVATE KEY"`, nil},
		"other network":                {string(a.fleet.pem) + string(other.fleet.pem), `an authority is of network ["other"]`, nil},
		"one planted beside":           {planted, stands, nil},
		"one that stands for itself":   {planted, stands, byItself},
		"a signature over another":     {planted, stands, forItself},
		"a signature that is too long": {planted, "a signature of 73 bytes", make([]byte, 73)},
	} {
		if err := fra.SetTrust([]byte(c.pem), c.cross); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if !bytes.Equal(fra.Trust(), a.fleet.pem) || mustRead(t, filepath.Join(fra.dir, caFile)) != string(a.fleet.pem) {
		t.Error("it believes another")
	}
}

func TestRenew(t *testing.T) {
	a := authority(t, "demo", start)
	fra := identity(t, a, RoleEdge, "fra", start, start)
	iad := identity(t, a, RoleEdge, "iad", start, start)
	old := []byte(mustRead(t, filepath.Join(fra.dir, "node.pem")))
	if same, renewed, err := a.Renew("edge-fra", false); err != nil || renewed || !bytes.Equal(same, old) {
		t.Errorf("renewed %v, %v", renewed, err)
	}
	a.now = at(start.Add(70 * day))
	next, renewed, err := a.Renew("edge-fra", false)
	if err != nil || !renewed {
		t.Fatalf("renewed %v, %v", renewed, err)
	}
	must(t, fra.Renew(next))
	if got := fra.NotAfter(); !got.Equal(start.Add(160 * day)) {
		t.Errorf("it ends %v", got)
	}
	if i, err := a.Issued("edge-fra"); err != nil || !i.NotAfter.Equal(fra.NotAfter()) || i.Renew {
		t.Errorf("%+v, %v", i, err)
	}
	must(t, fra.Renew(old)) // an old one has no effect
	must(t, fra.Renew(next))
	must(t, fra.Renew(nil))
	for name, c := range map[string]struct {
		id   *Identity
		pem  []byte
		want string
	}{
		"another's": {iad, next, "for another key than this node has"},
		"junk":      {fra, []byte("junk"), "not a certificate in PEM"},
		"long":      {fra, make([]byte, maxCertificate+1), "a certificate of 16385 bytes"},
	} {
		if err := c.id.Renew(c.pem); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// For its key, by its authority, but with another name; and by a stranger.
	leaf := fra.own.Load().Leaf
	claim, err := a.fleet.leaf(start.Add(71*day), a.template(Peer{RoleEdge, "iad", "demo"}), leaf.PublicKey)
	must(t, err)
	if err := fra.Renew(claim); err == nil || !strings.Contains(err.Error(), "the certificate is that of edge-iad") {
		t.Errorf("another's name: %v", err)
	}
	b := authority(t, "demo", start.Add(71*day))
	strange, err := b.fleet.leaf(start.Add(71*day), b.template(fra.Peer), leaf.PublicKey)
	must(t, err)
	var unknown x509.UnknownAuthorityError
	if err := fra.Renew(strange); !errors.As(err, &unknown) {
		t.Errorf("a stranger's: %v", err)
	}
	if got := fra.NotAfter(); !got.Equal(start.Add(160 * day)) {
		t.Errorf("then it ends %v", got)
	}
	// What came before its authority is taken with it.
	cross, err := a.fleet.stand(b.fleet.cert)
	must(t, err)
	must(t, fra.SetTrust(append(bytes.Clone(a.fleet.pem), b.fleet.pem...), cross))
	if got := fra.NotAfter(); !got.Equal(start.Add(161 * day)) {
		t.Errorf("with both authorities it ends %v", got)
	}
	if _, err := loadIdentity(fra.dir, at(start)); err != nil {
		t.Error(err)
	}
	if fra.NeedsRenewal(start.Add(100 * day)) {
		t.Error("it needs renewal")
	}
}
