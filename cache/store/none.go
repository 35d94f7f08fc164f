package store

import "hither/cache"

// None is a store that keeps nothing.
type None struct{}

var _ cache.Store = None{}

// Get returns nil.
func (None) Get(cache.Key) *cache.Object { return nil }

// Put forgets o.
func (None) Put(*cache.Object) {}

// Delete finds nothing.
func (None) Delete(cache.Key) bool { return false }

// Each has nothing to yield.
func (None) Each(func(*cache.Object) bool) {}

// MaxObject is 0.
func (None) MaxObject() int64 { return 0 }
