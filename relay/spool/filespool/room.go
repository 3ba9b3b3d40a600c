package filespool

import "time"

// fits tells whether n more bytes may be taken. The caller holds the lock.
func (s *Store) fits(n int64) bool {
	if s.maxBytes > 0 {
		// Room that the log has taken already counts as free up to where it is
		// used.
		used := s.ownBytes + s.logBytes + s.events.bytes + s.claims.ledger.bytes
		if g := s.segments[len(s.segments)-1]; g.size > g.end {
			used -= g.size - g.end
		}
		if used+n > s.maxBytes {
			return false
		}
	}
	if s.minFree < 0 {
		return true
	}
	// The system is asked at most once a second.
	if now := time.Now(); now.Sub(s.freeAsked) > time.Second {
		s.free, s.freeAsked = s.fs.Free(s.dir), now
	}
	return s.free < 0 || s.free-n >= s.minFree
}
