package fleet

import (
	"encoding/json"
	"fmt"
	"maps"
	"time"
)

// Tables of the fleet that are about identities; package bus has the messages in them.
const (
	TableRevoked     = "revoked"
	TableCertificate = "certificate"
	TableTrust       = "trust"
)

// tableVersion is that of the messages in tables, which package bus counts.
const tableVersion = 1

// Table does what an identity must do when a key of one of the fleet's tables has a value: keep who is revoked, take its own next
// certificate, believe other authorities. A nil value says that the key is gone. Other tables and other nodes' certificates
// are no error and have no effect, and so is a revocation that is older than the one known: nobody lowers one, but a hub that was
// restored from a backup has what it was when that was made. On an error what counted before counts still, but for what SetRevoked says.
func (id *Identity) Table(table, key string, value []byte) error {
	var m struct {
		V           int       `json:"v"`
		Until       time.Time `json:"until"`
		Certificate []byte    `json:"certificate"`
		Authorities []byte    `json:"authorities"`
		Cross       []byte    `json:"cross"`
	}
	switch {
	case table != TableRevoked && table != TableCertificate && table != TableTrust,
		table == TableCertificate && key != id.String(), table != TableRevoked && value == nil:
		return nil
	case value == nil:
	case len(value) > maxFile:
		return fmt.Errorf("fleet: table %s, key %.80q: a value of %d bytes", table, key, len(value))
	default:
		if err := json.Unmarshal(value, &m); err != nil {
			return fmt.Errorf("fleet: table %s, key %.80q: %w", table, key, err)
		}
		if m.V < 1 || m.V > tableVersion {
			return fmt.Errorf("fleet: table %s, key %.80q: a value of version %d, and this program knows %d", table, key, m.V, tableVersion)
		}
	}
	switch table {
	case TableCertificate:
		return id.Renew(m.Certificate)
	case TableTrust:
		return id.SetTrust(m.Authorities, m.Cross)
	}
	id.mu.Lock()
	defer id.mu.Unlock()
	if was, ok := (*id.revoked.Load())[key]; ok == (value != nil) && !m.Until.After(was) {
		return nil // as each is, when all of them are read again
	}
	next := maps.Clone(*id.revoked.Load())
	if value == nil {
		delete(next, key)
	} else {
		next[key] = m.Until
	}
	return id.setRevoked(next)
}
