package cache

// Control holds the directives of a Cache-Control field.
type Control struct{}
