package cache

import "slices"

// A Coding is a content coding (RFC 9110 section 8.4.1) in which the content of a stored response may lie beside it.
type Coding uint8

const (
	Identity Coding = iota // none: the content as it came
	Brotli                 // RFC 7932
	Zstd                   // RFC 8878
	Gzip                   // RFC 9110 section 8.4.1.3
)

var codingWords = [...]string{Identity: "identity", Brotli: "br", Zstd: "zstd", Gzip: "gzip"}

// String returns the coding's name in Content-Encoding and Accept-Encoding.
func (c Coding) String() string { return codingWords[c] }

// Codings lists all of them but Identity.
func Codings() []Coding { return []Coding{Brotli, Zstd, Gzip} }

// ParseCoding reads a name as String writes it.
func ParseCoding(name string) (c Coding, ok bool) {
	i := slices.Index(codingWords[:], name)
	return Coding(max(i, 0)), i >= 0
}
