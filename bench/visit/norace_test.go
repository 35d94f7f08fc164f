//go:build !race

package visit_test

// racing tells that the race detector looks on.
const racing = false
