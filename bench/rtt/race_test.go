//go:build race

package rtt

// racing tells that the race detector looks on.
const racing = true
