package disk

// Ended returns when a store that was closed has closed its files, on a disk that hung.
func (s *Store) Ended() { <-s.ended }
