package main

import "sync"

// A bell wakes whoever listens, once for any number of rings since it woke last.
type bell struct {
	mu   sync.Mutex
	ears []chan struct{}
}

func newBell() *bell { return new(bell) }

// listen returns a channel that has a value after a ring.
func (b *bell) listen() <-chan struct{} {
	ear := make(chan struct{}, 1)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ears = append(b.ears, ear)
	return ear
}

func (b *bell) ring() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, ear := range b.ears {
		select {
		case ear <- struct{}{}:
		default:
		}
	}
}
