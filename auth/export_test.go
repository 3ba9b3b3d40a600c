package auth

// HoldTurns takes every turn at computing a hash and returns how to give them back.
func (h *Htpasswd) HoldTurns() (release func()) {
	for range cap(h.turns) {
		h.turns <- struct{}{}
	}
	return func() {
		for range cap(h.turns) {
			<-h.turns
		}
	}
}

// ParseHtpasswd returns the number of users in data and the hash that an
// unknown user is compared with.
func ParseHtpasswd(name string, data []byte) (n int, nobody string, err error) {
	u, err := parseHtpasswd(name, data)
	if err != nil {
		return 0, "", err
	}
	return len(u.byName), string(u.nobody.hash), nil
}

// Waiting returns how many calls wait or are under way.
func (t *Throttle) Waiting() (waiting, running int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, row := range t.sources.rows {
		for _, f := range row {
			running += int(f.running) + int(f.waiting)
		}
	}
	for _, row := range t.pairs.rows {
		for _, f := range row {
			running += int(f.running)
		}
	}
	return t.waiting, running
}

// SCRAMKeys are those of [NewSCRAMKeys] with a given salt and count.
func SCRAMKeys(password string, salt []byte, iterations int) (string, error) {
	return scramKeys(password, salt, iterations)
}

// SetNonce makes s use the nonce of a test vector.
func (s *Server) SetNonce(nonce string) { s.nonce = func() string { return nonce } }
