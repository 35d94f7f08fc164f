package cache

// block is an object's field section as a hit writes it.
type block struct {
	raw []byte
}
