package bus

import "time"

// Tables of StreamTables. An empty value says that the key is gone.
const (
	TableTarget      = "target"      // TargetKey: [Target]
	TableDrain       = "drain"       // PoP: [Drain]
	TableRevoked     = "revoked"     // ROLE-NAME: [Revocation]
	TableCertificate = "certificate" // ROLE-NAME: [Renewal]
	TableTrust       = "trust"       // TrustKey: [Trust]
	TableToken       = "token"       // of StreamSecrets; name: [Token]
)

// Keys of tables that have one.
const (
	TargetKey = "main"
	TrustKey  = "ca"
)

// A Drain takes a PoP out of DNS answers for as long as it stands.
type Drain struct {
	Since time.Time `json:"since"`
	By    string    `json:"by"`
	Stop  bool      `json:"stop,omitempty"` // its node is to end when its clients have left

	// Revoked is until when the identities were issued that the PoP's node may not use any more; zero = it may. The PoP is out of answers until
	// the control or an operator takes the drain back. Where that alone takes it out, Since is zero.
	Revoked time.Time `json:"revoked,omitzero"`
}

// Asked says whether an operator drains the PoP, and not its lost identity alone.
func (d *Drain) Asked() bool { return d.Revoked.IsZero() || !d.Since.IsZero() }

// A Revocation ends the identity of a node: of its certificates, all that were issued until Until are refused everywhere.
type Revocation struct {
	Until time.Time `json:"until"`
	By    string    `json:"by"`
	Why   string    `json:"why,omitempty"`
}

// A Renewal is a node's next certificate, for the key that it has. Nothing in it is secret.
type Renewal struct {
	Certificate []byte `json:"certificate"` // PEM
}

// Trust is what nodes take for the fleet's authorities: one certificate, or two while one takes the place of the other.
type Trust struct {
	Authorities []byte    `json:"authorities"` // PEM
	At          time.Time `json:"at"`

	// Cross is the signature of an authority that is believed already over the one that is new. Without it no node takes a new one; it is
	// empty where there is none.
	Cross []byte `json:"cross,omitempty"`
}

// A Token lets a program purge over HTTP, within a scope. Of the token itself nothing but its hash is kept.
type Token struct {
	Hash  string    `json:"hash"`            // SHA-256 of the token, in hexadecimal
	Sites []string  `json:"sites,omitempty"` // sites it may purge; none = all
	Kinds []string  `json:"kinds,omitempty"` // kinds of purges; none = all
	Until time.Time `json:"until,omitzero"`  // zero = for ever
	By    string    `json:"by"`
}
