package fleet

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"fmt"
)

// mostCross bounds a cross-signature: ECDSA on P-256 in ASN.1 has 72 bytes at most.
const mostCross = 72

// Cross returns the signature by which the first authority stands for the next one while a rotation is under way, so that nodes
// which believe the first take the next (see [Identity.SetTrust]). nil = no rotation is under way, and nobody needs one. It is another one
// each time that the authority is opened, and each of them holds.
func (a *Authority) Cross() []byte { return a.cross }

// stand signs another authority's certificate.
func (s signer) stand(next *x509.Certificate) ([]byte, error) {
	signature, err := ecdsa.SignASN1(rand.Reader, s.key, crossSum(next))
	if err != nil {
		return nil, fmt.Errorf("fleet: stand for the next authority: %w", err)
	}
	return signature, nil
}

// standsFor says whether one of the authorities has signed another one's certificate.
func (t *trust) standsFor(next *x509.Certificate, cross []byte) bool {
	for _, c := range t.certs {
		if key, ok := c.PublicKey.(*ecdsa.PublicKey); ok && ecdsa.VerifyASN1(key, crossSum(next), cross) {
			return true
		}
	}
	return false
}

// crossSum is what is signed. It begins as no certificate does, so that neither signature is taken for the other.
func crossSum(next *x509.Certificate) []byte {
	sum := sha256.Sum256(append([]byte("hither fleet authority\x00"), next.Raw...))
	return sum[:]
}
