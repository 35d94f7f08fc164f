//go:build !nogeo

package geo

import (
	_ "embed"
	"sync"
)

//go:embed table.bin
var table []byte

// countries is decoded when first asked for.
var countries = sync.OnceValue(func() *Atlas {
	a, err := DecodeAtlas(table)
	if err != nil {
		panic(err) // the file is part of the program, and a test reads it
	}
	return a
})

// Embedded is the table of countries in the program, an *Atlas. Its licence is in LICENSE.table, its sources are in its Notes.
// The first call decodes it, which takes 30 ms and 9 MB that stay, so a server calls it before its first question. With the build
// tag nogeo the program has none: then Embedded knows nothing and Countries is empty.
func Embedded() Database { return countries() }

// Countries is every country of the embedded table, in the order of codes.
func Countries() []Country { return countries().Countries() }
