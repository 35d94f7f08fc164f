package cache

// Idle reports that no fill is in any table and that no bytes are accounted.
func (c *Cache) Idle() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.flights) == 0 && len(c.fills) == 0 && c.held.Load() == 0 && c.Loose() == 0
}

// Held is the number of bytes that fills in flight are accounted with.
func (c *Cache) Held() int64 { return c.held.Load() }

// Loose is the number of bytes that readers hold of what no store has.
func (c *Cache) Loose() int64 {
	c.loose.mu.Lock()
	defer c.loose.mu.Unlock()
	return c.loose.held
}

// Constants that tests of the outside need.
const (
	Window       = window
	MostChunk    = mostChunk
	MostInterim  = mostInterim
	PassLifetime = passLifetime
	RaceEnabled  = raceEnabled
)

// PurgeStored is Purge with a fault: it forgets the fills under way, of which there must be
// none that goes on meanwhile.
func (c *Cache) PurgeStored(p Purge) {
	c.mu.Lock()
	fills, flights := c.fills, c.flights
	c.fills, c.flights = nil, nil
	c.mu.Unlock()
	c.Purge(p)
	c.mu.Lock()
	c.fills, c.flights = fills, flights
	c.mu.Unlock()
}
