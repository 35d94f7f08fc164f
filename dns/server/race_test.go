//go:build race

package server

// The race detector has nothing to find where one goroutine plays a simulation, and makes that ten times slower.
const (
	quietSeconds  = 1200 // in which nothing flaps
	overloadScale = 5    // by which there are fewer clients
)
