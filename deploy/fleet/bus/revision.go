package bus

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strconv"
	"time"
)

// A Revision is a network file with a number. It is never changed.
type Revision struct {
	Number int       `json:"number"` // from 1
	Hash   string    `json:"hash"`   // [HashOf] File
	File   []byte    `json:"file"`
	By     string    `json:"by"`             // operator or node that gave it
	Note   string    `json:"note,omitempty"` // why, in the operator's words
	At     time.Time `json:"at"`
}

// HashOf is by what a node recognises a network file: the first 16 bytes of its SHA-256, in hexadecimal.
func HashOf(file []byte) string {
	sum := sha256.Sum256(file)
	return hex.EncodeToString(sum[:16])
}

// RevisionSubject is where a revision lies in StreamRevisions.
func RevisionSubject(number int) string { return SubjectRevision + strconv.Itoa(number) }

// A Target says which revision each node runs. It is the value of TargetKey in TableTarget, replaced by compare-and-set.
type Target struct {
	Stable int    `json:"stable"` // what all run that are not named below; 0 = none yet: each keeps what it has
	Hash   string `json:"hash"`

	// Canary is a revision that the nodes in Canaries try first; 0 = none. They are to hear from the control while they try it
	// : one that does not for a minute goes back to Stable by itself.
	Canary     int       `json:"canary,omitempty"`
	CanaryHash string    `json:"canary_hash,omitempty"`
	Canaries   []string  `json:"canaries,omitempty"` // ROLE-NAME
	Since      time.Time `json:"since,omitzero"`

	// What became of the last roll-out that ended: for people.
	Last string `json:"last,omitempty"`
}

// Of returns the revision that a node (ROLE-NAME) is to run.
func (t *Target) Of(node string) (number int, hash string) {
	if t.Canary != 0 && slices.Contains(t.Canaries, node) {
		return t.Canary, t.CanaryHash
	}
	return t.Stable, t.Hash
}
