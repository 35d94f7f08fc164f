//go:build !race

package server

const (
	quietSeconds  = 2 * 3600 // in which nothing flaps
	overloadScale = 1        // by which there are fewer clients
)
